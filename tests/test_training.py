"""The demo's training jobs, against an MLflow of their own."""

from __future__ import annotations

import json
import logging
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from labfactory.releases.models.admission import problems
from labfactory.releases.models.run import Dataset, Run

with warnings.catch_warnings():
    # What MLflow and skops say when they are imported is not about us.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    import mlflow.sklearn
    import skops.io  # type: ignore[import-untyped]  # noqa: F401
    from mlflow import MlflowClient
    from model_server.digest import tree_digest
    from training import jobs, registry
    from training.describe import contract, describe
    from training.describe import data_digest as any_digest
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


def logged(client: MlflowClient, run_id: str, path: str, folder: Path) -> Any:
    return json.loads(
        Path(client.download_artifacts(run_id, path, str(folder))).read_text()
    )


def test_the_contract_has_the_ranges_of_what_was_learned_from(
    tracking: MlflowClient, first: dict[str, str], tmp_path: Path
) -> None:
    parts = jobs.split(*PROBLEMS["breast_cancer"].load())

    found = logged(tracking, first["run_id"], "contract.json", tmp_path)

    [radius, *_] = found["inputs"]
    assert radius == {
        "name": "mean radius",
        "type": "double",
        "required": True,
        "min": parts.features["mean radius"].min(),
        "max": parts.features["mean radius"].max(),
    }
    assert [c["name"] for c in found["inputs"]] == list(parts.features.columns)


def test_the_influence_of_the_features_is_of_those_the_model_uses(
    tracking: MlflowClient, first: dict[str, str], tmp_path: Path
) -> None:
    model = mlflow.sklearn.load_model(first["artifact"])
    used = {
        name
        for name, weight in zip(
            model.feature_names_in_, model.feature_importances_, strict=True
        )
        if weight
    }

    found = logged(tracking, first["run_id"], "influence.json", tmp_path)

    assert "loss of accuracy" in found["method"]
    assert {name for name, one in found["features"].items() if one["mean"]} <= used
    assert max(one["mean"] for one in found["features"].values()) > 0.05


def test_slices_are_judged_apart_and_have_all_held_out_rows_together(
    tracking: MlflowClient, first: dict[str, str]
) -> None:
    metrics = tracking.get_run(first["run_id"]).data.metrics
    slices = [f"slices/mean radius {size}" for size in ("low", "middle", "high")]

    rows = [metrics[f"{name}/rows"] for name in slices]
    right = [metrics[f"{name}/accuracy"] for name in slices]
    mean = sum(n * part for n, part in zip(rows, right, strict=True)) / sum(rows)
    assert sum(rows) == len(jobs.split(*PROBLEMS["breast_cancer"].load()).held_out)
    assert mean == pytest.approx(metrics["accuracy"])


def admitted(client: MlflowClient, run_id: str) -> list[str]:
    found = client.get_run(run_id)
    files = [file.path for file in client.list_artifacts(run_id)]
    datasets = tuple(
        Dataset(one.dataset.name, one.dataset.digest)
        for one in found.inputs.dataset_inputs
    )
    return problems(Run(run_id, tags=found.data.tags, datasets=datasets), files)


def test_a_job_s_run_may_be_released(
    tracking: MlflowClient, first: dict[str, str]
) -> None:
    assert admitted(tracking, first["run_id"]) == []


def bare_run(client: MlflowClient) -> str:
    experiment = mlflow.set_experiment("diabetes").experiment_id
    run_id: str = client.create_run(experiment).info.run_id
    client.set_terminated(run_id)
    return run_id


def test_the_lines_of_a_refusal_are_all_that_it_takes(
    tracking: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There need not be a git here.
    monkeypatch.setattr(subprocess, "check_output", lambda *_, **__: "0123abc\n")
    run_id = bare_run(tracking)
    lines = [said.partition("log it: ")[2] for said in admitted(tracking, run_id)]
    frame = pd.DataFrame({"age": [1.0, 2.0]})

    for line in lines:
        exec(line, {"mlflow": mlflow, "frame": frame})

    assert len(lines) == 3
    assert admitted(tracking, run_id) == []


class Doubling:
    """A model that is none of scikit-learn's."""

    def predict(self, frame: Any) -> Any:
        return frame["age"].to_numpy() * 2


PEOPLE = pd.DataFrame({"age": [1.0, 2.0, 9.0], "sex": ["f", "m", None]})


def test_one_call_makes_any_run_one_that_may_be_released(
    tracking: MlflowClient, tmp_path: Path
) -> None:
    run_id = bare_run(tracking)

    with mlflow.start_run(run_id=run_id):
        describe(
            Doubling(),
            PEOPLE,
            PEOPLE["age"].rename("twice"),
            name="people",
            code="v1",
            owner="team-a",
            metrics={"worst": lambda truth, said: max(abs(truth - said))},
            slices={"old": PEOPLE["age"] > 5, "nobody": PEOPLE["age"] > 99},
        )

    found = tracking.get_run(run_id)
    assert admitted(tracking, run_id) == []
    assert found.data.metrics == {"slices/old/rows": 1.0, "slices/old/worst": 9.0}
    assert found.data.tags["owner"] == "team-a"
    files = {file.path for file in tracking.list_artifacts(run_id)}
    assert files == {"contract.json", "environment.txt", "reference.json"}


def test_a_learnt_column_has_its_range_or_its_categories() -> None:
    assert contract(Doubling(), PEOPLE) == {
        "inputs": [
            {"name": "age", "type": "double", "required": True, "min": 1.0, "max": 9.0},
            {
                "name": "sex",
                "type": "string",
                "required": False,
                "categories": ["f", "m"],
            },
        ],
        "outputs": [{"name": "0", "type": "float64"}],
    }


def test_what_can_not_be_released_is_refused_while_it_is_described(
    tracking: MlflowClient,
) -> None:
    with pytest.raises(ValueError, match="inside `with mlflow"):
        describe(Doubling(), PEOPLE, PEOPLE["age"])
    run_id = bare_run(tracking)
    with (
        mlflow.start_run(run_id=run_id),
        pytest.raises(ValueError, match="pass code="),
    ):
        describe(Doubling(), PEOPLE, PEOPLE["age"])


def test_a_digest_of_any_data_is_of_names_types_values_and_order() -> None:
    target = PEOPLE["age"]
    digests = {
        any_digest(frame, target)
        for frame in (
            PEOPLE,
            PEOPLE.iloc[::-1],
            PEOPLE.rename(columns={"sex": "kind"}),
            PEOPLE.assign(age=PEOPLE["age"].astype("float32")),
            PEOPLE.assign(sex=["f", "m", "m"]),
        )
    }

    assert len(digests) == 5
    assert any_digest(PEOPLE.copy(), target.copy()) in digests


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
