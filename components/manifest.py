"""A Kubernetes object as a Pulumi resource, written the way Kubernetes writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

SECRET_OUTPUTS = ["data", "stringData"]


class Manifest(pulumi.CustomResource):
    """One object of Kubernetes, as `kubectl apply` would take it.

    It has the type and the properties that the classes of `pulumi_kubernetes` give
    it. Their typed copies of the whole API cost every preview a second of imports.
    """

    metadata: pulumi.Output[Any]
    spec: pulumi.Output[Any]
    status: pulumi.Output[Any]

    def __init__(
        self,
        name: str,
        manifest: Mapping[str, Any],
        *,
        namespace: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare `manifest` under the logical name `name`, in `namespace` if given."""
        metadata = dict(manifest["metadata"])
        if namespace is not None:
            metadata["namespace"] = namespace
        properties = {"spec": None, "status": None, **manifest, "metadata": metadata}
        if manifest["kind"] == "Secret":
            opts = pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(additional_secret_outputs=SECRET_OUTPUTS)
            )
        super().__init__(type_token(manifest), name, properties, opts)

    @property
    def name(self) -> pulumi.Output[str]:
        """The object's name; whatever uses it waits for the object."""
        return self.metadata.apply(lambda metadata: str(metadata["name"]))


def cluster_ip(service: Manifest) -> pulumi.Output[str]:
    """The address of a Service; unknown in a preview in which it is new."""
    return service.spec.apply(lambda spec: spec.get("clusterIP") or _unknown())


def _unknown() -> pulumi.Output[str]:
    is_known: asyncio.Future[bool] = asyncio.Future()
    is_known.set_result(False)
    value: asyncio.Future[str] = asyncio.Future()
    value.set_result("")
    return pulumi.Output(set(), value, is_known)


@dataclass(frozen=True)
class Parts:
    """Declares the objects of one component in one namespace."""

    component: pulumi.ComponentResource
    name: str
    namespace: pulumi.Input[str]

    def add(
        self,
        role: str,
        manifest: Mapping[str, Any],
        *,
        after: Sequence[pulumi.Resource] = (),
        patience: pulumi.CustomTimeouts | None = None,
    ) -> Manifest:
        """Declare `manifest` as `NAME-ROLE`, once everything in `after` is there."""
        return Manifest(
            f"{self.name}-{role}",
            manifest,
            namespace=self.namespace,
            opts=pulumi.ResourceOptions(
                parent=self.component,
                depends_on=list(after),
                custom_timeouts=patience,
            ),
        )


def type_token(manifest: Mapping[str, Any]) -> str:
    """Pulumi's type of a Kubernetes object: `kubernetes:apps/v1:Deployment`."""
    version = manifest["apiVersion"]
    group = version if "/" in version else f"core/{version}"
    return f"kubernetes:{group}:{manifest['kind']}"
