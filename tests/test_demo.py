from typing import Any

from labfactory.demo.story import difference
from labfactory.demo.training import job


def test_only_the_services_with_new_pods_count_as_touched() -> None:
    before = {"iris-v1": "a", "wine-v1": "b"}
    after = {"iris-v2": "c", "wine-v1": "b"}

    assert difference(before, after) == ("the edit started iris-v2; untouched: wine-v1")


def test_a_service_that_was_restarted_is_not_called_untouched() -> None:
    assert difference({"wine-v1": "b"}, {"wine-v1": "c"}) == (
        "the edit started wine-v1; untouched: "
    )


def training() -> dict[str, Any]:
    made: dict[str, Any] = job(
        "iris", "iris", "first", image="lab:1", bucket="mlflow", owner="vision"
    )["spec"]["template"]["spec"]
    return made


def test_training_runs_as_an_unprivileged_user_with_limits() -> None:
    pod = training()
    [container] = pod["containers"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"requests", "limits"} <= container["resources"].keys()


def test_training_gets_no_key_to_the_store() -> None:
    [container] = training()["containers"]

    assert not [e for e in container["env"] if "AWS" in e["name"]]
