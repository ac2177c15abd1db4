"""What backups and restores read and write in a cluster, in any of its namespaces."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import httpx2
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod, Secret
from lightkube.types import PatchType

from labfactory import environment
from labfactory.errors import LabError

CronJob = create_namespaced_resource("batch", "v1", "CronJob", "cronjobs")
Job = create_namespaced_resource("batch", "v1", "Job", "jobs")
NetworkPolicy = create_namespaced_resource(
    "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"
)
MANAGER = "lab"
"""Who writes, as the cluster keeps it beside what was written."""


class Cluster:
    """One cluster, for a `with` block; each call raises LabError when it is away."""

    def __init__(self, context: str) -> None:
        """Talk to the kubeconfig's cluster `context`."""
        self._where = f"cluster {context!r}"
        self._client: Any = environment.cluster(context, "default")

    def __enter__(self) -> Self:
        """Keep the connection for as long as the block lasts."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._client.close()

    def has_namespace(self, name: str) -> bool:
        """Whether the namespace is there."""
        return self._get(Namespace, name) is not None

    def config_map(self, namespace: str, name: str) -> dict[str, str] | None:
        """The texts in a ConfigMap; None when it is absent."""
        found = self._get(ConfigMap, name, namespace)
        return None if found is None else dict(found.data or {})

    def secret(self, namespace: str, name: str) -> dict[str, str] | None:
        """The texts in a Secret; None when it is absent."""
        found = self._get(Secret, name, namespace)
        if found is None:
            return None
        data = found.data or {}
        return {key: base64.b64decode(each).decode() for key, each in data.items()}

    def write_secret(
        self, namespace: str, name: str, data: Mapping[str, bytes], owner: str
    ) -> None:
        """Make the Secret hold `data` and nothing else that came from here."""
        labels = {
            "app.kubernetes.io/managed-by": "labfactory",
            "labfactory.io/owner": owner,
        }
        secret = Secret(
            metadata=ObjectMeta(name=name, namespace=namespace, labels=labels),
            data={key: base64.b64encode(each).decode() for key, each in data.items()},
        )
        with self._asked(f"write the Secret {name} in {namespace}"):
            self._client.apply(secret, field_manager=MANAGER, force=True)

    def write_policy(self, namespace: str, manifest: Mapping[str, Any]) -> None:
        """Make a NetworkPolicy what its manifest says."""
        policy = NetworkPolicy(**manifest)
        name = manifest["metadata"]["name"]
        with self._asked(f"write the NetworkPolicy {name} in {namespace}"):
            self._client.apply(
                policy, namespace=namespace, field_manager=MANAGER, force=True
            )

    def remove_secret(self, namespace: str, name: str) -> None:
        """Delete a Secret that may be gone already."""
        self._remove(Secret, namespace, name)

    def remove_policy(self, namespace: str, name: str) -> None:
        """Delete a NetworkPolicy that may be gone already."""
        self._remove(NetworkPolicy, namespace, name)

    def cron_job(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """A CronJob as it is declared; None when it is absent."""
        found: Mapping[str, Any] | None = self._get(CronJob, name, namespace)
        return found

    def suspend(self, namespace: str, name: str, suspended: bool) -> None:
        """Let a CronJob rest, or go on; one that is absent is passed over."""
        self._patch(CronJob, namespace, name, {"spec": {"suspend": suspended}})

    def jobs(self, namespace: str) -> list[Mapping[str, Any]]:
        """Every Job of a namespace."""
        with self._asked(f"list the Jobs in {namespace}"):
            return list(self._client.list(Job, namespace=namespace))

    def scale(self, namespace: str, name: str, replicas: int) -> None:
        """Give a Deployment so many pods; one that is absent is passed over."""
        self._patch(Deployment, namespace, name, {"spec": {"replicas": replicas}})

    def pods(self, namespace: str, app: str) -> int:
        """How many pods of an app are there, those that are on their way out too."""
        with self._asked(f"list the pods of {app} in {namespace}"):
            found = self._client.list(Pod, namespace=namespace, labels={"app": app})
            return sum(1 for _ in found)

    def _get(self, kind: Any, name: str, namespace: str | None = None) -> Any:
        inside = {} if namespace is None else {"namespace": namespace}
        where = "" if namespace is None else f" in {namespace}"
        try:
            with self._asked(f"read the {kind.__name__} {name}{where}"):
                return self._client.get(kind, name, **inside)
        except _AbsentError:
            return None

    def _patch(
        self, kind: Any, namespace: str, name: str, body: Mapping[str, Any]
    ) -> None:
        try:
            with self._asked(f"change the {kind.__name__} {name} in {namespace}"):
                self._client.patch(
                    kind,
                    name,
                    body,
                    namespace=namespace,
                    patch_type=PatchType.MERGE,
                    field_manager=MANAGER,
                )
        except _AbsentError:
            return

    def _remove(self, kind: Any, namespace: str, name: str) -> None:
        try:
            with self._asked(f"delete the {kind.__name__} {name} in {namespace}"):
                self._client.delete(kind, name, namespace=namespace)
        except _AbsentError:
            return

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        try:
            yield
        except httpx2.HTTPStatusError as error:
            if error.response.status_code == 404:
                raise _AbsentError(f"{self._where}: can't {what}: not there") from None
            raise LabError(
                f"{self._where}: can't {what} ({error}); may you do that there?"
            ) from None
        except httpx2.HTTPError as error:
            raise LabError(
                f"{self._where}: does not answer ({type(error).__name__}); `lab up` "
                "starts an embedded one"
            ) from None


class _AbsentError(LabError):
    """What was asked for is not there."""
