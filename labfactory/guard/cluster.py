"""What the guard reads and writes in the lab's cluster, besides its lease."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import httpx2
from lightkube import Client, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.operators import exists
from lightkube.resources.core_v1 import ConfigMap

from labfactory.errors import LabError
from labfactory.guard.memory import GUARD, Remembered, config_map_name
from labfactory.releases.routes import Routes

SECONDS = 3.0
"""How long an answer may take: with it, nothing is under way any more when the lease
has run out."""
RETRAIN = "labfactory.io/retrain"
"""Label of the trainings that the guard starts: the release."""
BEFORE = "labfactory.io/newest-version"
"""Annotation of such a training: the newest version when it was started."""
CronJob = create_namespaced_resource("batch", "v1", "CronJob", "cronjobs")
Job = create_namespaced_resource("batch", "v1", "Job", "jobs")


@dataclass(frozen=True)
class Training:
    """One Job that trains a release's model anew."""

    name: str
    started: float
    """Unix time in seconds."""
    before: int
    """Newest version in the registry when it was started."""
    outcome: str | None
    """`Complete` or `Failed` when it has ended."""


def connect(namespace: str) -> Client:
    """A client for a pod's own account, in `namespace`."""
    return Client(
        KubeConfig.from_service_account(),
        namespace,
        timeout=httpx2.Timeout(SECONDS),
        lazy=False,
        trust_env=False,
    )


class Cluster:
    """Routes, memories and trainings of one lab."""

    def __init__(self, client: Client) -> None:
        """Talk through `client`, whose namespace is the lab's."""
        self._client = client
        self._versions: dict[str, str] = {}
        self.routes = Routes(client, f"namespace {client.namespace!r}")

    def memories(self) -> tuple[dict[str, Remembered], list[str]]:
        """What is remembered by release, and what cannot be read, as sentences.

        Raises LabError when the cluster does not answer.
        """
        found, broken = {}, []
        with _asked("list ConfigMaps"):
            all_ = list(self._client.list(ConfigMap, labels={GUARD: exists()}))
        self._versions.clear()
        for each in all_:
            assert each.metadata
            release = str((each.metadata.labels or {})[GUARD])
            self._versions[release] = str(each.metadata.resourceVersion)
            try:
                found[release] = Remembered.read((each.data or {})["state"])
            except (KeyError, TypeError, ValueError) as error:
                broken.append(
                    f"release {release!r}: what was remembered of it can't be read "
                    f"({type(error).__name__}: {error}); it is watched anew"
                )
        return found, broken

    def remember(
        self, release: str, memory: Remembered, route: Mapping[str, Any]
    ) -> Remembered:
        """Write the memory of a release; return it with what others wrote into it.

        It goes when the release's `route` does. Raises LabError.
        """
        with _asked(f"write the ConfigMap {config_map_name(release)}"):
            for _ in range(3):
                try:
                    return self._write(release, memory, route)
                except httpx2.HTTPStatusError as error:
                    if error.response.status_code not in (404, 409):
                        raise
                memory = self._merged(release, memory)
            return self._write(release, memory, route)

    def train(self, release: str, at: datetime, *, before: int) -> str:
        """Start the training of a release, as `kubectl create job --from` would.

        Returns the Job's name. Raises LabError.
        """
        with _asked(f"start the training of {release}"):
            schedule = self._client.get(CronJob, f"retrain-{release}")
            template = schedule["spec"]["jobTemplate"]
            metadata = template.get("metadata") or {}
            name = f"retrain-{release}-{at:%Y%m%d%H%M%S}"
            job = {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {
                    "name": name,
                    "labels": {**(metadata.get("labels") or {}), RETRAIN: release},
                    "annotations": {
                        **(metadata.get("annotations") or {}),
                        "cronjob.kubernetes.io/instantiate": "manual",
                        BEFORE: str(before),
                    },
                    "ownerReferences": [
                        {
                            "apiVersion": "batch/v1",
                            "kind": "CronJob",
                            "name": schedule["metadata"]["name"],
                            "uid": schedule["metadata"]["uid"],
                            "controller": True,
                        }
                    ],
                },
                "spec": template["spec"],
            }
            self._client.create(Job.from_dict(job))
            return name

    def trainings(self, release: str) -> list[Training]:
        """The trainings of a release that are still known, oldest first."""
        with _asked(f"list the trainings of {release}"):
            found = [
                Training(
                    name=job["metadata"]["name"],
                    started=_unix(job["metadata"]["creationTimestamp"]),
                    before=int(job["metadata"]["annotations"][BEFORE]),
                    outcome=_outcome(job),
                )
                for job in self._client.list(Job, labels={RETRAIN: release})
                if BEFORE in (job["metadata"].get("annotations") or {})
            ]
        return sorted(found, key=lambda training: training.started)

    def _write(
        self, release: str, memory: Remembered, route: Mapping[str, Any]
    ) -> Remembered:
        version = self._versions.get(release)
        metadata = ObjectMeta(
            name=config_map_name(release),
            labels={GUARD: release},
            resourceVersion=version,
            ownerReferences=[
                OwnerReference(
                    apiVersion=route["apiVersion"],
                    kind=route["kind"],
                    name=route["metadata"]["name"],
                    uid=route["metadata"]["uid"],
                )
            ],
        )
        new = ConfigMap(metadata=metadata, data={"state": memory.written()})
        written = self._client.replace(new) if version else self._client.create(new)
        assert written.metadata
        assert written.metadata.resourceVersion
        self._versions[release] = written.metadata.resourceVersion
        return memory

    def _merged(self, release: str, memory: Remembered) -> Remembered:
        """The memory with what `lab sync` has noted in it meanwhile."""
        self._versions.pop(release, None)
        try:
            found = self._client.get(ConfigMap, config_map_name(release))
        except httpx2.HTTPStatusError as error:
            if error.response.status_code == 404:
                return memory
            raise
        assert found.metadata
        assert found.metadata.resourceVersion
        self._versions[release] = found.metadata.resourceVersion
        try:
            noted = Remembered.read((found.data or {})["state"]).retrained
        except (KeyError, TypeError, ValueError):
            return memory
        ours = memory.retrained
        if ours and noted and ours.job == noted.job:
            taken = replace(ours, taken_at=ours.taken_at or noted.taken_at)
            return replace(memory, retrained=taken)
        return memory


@contextmanager
def _asked(to: str) -> Iterator[None]:
    """Say in a sentence why the cluster does not do what it was asked for."""
    try:
        yield
    except httpx2.HTTPStatusError as error:
        raise LabError(
            f"the cluster refuses to {to} ({error.response.status_code}: {error}); "
            "may the guard do that there?"
        ) from None
    except httpx2.HTTPError as error:
        raise LabError(
            f"the cluster does not answer when asked to {to} ({type(error).__name__})"
        ) from None


def _outcome(job: Mapping[str, Any]) -> str | None:
    conditions = (job.get("status") or {}).get("conditions") or []
    return next(
        (
            str(each["type"])
            for each in conditions
            if each["status"] == "True" and each["type"] in ("Complete", "Failed")
        ),
        None,
    )


def _unix(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
