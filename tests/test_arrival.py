import time

import pytest

from labfactory.releases.models import arrival
from labfactory.releases.models.arrival import Arrivals, last_line, why_not
from labfactory.releases.routes import is_ready

FAILED = {
    "metadata": {"name": "iris-v2"},
    "status": {
        "modelStatus": {
            "lastFailureInfo": {
                "message": "downloading\nbucket 'mlflow' has nothing below '9/models'\n"
            }
        }
    },
}
READY = {
    "metadata": {"name": "iris-v2"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


def pod(reason: str, message: str = "", ended: str = "") -> dict[str, object]:
    state = {"waiting": {"reason": reason, "message": message}}
    last = {"terminated": {"message": ended}} if ended else {}
    return {
        "metadata": {"labels": {"serving.kserve.io/inferenceservice": "iris-v2"}},
        "status": {"container_statuses": [{"state": state, "last_state": last}]},
    }


def test_the_reason_is_the_pods_own_last_line() -> None:
    assert why_not(FAILED, []) == "bucket 'mlflow' has nothing below '9/models'"


def test_a_crashing_server_is_quoted() -> None:
    reason = why_not({}, [pod("CrashLoopBackOff", ended="digest does not match")])

    assert reason == "CrashLoopBackOff: digest does not match"


def test_an_image_that_cannot_be_had_is_named() -> None:
    reason = why_not({}, [pod("ImagePullBackOff", "no such image lab:1")])

    assert reason == "ImagePullBackOff: no such image lab:1"


def test_a_pod_that_is_only_starting_is_no_failure() -> None:
    assert why_not({}, [pod("PodInitializing")]) is None


def test_ready_means_the_condition_is_true() -> None:
    assert is_ready(READY)
    assert not is_ready(
        {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    )
    assert not is_ready({})


def test_empty_messages_are_said_to_be_empty() -> None:
    assert last_line("\n  \n") == "no further message"


class Cluster:
    """Answers the two lists an Arrivals asks for."""

    def __init__(self, services: list[object]) -> None:
        self.items = services

    def list_namespaced_custom_object(self, *_: object, **__: object) -> object:
        return {"items": self.items}

    def list_namespaced_pod(self, *_: object, **__: object) -> object:
        return self

    def to_dict(self) -> object:
        return {"items": []}


@pytest.fixture
def arrivals() -> Arrivals:
    made = Arrivals.__new__(Arrivals)
    made._namespace = "demo"
    made._wanted = frozenset({"iris-v2"})
    made._since = {}
    return made


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: seconds)


def test_a_failure_is_reported_when_it_lasts(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals._custom = arrivals._core = Cluster([FAILED])
    at(monkeypatch, 100)
    assert arrivals.failure() is None
    at(monkeypatch, 100 + arrival.PATIENCE_SECONDS)

    said = arrivals.failure()

    assert said
    assert "'iris-v2' does not come up" in said
    assert "nothing below '9/models'" in said
    assert "still is" in said


def test_a_failure_that_passes_is_forgotten(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals._custom = arrivals._core = Cluster([FAILED])
    at(monkeypatch, 100)
    arrivals.failure()
    arrivals._custom = Cluster([READY])
    at(monkeypatch, 110)
    arrivals.failure()
    arrivals._custom = Cluster([FAILED])
    at(monkeypatch, 100 + arrival.PATIENCE_SECONDS)

    assert arrivals.failure() is None


def test_a_variant_that_is_not_wanted_any_more_is_not_waited_for(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals._wanted = frozenset({"iris-v3"})
    arrivals._custom = arrivals._core = Cluster([FAILED])
    at(monkeypatch, 100)
    arrivals.failure()
    at(monkeypatch, 200)

    assert arrivals.failure() is None
