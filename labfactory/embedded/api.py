"""Ask the cluster's API server: few questions, without a client library's start-up."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx

from labfactory.embedded.addresses import Addresses
from labfactory.embedded.settings import API_PORT


class Api:
    """The API server of one cluster, asked as its administrator."""

    def __init__(self, addresses: Addresses, pki: Path) -> None:
        """Connect lazily; `pki` holds ca.crt, admin.crt and admin.key."""
        trusted = ssl.create_default_context(cafile=pki / "ca.crt")
        trusted.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._client = httpx.Client(
            base_url=f"https://{addresses.node}:{API_PORT}",
            verify=trusted,
            timeout=2.0,
            trust_env=False,  # a proxy cannot reach the node
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ready(self) -> bool:
        """Whether the API server answers and says that it is ready."""
        try:
            return self._client.get("/readyz").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def node_ready(self, name: str, since: str) -> bool:
        """Whether the node said since then (RFC 3339) that it is ready for pods.

        After a restart the API server still knows what was true before.
        """
        found = self._get(f"/api/v1/nodes/{name}")
        return any(
            condition["type"] == "Ready"
            and condition["status"] == "True"
            and condition["lastHeartbeatTime"] >= since
            for condition in found.get("status", {}).get("conditions", [])
        )

    def available(self, namespace: str, deployment: str) -> bool:
        """Whether a Deployment has pods of its current generation that serve."""
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}"
        found = self._get(path)
        status = found.get("status", {})
        current = found.get("metadata", {}).get("generation")
        return bool(
            current
            and status.get("observedGeneration") == current
            and status.get("updatedReplicas", 0) == status.get("availableReplicas", -1)
        )

    def pods_not_back(self, since: str) -> list[str]:
        """Pods (`namespace/name`) that should run and are not ready since then."""
        pods = self._get("/api/v1/pods").get("items")
        if pods is None:
            return ["the list of pods"]
        return [
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            for pod in pods
            if not is_over(pod) and not is_back(pod, since)
        ]

    def _get(self, path: str) -> dict[str, Any]:
        try:
            response = self._client.get(path)
            if response.status_code != httpx.codes.OK:
                return {}
            found: dict[str, Any] = response.json()
        except httpx.HTTPError:
            return {}
        return found


def is_over(pod: dict[str, Any]) -> bool:
    """Whether a pod has done its work or is being deleted."""
    return (
        pod["status"].get("phase") in ("Succeeded", "Failed")
        or "deletionTimestamp" in pod["metadata"]
    )


def is_back(pod: dict[str, Any], since: str) -> bool:
    """Whether a pod is ready and all its containers were started since then."""
    status = pod["status"]
    containers = status.get("containerStatuses", [])
    ready = any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in status.get("conditions", [])
    )
    return ready and all(
        container["state"].get("running", {}).get("startedAt", "") >= since
        for container in containers
    )
