from __future__ import annotations

from typing import Any

import pulumi
import pytest

import images
from components.cluster import Cluster, references
from stacks.schema import EmbeddedCluster, ExistingCluster
from tests.harness import Lab, deploy, example, house

EMBEDDED = EmbeddedCluster(target="embedded", name="demo")
NEEDS = ["lab", "minio", "postgres"]


def existing(**settings: Any) -> ExistingCluster:
    return ExistingCluster(target="existing", context="team", **settings)


def connect(config: EmbeddedCluster | ExistingCluster) -> Lab:
    return deploy(lambda: Cluster("cluster", config, lab="demo", needs=["postgres"]))


@pytest.mark.parametrize(
    ("config", "context"),
    [(EMBEDDED, "labfactory-demo"), (existing(), "team")],
    ids=["embedded", "existing"],
)
def test_the_lab_goes_to_the_cluster_that_the_settings_name(
    config: EmbeddedCluster | ExistingCluster, context: str
) -> None:
    lab = connect(config)

    [provider] = [d for d in lab.declared if d.type == "pulumi:providers:kubernetes"]
    assert provider.inputs["context"] == context
    [namespace] = lab.all("Namespace")
    assert namespace.metadata["name"] == "demo"


def test_a_kubeconfig_that_moves_or_is_renewed_replaces_nothing() -> None:
    [provider] = [d for d in connect(EMBEDDED).declared if "providers" in d.type]

    assert provider.inputs["clusterIdentifier"] == "labfactory-demo"
    assert "kubeconfig" not in provider.inputs


def test_an_embedded_cluster_runs_the_images_that_were_loaded_into_it() -> None:
    assert references(EMBEDDED, NEEDS) == {n: images.reference(n) for n in NEEDS}


def test_an_existing_cluster_asks_the_registry_of_the_settings() -> None:
    config = existing(
        registry="registry.example.com/lab", images={"minio": "quay.io/minio/minio:1"}
    )

    assert references(config, NEEDS) == {
        "lab": images.reference("lab", "registry.example.com/lab"),
        "minio": "quay.io/minio/minio:1",
        "postgres": images.reference("postgres", "registry.example.com/lab"),
    }


def test_without_a_registry_public_images_do_where_there_are_any() -> None:
    config = existing(images={"lab": "ghcr.io/a/lab:1", "minio": "quay.io/m/minio:1"})

    assert references(config, NEEDS)["postgres"] == images.public("postgres")


def test_images_that_nobody_has_are_all_named_before_anything_is_declared() -> None:
    with pytest.raises(pulumi.RunError) as refusal:
        references(existing(), NEEDS)

    assert "(lab, minio)" in str(refusal.value)
    assert "cluster.registry" in str(refusal.value)
    assert "cluster.images" in str(refusal.value)


def test_volumes_are_of_the_class_that_the_cluster_s_owner_named() -> None:
    settings = {
        "target": "existing",
        "context": "team",
        "registry": "r.example.com/lab",
    }

    def classes(cluster: dict[str, str]) -> set[str | None]:
        claims = house(example(cluster=cluster)).all("PersistentVolumeClaim")
        assert len(claims) == 5
        return {claim.spec.get("storageClassName") for claim in claims}

    assert classes({**settings, "storage_class": "fast"}) == {"fast"}
    assert classes(settings) == {None}
