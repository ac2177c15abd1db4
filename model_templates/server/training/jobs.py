"""One training job: try a grid, keep the best, prove it, register it once."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import mlflow
import pandas as pd
import skops.io  # type: ignore[import-untyped]
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.models import infer_signature
from sklearn.model_selection import cross_val_score, train_test_split

from training import describe, registry
from training.problems import PROBLEMS, SEED, Problem, data_digest

FOLDS = 5
EXPECTED_ROWS = 20
"""Held-out rows that are kept with the model's own answers."""
REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "skops")


class Parts(NamedTuple):
    """A data set, split: what is learned from, and what it is judged by."""

    features: pd.DataFrame
    held_out: pd.DataFrame
    target: pd.Series
    truth: pd.Series


def run(dataset: str, grid: str, name: str, bucket: str) -> dict[str, str]:
    """Return the registered version that these inputs lead to; train it if need be."""
    problem = PROBLEMS[dataset]
    features, target = problem.load()
    tags = {
        "dataset": dataset,
        "grid": grid,
        "data": data_digest(features, target),
        "code": registry.code_version(),
    }
    tag = registry.key(name=name, **tags)
    client = MlflowClient()
    version = registry.registered(client, name, tag)
    if version is None:
        experiment = mlflow.set_experiment(name)
        registry.close_leftovers(client, experiment.experiment_id, tag)
        parts = split(features, target)
        said = {
            "owner": problem.owner,
            "purpose": problem.purpose,
            "limits": problem.limits,
        }
        tried = [
            try_out(problem, grid, settings, parts, {**tags, **said, registry.KEY: tag})
            for settings in problem.grids[grid].settings
        ]
        _, run_id, model = max(tried, key=lambda one: one[0])
        info = keep(problem, model, run_id, parts)
        version = registry.register(
            client,
            name,
            source=info.model_uri,
            run_id=run_id,
            model_id=info.model_id,
            tag=tag,
        )
    return registry.summary(client, version, bucket)


def split(features: pd.DataFrame, target: pd.Series) -> Parts:
    """Return three quarters to learn from and one to judge by, the same ones always."""
    return Parts(
        *train_test_split(
            features,
            target,
            test_size=0.25,
            random_state=SEED,
            stratify=target if target.dtype == object else None,
        )
    )


def try_out(
    problem: Problem,
    grid: str,
    settings: Mapping[str, Any],
    parts: Parts,
    tags: dict[str, str],
) -> tuple[float, str, Any]:
    """Log one setting as a run; return its score, the run's id and the fitted model."""
    make = problem.grids[grid].make
    score = float(
        cross_val_score(
            make(**settings),
            parts.features,
            parts.target,
            scoring=problem.score,
            cv=FOLDS,
        ).mean()
    )
    model = make(**settings).fit(parts.features, parts.target)
    predicted = model.predict(parts.held_out)
    with mlflow.start_run(tags=tags) as active:
        mlflow.log_params({"model": type(model).__name__, "seed": SEED, **settings})
        describe.log_origin(
            parts.features,
            parts.target,
            name=tags["dataset"],
            digest=tags["data"],
            source=CodeDatasetSource(
                {"loader": f"sklearn.datasets.load_{tags['dataset']}"}
            ),
        )
        mlflow.log_metric(f"cv_{problem.score}", score)
        mlflow.log_metrics(
            {
                name: float(metric(parts.truth, predicted))
                for name, metric in problem.metrics.items()
            }
        )
        return score, active.info.run_id, model


def keep(problem: Problem, model: Any, run_id: str, parts: Parts) -> Any:
    """Log the model, its facts, and what it answers once loaded back.

    Returns MLflow's info.
    """
    example = parts.features.head(2)
    with mlflow.start_run(run_id=run_id):
        info = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(example, model.predict(example)),
            input_example=example,
            pip_requirements=[
                f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS
            ],
            serialization_format="skops",
            skops_trusted_types=trusted(model),
        )
        describe.log_model_facts(
            model,
            parts.features,
            held_out=(parts.held_out, parts.truth),
            metrics=problem.metrics,
            slices=describe.thirds(
                parts.held_out[problem.slices], parts.features[problem.slices]
            ),
            scoring=problem.score,
            seed=SEED,
        )
        mlflow.log_dict(expected(info.model_uri, parts), "expected.json")
    return info


def trusted(model: Any) -> list[str]:
    """Return the types that skops must be told to trust when it reads the model back.

    All are scikit-learn's or NumPy's own: the model was fitted a moment ago, here.
    """
    types = skops.io.get_untrusted_types(data=skops.io.dumps(model))
    foreign = [t for t in types if t.partition(".")[0] not in ("numpy", "sklearn")]
    if foreign:
        raise ValueError(f"the model has types of other packages: {', '.join(foreign)}")
    return list(types)


def expected(model_uri: str, parts: Parts) -> dict[str, Any]:
    """Return held-out rows with the answers of the model as the store has it."""
    rows = parts.held_out.head(EXPECTED_ROWS)
    with tempfile.TemporaryDirectory() as folder:
        local = download_artifacts(artifact_uri=model_uri, dst_path=folder)
        answers = mlflow.pyfunc.load_model(local).predict(rows)
    return {
        "columns": list(rows.columns),
        "rows": rows.to_numpy().tolist(),
        "predictions": answers.tolist(),
        "truth": parts.truth.head(EXPECTED_ROWS).tolist(),
    }
