"""What a release asks of a run, logged in one call, from anybody's training code.

with mlflow.start_run():
    model = Ridge().fit(features, target)
    mlflow.sklearn.log_model(model, name="model", signature=…)
    describe(model, features, target, held_out=(test, truth), code=commit)
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.dataset_source import DatasetSource
from mlflow.models import infer_signature
from sklearn.inspection import permutation_importance

from training.reference import reference

MOST_CATEGORIES = 50
"""A column of texts with more different ones is no set of categories."""
MOST_ROWS = 2000
"""Rows that the features' influence is measured on."""
REPEATS = 5
NUMBERS = frozenset({"double", "float", "integer", "long"})
CODE_TAGS = ("mlflow.source.git.commit", "code")

Metrics = Mapping[str, Callable[[Any, Any], float]]
"""Functions of truth and prediction, by name."""


def describe(
    model: Any,
    features: pd.DataFrame,
    target: pd.Series,
    *,
    held_out: tuple[pd.DataFrame, pd.Series] | None = None,
    name: str = "data",
    code: str | None = None,
    owner: str | None = None,
    purpose: str | None = None,
    limits: str | None = None,
    metrics: Metrics | None = None,
    slices: Mapping[str, Any] | None = None,
    scoring: str | None = None,
    seed: int = 0,
) -> None:
    """Log all that a release asks for into the active run.

    `features` and `target` are what `model` has learned from, `held_out` what it is
    judged by; `name` is the data's. `code` is the version of the code, needed where
    MLflow finds no git. `slices` are masks over the rows of `held_out`, by name, for
    which each of `metrics` is logged. `scoring` is scikit-learn's name of the score
    that the features' influence is measured with; the model's own unless said. Raises
    ValueError when there is no active run, or nothing says the version of the code.
    """
    active = mlflow.active_run()
    if active is None:
        raise ValueError("describe: call it inside `with mlflow.start_run():`")
    tags = {"code": code, "owner": owner, "purpose": purpose, "limits": limits}
    said = {tag: value for tag, value in tags.items() if value}
    present = {**mlflow.get_run(active.info.run_id).data.tags, **said}
    if not any(present.get(tag) for tag in CODE_TAGS):
        raise ValueError("describe: nothing says the code's version; pass code='…'")
    mlflow.set_tags(said)
    log_origin(features, target, name=name)
    log_model_facts(
        model,
        features,
        held_out=held_out or (features, target),
        metrics=metrics,
        slices=slices,
        scoring=scoring,
        seed=seed,
    )


def log_origin(
    features: pd.DataFrame,
    target: pd.Series,
    *,
    name: str,
    digest: str | None = None,
    source: DatasetSource | None = None,
) -> None:
    """Log the data that is learned from, with its digest, and all packages."""
    column = str(target.name or "target")
    learned_from = mlflow.data.from_pandas(
        features.assign(**{column: target}),
        source=source,
        targets=column,
        name=name,
        digest=(digest or data_digest(features, target)).removeprefix("sha256:")[:32],
    )
    mlflow.log_input(learned_from, context="training")
    mlflow.log_text(environment(), "environment.txt")


def log_model_facts(
    model: Any,
    features: pd.DataFrame,
    *,
    held_out: tuple[pd.DataFrame, pd.Series],
    metrics: Metrics | None = None,
    slices: Mapping[str, Any] | None = None,
    scoring: str | None = None,
    seed: int = 0,
) -> None:
    """Log contract, reference, the features' influence and metrics per slice."""
    mlflow.log_dict(contract(model, features), "contract.json")
    mlflow.log_dict(reference(model, features), "reference.json")
    if hasattr(model, "fit"):  # scikit-learn's inspection takes its own kind alone
        found = influence(model, *held_out, scoring=scoring, seed=seed)
        mlflow.log_dict(found, "influence.json")
    judged = per_slice(model, *held_out, metrics=metrics or {}, slices=slices or {})
    mlflow.log_metrics(dict(judged))


def contract(model: Any, features: pd.DataFrame) -> dict[str, Any]:
    """Return names, types, ranges and categories of the columns as they were learnt."""
    with warnings.catch_warnings():
        # MLflow warns of whole numbers that may be missing later; so does log_model.
        warnings.simplefilter("ignore", UserWarning)
        signature = infer_signature(features, model.predict(features.head(2)))
    return {
        "inputs": [
            {
                "name": str(spec["name"]),
                "type": spec["type"],
                "required": spec["required"],
                **_values(features[spec["name"]], spec["type"]),
            }
            for spec in signature.inputs.to_dict()
        ],
        "outputs": [
            {
                "name": str(spec.get("name", place)),
                "type": spec.get("tensor-spec", {}).get("dtype") or str(spec["type"]),
            }
            for place, spec in enumerate(signature.outputs.to_dict())
        ],
    }


def _values(column: pd.Series, type_: str) -> dict[str, Any]:
    if type_ in NUMBERS:
        numbers = column.to_numpy("float64")
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            return {}
        return {"min": float(numbers.min()), "max": float(numbers.max())}
    if type_ == "string" and column.nunique() <= MOST_CATEGORIES:
        return {"categories": sorted(column.dropna().unique().tolist())}
    return {}


def influence(
    model: Any,
    features: pd.DataFrame,
    truth: pd.Series,
    *,
    scoring: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return how much of its score the model loses without each feature."""
    rows = min(len(features), MOST_ROWS)
    found = permutation_importance(
        model,
        features,
        truth,
        scoring=scoring,
        n_repeats=REPEATS,
        random_state=seed,
        max_samples=rows,
    )
    return {
        "method": f"permutation importance: loss of {scoring or 'score'} when a "
        f"feature is shuffled; {rows} rows, {REPEATS} repeats",
        "features": {
            str(name): {"mean": float(mean), "std": float(std)}
            for name, mean, std in zip(
                features.columns,
                found.importances_mean,
                found.importances_std,
                strict=True,
            )
        },
    }


def per_slice(
    model: Any,
    features: pd.DataFrame,
    truth: pd.Series,
    *,
    metrics: Metrics,
    slices: Mapping[str, Any],
) -> Iterator[tuple[str, float]]:
    """Yield `slices/<slice>/<metric>` and its value; slices without rows have none."""
    for name, mask in slices.items():
        chosen = np.asarray(mask, bool)
        rows = int(chosen.sum())
        if not rows:
            continue
        yield f"slices/{name}/rows", float(rows)
        predicted = model.predict(features[chosen])
        for metric, measure in metrics.items():
            yield f"slices/{name}/{metric}", float(measure(truth[chosen], predicted))


def thirds(values: pd.Series, limits_from: pd.Series) -> dict[str, Any]:
    """Return three slices of `values`, cut where thirds of `limits_from` end."""
    low, high = limits_from.quantile([1 / 3, 2 / 3])
    return {
        f"{values.name} low": values <= low,
        f"{values.name} middle": (values > low) & (values <= high),
        f"{values.name} high": values > high,
    }


def data_digest(features: pd.DataFrame, target: pd.Series) -> str:
    """Return `sha256:<hex>` over names, types and values of a data set, in order."""
    content = hashlib.sha256()
    for name, column in [*features.items(), (target.name, target)]:
        content.update(f"{name}\0{column.dtype}\0".encode())
        content.update(pd.util.hash_pandas_object(column, index=False).to_numpy("<u8"))
    return f"sha256:{content.hexdigest()}"


def environment() -> str:
    """Return every installed package with its version, one per line."""
    found = {
        f"{package.name}=={package.version}"
        for package in importlib.metadata.distributions()
    }
    return "\n".join(sorted(found, key=str.lower)) + "\n"
