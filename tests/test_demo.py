from pathlib import Path
from typing import Any

from labfactory import paths
from labfactory.demo.story import difference, outlived
from labfactory.demo.training import job
from stacks.load import read


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


def test_settings_whose_models_were_purged_are_not_applied_again(home: Path) -> None:
    settings = read(paths.PROJECT / "stacks" / "Pulumi.example.yaml")
    assert outlived(settings)

    kubeconfig = paths.kubeconfig(settings.cluster.name)  # type: ignore[union-attr]
    kubeconfig.parent.mkdir(parents=True)
    kubeconfig.touch()
    assert not outlived(settings)


def test_settings_without_a_model_are_kept(home: Path) -> None:
    settings = read(paths.PROJECT / "stacks" / "Pulumi.example.yaml")

    assert not outlived(settings.model_copy(update={"releases": {}}))
