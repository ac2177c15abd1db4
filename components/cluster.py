"""Where the lab runs. The only file that knows the kinds of targets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

import pulumi

import images
from components.manifest import Manifest
from stacks.schema import (
    EmbeddedCluster,
    ExistingCluster,
    LabConfig,
    OwnPlatform,
)

RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
}


class Cluster(pulumi.ComponentResource):
    """A connection to the cluster, and the lab's namespace in it."""

    provider: pulumi.ProviderResource
    namespace: pulumi.Output[str]
    signed_kubelets: bool
    """Whether the cluster's authority has signed the kubelets' certificates."""
    opts: pulumi.ResourceOptions
    """What puts a room onto this cluster."""
    pods: Mapping[str, Any]
    """What a room with pods is told: `namespace`, `image`, `opts`."""
    volumes: Mapping[str, Any]
    """What one with volumes is told besides: `storage_class`; None is the cluster's
    default."""

    def __init__(
        self,
        name: str,
        config: EmbeddedCluster | ExistingCluster,
        *,
        lab: str,
        needs: Collection[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Connect to the cluster and make the namespace `lab` in it.

        `needs` are the names of the images that will be asked for. Raises
        pulumi.RunError when the settings do not say where one of them comes from.
        """
        super().__init__("labfactory:components:Cluster", name, {}, opts)
        self._images = references(config, needs)
        self.signed_kubelets = isinstance(config, EmbeddedCluster)
        self.provider = pulumi.ProviderResource(
            "kubernetes",
            f"{name}-kubernetes",
            # No kubeconfig here: the provider reads the one of whoever runs Pulumi.
            # Where that file lies, and which keys are in it, is no part of the lab.
            {
                "context": config.context,
                "clusterIdentifier": config.context,
                "enableServerSideApply": "true",
                "enableConfigMapMutable": "true",
                "enableSecretMutable": "true",
                # From 4.29 on the provider refuses what an interrupted `pulumi up`
                # has made already, unless told; before that it takes no notice.
                "upsertExistingObjects": "true",
            },
            pulumi.ResourceOptions(parent=self, version=version("pulumi-kubernetes")),
        )
        home = Manifest(
            f"{name}-namespace",
            namespace(lab, {}),
            opts=pulumi.ResourceOptions(parent=self, provider=self.provider),
        )
        self.namespace = home.name
        self.opts = pulumi.ResourceOptions(providers=[self.provider])
        self.pods = {
            "namespace": self.namespace,
            "image": self.image,
            "opts": self.opts,
        }
        existing = config if isinstance(config, ExistingCluster) else None
        storage_class = existing and existing.storage_class
        self.volumes = {**self.pods, "storage_class": storage_class}
        self.register_outputs({"namespace": self.namespace})

    def image(self, name: str) -> str:
        """The reference of the image `name`, which was among `needs`."""
        return self._images[name]


def needed_images(lab: LabConfig) -> list[str]:
    """Names of the images that the lab's pods run."""
    found = ["lab", "postgres"]
    stores = [lab.storage, *([lab.backups.store] if lab.backups else [])]
    if any(store.kind == "minio" for store in stores):
        found += ["minio"]
    if isinstance(lab.platform, OwnPlatform):
        found += ["contour", "envoy", "kserve-controller"]
    if lab.monitoring:
        found += ["alertmanager", "kube-state-metrics", "prometheus"]
        found += ["postgres-exporter"]
    if lab.guard:
        found += ["guard"]
    if lab.backups:
        found += ["keeper"]
    return found


def references(
    config: EmbeddedCluster | ExistingCluster, needs: Collection[str]
) -> dict[str, str]:
    """The reference of each image in `needs`, on this target.

    On a cluster that exists already: what the settings name, else the settings'
    registry, else the public image that does the same.
    """
    if isinstance(config, EmbeddedCluster):
        return {name: images.reference(name) for name in needs}
    found = {name: _elsewhere(config, name) for name in needs}
    if missing := sorted(name for name, place in found.items() if place is None):
        raise pulumi.RunError(
            f"cluster: some images of this lab have no public place that the cluster "
            f"could get them from ({', '.join(missing)}); run `lab images REGISTRY` "
            f"and set `cluster.registry` to it, or name each one in `cluster.images`"
        )
    return {name: place for name, place in found.items() if place is not None}


def namespace(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """A Namespace that admits only pods of the `restricted` Pod Security level."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {**RESTRICTED, **labels}},
    }


def _elsewhere(config: ExistingCluster, name: str) -> str | None:
    if name in config.images:
        return config.images[name]
    if config.registry is not None:
        return images.reference(name, config.registry)
    return images.public(name)
