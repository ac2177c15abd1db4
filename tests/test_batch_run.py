"""`lab batch`: what is checked before a Job, and what is told after it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from labfactory.errors import LabError
from labfactory.jobs import Jobs, ended_with, refused, stuck
from labfactory.progress import Progress
from labfactory.releases.batch import Heard, checked, described, summary
from stacks.schema import LabConfig
from tests.harness import example, variant

IN, OUT = "s3://datasets/claims.csv", "s3://predictions/claims"
ENDPOINT = {"url": "https://models.example.com/p", "cost_per_call": 0.1}


def lab(**changes: Any) -> LabConfig:
    settings = example(
        predictions={"bucket": "predictions"},
        releases={
            "iris": {
                "template": "mlflow",
                "serve": ["api", "batch"],
                "variants": {
                    "v1": variant(),
                    "other": {"external": ENDPOINT, "role": "candidate"},
                },
            },
            "wine": {"template": "mlflow", "variants": {"v1": variant()}},
        },
    )
    storage = {**settings["storage"], "buckets": ["mlflow", "datasets", "predictions"]}
    return LabConfig.model_validate({**settings, "storage": storage, **changes})


def test_the_stable_variant_predicts_unless_another_one_is_named() -> None:
    config, chosen = checked(lab(), "iris", IN, OUT, None, 1)

    assert (config.template, chosen) == ("mlflow", "v1")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"release": "irs"}, 'did you mean "iris"'),
        ({"release": "wine"}, "serve: [api, batch]"),
        ({"variant": "v2"}, "no variant 'v2'"),
        ({"variant": "other"}, "somebody else's endpoint"),
        ({"parallelism": 65}, "1 to 64"),
        ({"input": "datasets/claims.csv"}, "s3://BUCKET/PATH"),
        ({"input": "s3://elsewhere/x"}, "may not read"),
        ({"input": "s3://mlflow/x"}, "may not read"),
        ({"output": "s3://datasets/x"}, "s3://predictions/FOLDER"),
        ({"output": "s3://predictions/logs/iris"}, "FOLDER is not logs"),
        (
            {"input": "s3://predictions/a", "output": "s3://predictions/a/b"},
            "inside of the input",
        ),
    ],
)
def test_what_is_in_the_way_is_said_before_anything_is_started(
    asked: dict[str, Any], said: str
) -> None:
    given = {
        "release": "iris",
        "input": IN,
        "output": OUT,
        "variant": None,
        "parallelism": 1,
        **asked,
    }

    with pytest.raises(LabError) as error:
        checked(lab(), **given)

    assert said in str(error.value)


def test_a_lab_without_a_place_for_predictions_says_which_setting_to_write() -> None:
    settings = lab().model_copy(update={"predictions": None})

    with pytest.raises(LabError, match=r"predictions\.bucket: is not set"):
        checked(settings, "iris", IN, OUT, None, 1)


FOUND = {
    "complete": True,
    "rows": 10,
    "predicted": 7,
    "rejected": {"null": 2, "wrong_type": 1},
    "input": IN,
    "output": OUT,
}


def test_the_summary_is_that_of_the_worker_that_closed_the_run() -> None:
    logs = [json.dumps({"complete": False, "rows": 3}), f"read\n{json.dumps(FOUND)}\n"]

    assert summary(logs, "batch-iris") == FOUND


def test_a_job_whose_log_is_gone_is_said_to_be_safe_to_repeat() -> None:
    with pytest.raises(LabError, match="repeats nothing"):
        summary([""], "batch-iris")


def test_counts_reasons_and_places_are_told() -> None:
    said = "\n".join(described(FOUND))

    assert "3 rows (2 null, 1 wrong_type)" in said
    assert f"{OUT}/manifest.json" in said


def test_a_worker_that_talks_a_lot_is_repeated_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard = Heard(Progress())
    clock = iter([100.0, 100.0, 101.0, 109.0, 109.0])
    monkeypatch.setattr("labfactory.releases.batch.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(heard._progress, "say", print)

    for line in ("part 1", "part 1", "part 2", "part 3"):
        heard(line)

    assert capsys.readouterr().out.split() == ["part", "1", "part", "3"]


class Cluster:
    """A cluster with one Job, as both of Kubernetes' clients."""

    def __init__(self, ended: str | None = None, exit_code: int = 0) -> None:
        self.job = _job(ended) if ended is not None else None
        self.exit_code = exit_code
        self.done: list[str] = []

    def read_namespaced_job(self, *_: Any) -> Any:
        if self.job is None:
            raise ApiException(status=404)
        return self.job

    def create_namespaced_job(self, *_: Any) -> None:
        self.done.append("create")
        self.job = _job("Complete" if self.exit_code == 0 else "Failed")

    def delete_namespaced_job(self, *_: Any, **__: Any) -> None:
        self.done.append("delete")
        self.job = None

    def list_namespaced_pod(self, *_: Any, **__: Any) -> Any:
        ended = {"exit_code": self.exit_code, "message": "log\na sentence\n"}
        status = {"container_statuses": [{"state": {"terminated": ended}}]}
        pod = SimpleNamespace(
            metadata=SimpleNamespace(name="pod", creation_timestamp=1),
            spec=SimpleNamespace(containers=[SimpleNamespace(name="worker")]),
            status=SimpleNamespace(
                phase="Failed" if self.exit_code else "Succeeded", conditions=None
            ),
            to_dict=lambda: {"status": status},
        )
        return SimpleNamespace(items=[pod])

    def read_namespaced_pod_log(self, *_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(data=b"the log\n")


def _job(ended: str) -> Any:
    conditions = [SimpleNamespace(status="True", type=ended)] if ended else None
    return SimpleNamespace(status=SimpleNamespace(conditions=conditions))


def jobs(cluster: Cluster) -> Jobs:
    found = Jobs.__new__(Jobs)
    found._batch = found._core = cluster
    found._namespace = "lab"
    return found


@pytest.mark.parametrize(
    ("ended", "again", "done"),
    [
        (None, False, ["create"]),
        ("", True, []),
        ("Complete", False, []),
        ("Complete", True, ["delete", "create"]),
        ("Failed", False, ["delete", "create"]),
    ],
    ids=["new", "running", "complete", "complete, again", "failed"],
)
def test_a_job_that_is_there_is_followed_or_replaced(
    ended: str | None, again: bool, done: list[str]
) -> None:
    cluster = Cluster(ended)

    jobs(cluster).start({"metadata": {"name": "x"}}, again=again)

    assert cluster.done == done


def test_a_job_that_is_done_hands_over_its_logs(home: Path) -> None:
    with Progress().step("a job") as step:
        assert jobs(Cluster("Complete")).follow("x", step) == ["the log\n"]


@pytest.mark.parametrize(
    ("exit_code", "said"), [(42, "^a sentence$"), (1, "'x' failed; its last lines")]
)
def test_a_job_that_failed_says_why(home: Path, exit_code: int, said: str) -> None:
    with Progress().step("a job") as step, pytest.raises(LabError, match=said):
        jobs(Cluster("Failed", exit_code)).follow("x", step)


def test_a_job_that_takes_too_long_is_not_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labfactory.jobs.time.sleep", lambda _: None)

    with Progress().step("a job") as step, pytest.raises(LabError, match="not done"):
        jobs(Cluster("")).follow("x", step, seconds=0.05)


def test_a_pod_without_its_secret_is_told_apart_from_one_that_starts() -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": "no secret"}
    starting = {"reason": "PodInitializing"}

    assert stuck([_pod({"waiting": waiting})]) == (
        "CreateContainerConfigError: no secret"
    )
    assert stuck([_pod({"waiting": starting}), _pod({"running": {}})]) is None


def test_only_a_refusal_is_repeated_word_for_word() -> None:
    ended = {"exit_code": 1, "message": "no route"}

    assert refused(_pod({"terminated": ended})) is None
    assert ended_with(_pod({"terminated": ended})) == "no route"
    assert refused(_pod({"terminated": {**ended, "exit_code": 42}})) == "no route"


def _pod(state: dict[str, Any]) -> dict[str, Any]:
    return {"status": {"container_statuses": [{"state": state}]}}
