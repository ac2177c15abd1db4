from __future__ import annotations

import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from labfactory import environment
from labfactory.errors import LabError
from labfactory.releases import routes
from labfactory.releases.models import registry
from labfactory.releases.models.columns import Column, Contract
from labfactory.releases.models.server import NotThere
from labfactory.releases.planning import facts as facts_module
from labfactory.releases.planning.facts import Live
from labfactory.releases.planning.meaning import Amounts, Variant
from stacks.schema import LabConfig
from tests.harness import example

GIB = 2**30
OWN = "localhost/labfactory/lab:1"


def variant(version: int, column: str) -> Variant:
    return Variant(
        name=f"v{version}",
        version=version,
        digest=f"sha256:{version:064x}",
        artifact=f"s3://mlflow/{column}",
        runtime="lab-mlflow",
        replicas=1,
        each=Amounts(0.1, GIB),
    )


class Registry:
    """A registry in which a model has one column, named at its artifact."""

    registered = "iris"

    def __init__(self, url: str, *, bucket: str) -> None:
        assert (url, bucket) == ("http://mlflow:5000", "mlflow")

    def locate(self, name: str, version: str) -> Any:
        if name != self.registered:
            raise NotThere(f"model {name!r}: there is none")
        column = {"1": "age", "2": "size"}[version]
        return SimpleNamespace(artifact=f"s3://mlflow/{column}", column=column)

    def contract_at(self, at: Any) -> Contract:
        return self.one_column(at.column)

    def signature(self, artifact: str) -> dict[str, Any]:
        return {"column": artifact.rpartition("/")[2]}

    def digest_of(self, artifact: str) -> str | None:
        return None if artifact.endswith("gone") else "sha256:1"

    @staticmethod
    def one_column(name: str) -> Contract:
        return Contract(inputs=(Column(name=name, type="double"),), outputs=())


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.setattr(
        routes,
        "connect",
        lambda context, namespace: nullcontext(
            SimpleNamespace(ready=lambda: {"iris-v1": True})
        ),
    )
    monkeypatch.setattr(registry, "Registry", Registry)
    found = Live(LabConfig.model_validate(example()))
    found.tracking_url = "http://mlflow:5000"
    return found


def nodes(monkeypatch: pytest.MonkeyPatch, *, phase: str = "Running") -> None:
    """A cluster with one node and one pod."""
    amounts = {"cpu": "1900m", "memory": "4Gi"}
    node = SimpleNamespace(
        status=SimpleNamespace(
            allocatable=amounts,
            images=[SimpleNamespace(names=[OWN]), SimpleNamespace(names=None)],
        )
    )
    asked = SimpleNamespace(requests={"cpu": "400m", "memory": "1024Mi"})
    containers = [SimpleNamespace(resources=asked), SimpleNamespace(resources=None)]
    pod = SimpleNamespace(
        status=SimpleNamespace(phase=phase), spec=SimpleNamespace(containers=containers)
    )

    class Api:
        def __init__(self, client: object) -> None:
            pass

        def list_node(self, **_: object) -> Any:
            return SimpleNamespace(items=[node])

        def list_pod_for_all_namespaces(self, **_: object) -> Any:
            return SimpleNamespace(items=[pod])

    monkeypatch.setattr("kubernetes.client.CoreV1Api", Api)
    monkeypatch.setattr(environment, "kubernetes", lambda context: None)


def test_a_variant_that_nobody_knows_is_not_ready(live: Live) -> None:
    assert live.ready("iris-v1")
    assert not live.ready("iris-v2")


def test_the_cluster_is_asked_while_pulumi_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = threading.Event()

    def ready() -> dict[str, bool]:
        asked.set()
        return {}

    slow = SimpleNamespace(ready=ready)
    monkeypatch.setattr(routes, "connect", lambda context, namespace: nullcontext(slow))

    with Live(LabConfig.model_validate(example())):
        assert asked.wait(5)


def test_a_cluster_that_does_not_answer_matters_only_when_it_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent() -> dict[str, bool]:
        raise LabError("cluster: no answer")

    slow = SimpleNamespace(ready=silent)
    monkeypatch.setattr(routes, "connect", lambda context, namespace: nullcontext(slow))

    with (
        Live(LabConfig.model_validate(example())) as found,
        pytest.raises(LabError, match="no answer"),
    ):
        found.ready("iris-v1")


def test_what_no_pod_was_promised_is_free(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes(monkeypatch)

    assert live.free() == Amounts(1.5, 3 * GIB)


def test_pods_that_have_ended_hold_nothing(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes(monkeypatch, phase="Succeeded")

    assert live.free() == Amounts(1.9, 4 * GIB)


def test_an_image_of_the_node_s_own_must_be_there_and_others_can_be_pulled(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes(monkeypatch)

    assert live.image_present(OWN)
    assert not live.image_present("localhost/labfactory/lab:2")
    assert live.image_present("registry.example.org/lab:2")


def test_contracts_are_compared_by_version(live: Live) -> None:
    assert live.difference("iris", variant(1, "age"), variant(1, "age")).kind == "same"
    found = live.difference("iris", variant(1, "age"), variant(2, "size"))
    assert found.kind == "breaking"
    assert any("age" in text for text in found.columns)


@pytest.mark.parametrize("release", ["flowers", "iris"])
def test_a_release_with_another_name_than_its_model_has_a_contract_too(
    live: Live, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    # `iris` is registered, but what the variants have is another model's.
    monkeypatch.setattr(
        "labfactory.releases.models.contract.of",
        lambda signature, learnt: Registry.one_column(signature["column"]),
    )

    found = live.difference(release, variant(1, "weight"), variant(2, "height"))

    assert any("weight" in text for text in found.columns)


def test_the_store_says_what_it_has(live: Live) -> None:
    assert live.artifact_digest("s3://mlflow/age") == "sha256:1"
    assert live.artifact_digest("s3://mlflow/gone") is None


def test_before_the_first_up_there_is_nobody_to_ask(live: Live) -> None:
    live.tracking_url = None

    with pytest.raises(LabError, match="no tracking server yet"):
        live.artifact_digest("s3://mlflow/age")


def test_images_of_the_lab_s_own_are_those_of_no_registry() -> None:
    from images import EMBEDDED

    assert EMBEDDED.startswith(facts_module.OWN)
