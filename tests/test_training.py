"""The demo's training jobs, against an MLflow of their own."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    # What MLflow and skops say when they are imported is not about us.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    import mlflow.sklearn
    import skops.io  # type: ignore[import-untyped]  # noqa: F401
    from mlflow import MlflowClient
    from model_server.digest import tree_digest
    from training import jobs, registry
    from training.problems import PROBLEMS, SEED, data_digest

# MLflow uses what its own dependencies (SQLAlchemy, Alembic, pydantic) have deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    """An MLflow without a server; artifacts in a folder."""
    folder = tmp_path_factory.mktemp("mlflow")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    client = MlflowClient()
    for name in ("breast-cancer", "diabetes"):
        client.create_experiment(name, artifact_location=str(folder / name))
    yield client
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def first(tracking: MlflowClient) -> dict[str, str]:
    """The first job, which leaves one run behind that another try has to close."""
    tag = registry.key(
        name="breast-cancer",
        dataset="breast_cancer",
        grid="first",
        data=data_digest(*PROBLEMS["breast_cancer"].load()),
        code=registry.code_version(),
    )
    experiment = tracking.get_experiment_by_name("breast-cancer").experiment_id
    tracking.create_run(experiment, tags={registry.KEY: tag, "killed": "yes"})
    return jobs.run("breast_cancer", "first", "breast-cancer", "mlflow")


FINISHED = "attributes.status = 'FINISHED' and tags.grid = 'first'"


def runs(client: MlflowClient, name: str, text: str) -> list[Any]:
    experiment = client.get_experiment_by_name(name)
    found: list[Any] = list(client.search_runs([experiment.experiment_id], text))
    return found


def test_the_job_says_what_a_release_needs(first: dict[str, str]) -> None:
    assert first["name"] == "breast-cancer"
    assert first["version"] == "1"
    assert first["model_id"].startswith("m-")
    assert first["digest"] == tree_digest(first["artifact"])


def test_a_second_job_with_the_same_inputs_registers_nothing(
    tracking: MlflowClient, first: dict[str, str]
) -> None:
    assert jobs.run("breast_cancer", "first", "breast-cancer", "mlflow") == first
    assert len(tracking.search_model_versions("name = 'breast-cancer'")) == 1
    assert len(runs(tracking, "breast-cancer", FINISHED)) == 3


def test_a_run_of_a_try_that_was_killed_does_not_look_alive(
    tracking: MlflowClient, first: dict[str, str]
) -> None:
    [leftover] = runs(tracking, "breast-cancer", "tags.killed = 'yes'")

    assert leftover.info.status == "KILLED"
    assert runs(tracking, "breast-cancer", "attributes.status = 'RUNNING'") == []


def test_every_setting_is_a_run_with_all_that_led_to_it(
    tracking: MlflowClient, first: dict[str, str], tmp_path: Path
) -> None:
    found = runs(tracking, "breast-cancer", FINISHED)

    assert sorted(run.data.params["max_depth"] for run in found) == ["1", "2", "4"]
    for run in found:
        assert run.data.params["seed"] == str(SEED)
        assert {"accuracy", "f1", "cv_accuracy"} <= run.data.metrics.keys()
        assert run.data.tags["data"] == data_digest(*PROBLEMS["breast_cancer"].load())
        assert run.data.tags["code"] == registry.code_version()
        [dataset] = run.inputs.dataset_inputs
        assert dataset.dataset.name == "breast_cancer"
        assert dataset.dataset.digest in run.data.tags["data"]
        packages = tracking.download_artifacts(
            run.info.run_id, "environment.txt", str(tmp_path)
        )
        assert f"mlflow=={mlflow.__version__}" in Path(packages).read_text()


def test_the_best_setting_is_the_one_that_is_registered(
    tracking: MlflowClient, first: dict[str, str]
) -> None:
    found = runs(tracking, "breast-cancer", FINISHED)
    best = max(found, key=lambda run: run.data.metrics["cv_accuracy"])

    assert first["run_id"] == best.info.run_id


def test_the_model_carries_its_signature_and_an_example(first: dict[str, str]) -> None:
    model = mlflow.pyfunc.load_model(first["artifact"])

    columns = model.metadata.get_input_schema().input_names()
    assert columns == list(PROBLEMS["breast_cancer"].load()[0].columns)
    assert (Path(first["artifact"]) / "serving_input_example.json").is_file()


def test_the_model_is_read_back_without_running_its_code(first: dict[str, str]) -> None:
    assert (Path(first["artifact"]) / "model.skops").is_file()


def test_the_expected_answers_are_the_models_own_on_held_out_rows(
    tracking: MlflowClient, first: dict[str, str], tmp_path: Path
) -> None:
    path = tracking.download_artifacts(first["run_id"], "expected.json", str(tmp_path))
    expected = json.loads(Path(path).read_text())
    features, target = PROBLEMS["breast_cancer"].load()
    parts = jobs.split(features, target)

    rows = parts.held_out.head(len(expected["rows"]))
    assert expected["rows"] == rows.to_numpy().tolist()
    assert expected["columns"] == list(rows.columns)
    model = mlflow.pyfunc.load_model(first["artifact"])
    assert expected["predictions"] == model.predict(rows).tolist()
    assert set(expected["predictions"]) == {"malignant", "benign"}


def test_the_better_grid_is_the_next_version_and_better(
    tracking: MlflowClient, first: dict[str, str]
) -> None:
    better = jobs.run("breast_cancer", "better", "breast-cancer", "mlflow")

    assert better["version"] == "2"
    assert better["digest"] != first["digest"]
    accuracy = {
        found["version"]: tracking.get_run(found["run_id"]).data.metrics["accuracy"]
        for found in (first, better)
    }
    assert accuracy["2"] > accuracy["1"]


def test_the_regression_is_trained_the_same_way(tracking: MlflowClient) -> None:
    found = jobs.run("diabetes", "first", "diabetes", "mlflow")

    run = tracking.get_run(found["run_id"])
    assert {"r2", "mae", "rmse", "cv_r2"} <= run.data.metrics.keys()
    model = mlflow.pyfunc.load_model(found["artifact"])
    assert model.metadata.get_output_schema() is not None


@pytest.mark.parametrize(
    ("location", "address"),
    [
        (
            "mlflow-artifacts:/1/models/m-1/artifacts",
            "s3://bucket/1/models/m-1/artifacts",
        ),
        ("mlflow-artifacts://mlflow:5000/1/m-1", "s3://bucket/1/m-1"),
        ("s3://elsewhere/1/m-1", "s3://elsewhere/1/m-1"),
    ],
)
def test_an_artifact_is_named_where_the_store_has_it(
    location: str, address: str
) -> None:
    assert registry.artifact(location, "bucket") == address


def test_another_data_set_is_another_key() -> None:
    features, target = PROBLEMS["diabetes"].load()
    changed = features.copy()
    changed.iloc[0, 0] += 1e-9

    assert data_digest(features, target) == data_digest(features.copy(), target)
    assert data_digest(changed, target) != data_digest(features, target)
    assert data_digest(features, target * 2) != data_digest(features, target)
