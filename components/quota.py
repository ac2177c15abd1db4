"""What a lab may take of its cluster, as was agreed: a ResourceQuota, a LimitRange."""

from __future__ import annotations

from typing import Any

import pulumi

from components.manifest import Parts
from stacks.promises import Capacity

NAME = "agreement"
RESERVED = {"cpu": "50m", "memory": "64Mi"}
"""What a container reserves that says nothing."""
AT_MOST = {"cpu": "500m", "memory": "256Mi"}
"""What one may take that says nothing."""
_COUNTED = {
    "requests.cpu": "cpu",
    "requests.memory": "memory",
    "requests.storage": "storage",
    "pods": "pods",
}


class Quota(pulumi.ComponentResource):
    """The clause `capacity` of the lab's agreement, kept by the cluster itself."""

    def __init__(
        self,
        name: str,
        config: Capacity,
        *,
        namespace: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare it for the lab's `namespace`."""
        super().__init__("labfactory:components:Quota", name, {}, opts)
        add = Parts(self, name, namespace).add
        # The other way round, pods whose containers say nothing were refused meanwhile.
        limits = [add("limits", found)] if (found := limit_range(config)) else []
        if quota := resource_quota(config):
            add("sums", quota, after=limits)
        self.register_outputs({})


def resource_quota(config: Capacity) -> dict[str, Any] | None:
    """What all pods together may reserve; None when nothing was agreed."""
    agreed = config.model_dump(exclude_none=True)
    hard = {
        counted: str(agreed[clause])
        for counted, clause in _COUNTED.items()
        if clause in agreed
    }
    return _object("ResourceQuota", {"hard": hard}) if hard else None


def limit_range(config: Capacity) -> dict[str, Any] | None:
    """What one container gets that says nothing, and what none may take more of.

    Where a sum is agreed, Kubernetes refuses a container that reserves nothing. None
    when no such sum is agreed.
    """
    agreed = config.model_dump(include={"cpu", "memory"}, exclude_none=True)
    limit = {
        "type": "Container",
        "defaultRequest": {kind: RESERVED[kind] for kind in agreed},
        "default": {kind: AT_MOST[kind] for kind in agreed},
        "max": agreed,
    }
    return _object("LimitRange", {"limits": [limit]}) if agreed else None


def _object(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": NAME},
        "spec": spec,
    }
