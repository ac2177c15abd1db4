"""A cluster that remembers what backups read and write in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from labfactory.backups.errands import REPOSITORY
from labfactory.errors import LabError
from stacks.schema import LabConfig
from tests.harness import example

SECRET = "not-a-real-password"
BACKUPS: Mapping[str, Any] = {
    "store": {"kind": "minio", "capacity": "10Gi"},
    "staging": "10Gi",
}
RECOVERY = {"rpo_minutes": 60, "rto_minutes": 30}
DONE = {"conditions": [{"type": "Complete", "status": "True"}]}
ENTRY = {
    "started": "2026-11-21T10:00:00+00:00",
    "snapshot": "0123456789abcdef",
    "consistent_at": "2026-11-21T10:00:05+00:00",
    "bytes": 3 * 1024 * 1024,
    "files": 7,
    "rows": 1234,
    "objects": 5,
    "seconds": 12.5,
    "ok": True,
}


class FakeCluster:
    """What labfactory.backups.cluster.Cluster does, in memory."""

    def __init__(self) -> None:
        self.namespaces: set[str] = set()
        self.maps: dict[tuple[str, str], dict[str, str]] = {}
        self.secrets: dict[tuple[str, str], dict[str, Any]] = {}
        self.policies: set[tuple[str, str]] = set()
        self.cron_jobs: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.running: dict[str, list[Mapping[str, Any]]] = {}
        self.log: list[str] = []
        self.away = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def has_namespace(self, name: str) -> bool:
        return name in self.namespaces

    def config_map(self, namespace: str, name: str) -> dict[str, str] | None:
        if self.away:
            raise LabError("cluster 'c': does not answer")
        return self.maps.get((namespace, name))

    def secret(self, namespace: str, name: str) -> dict[str, str] | None:
        return self.secrets.get((namespace, name))

    def write_secret(
        self, namespace: str, name: str, data: Mapping[str, bytes], owner: str
    ) -> None:
        self.secrets[namespace, name] = dict(data)

    def remove_secret(self, namespace: str, name: str) -> None:
        self.secrets.pop((namespace, name), None)

    def write_policy(self, namespace: str, manifest: Mapping[str, Any]) -> None:
        self.policies.add((namespace, manifest["metadata"]["name"]))

    def remove_policy(self, namespace: str, name: str) -> None:
        self.policies.discard((namespace, name))

    def cron_job(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.cron_jobs.get((namespace, name))

    def suspend(self, namespace: str, name: str, suspended: bool) -> None:
        self.log.append(f"{'suspend' if suspended else 'resume'} {name}")

    def jobs(self, namespace: str) -> list[Mapping[str, Any]]:
        return self.running.get(namespace, [])

    def scale(self, namespace: str, name: str, replicas: int) -> None:
        self.log.append(f"{name} {replicas}")

    def pods(self, namespace: str, app: str) -> int:
        return 0

    def wrote(self, namespace: str, key: str, entries: Sequence[Any]) -> None:
        """The keeper's results, or anything else that it writes as JSON."""
        self.maps.setdefault((namespace, "keeper"), {})[key] = json.dumps(entries)

    def has_lab(self, name: str) -> None:
        """A lab that is up, with what its backups need."""
        self.namespaces |= {name, f"{name}-drill", f"{name}-backups"}
        self.secrets[name, REPOSITORY] = repository(name)
        for namespace, verb in (
            (name, "backup"),
            (name, "restore"),
            (name, "check"),
            (f"{name}-drill", "drill"),
        ):
            self.cron_jobs[namespace, verb] = cron_job(verb)


def repository(lab: str) -> dict[str, str]:
    return {
        "RESTIC_REPOSITORY": f"s3:http://minio.{lab}-backups.svc:9000/backups/{lab}",
        "RESTIC_PASSWORD": SECRET,
        "AWS_ACCESS_KEY_ID": "backup-writer-1",
        "AWS_SECRET_ACCESS_KEY": f"{SECRET}-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def cron_job(verb: str) -> dict[str, Any]:
    container = {
        "name": verb,
        "envFrom": [
            {"secretRef": {"name": REPOSITORY}},
            {"secretRef": {"name": "storage-backup"}},
        ],
        "env": [
            {"name": "AT", "value": ""},
            {
                "name": "RESTIC_PASSWORD",
                "valueFrom": {
                    "secretKeyRef": {"name": REPOSITORY, "key": "RESTIC_PASSWORD"}
                },
            },
        ],
    }
    labels = {"labfactory.io/owner": "vision"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    template = {
        "metadata": {"labels": labels},
        "spec": {"ttlSecondsAfterFinished": 60, "template": pod},
    }
    return {
        "metadata": {"name": verb, "uid": f"uid-of-{verb}"},
        "spec": {"jobTemplate": template},
    }


def a_job(
    name: str,
    *,
    owner: str = "",
    status: Mapping[str, Any] | None = None,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    owners = [{"kind": "CronJob", "name": owner}] if owner else []
    metadata = {"name": name, "ownerReferences": owners, "annotations": notes}
    return {"metadata": metadata, "status": status or {}}


def lab_with_backups(**sections: Any) -> LabConfig:
    settings = example(backups=BACKUPS, releases={}, **sections)
    return LabConfig.model_validate(settings)
