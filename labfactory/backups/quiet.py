"""Who must not work while a lab is restored, and how they are let go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from labfactory.backups.errands import BACKUP, RESTORE
from labfactory.errors import LabError

if TYPE_CHECKING:
    from labfactory.backups.cluster import Cluster

WRITERS = ("mlflow", "feedback", "guard")
"""Deployments that write into the store or the database, or judge what they hold."""
GONE_SECONDS = 120.0
WAY_IN = "keeper-source"
"""Secret with the source's repository, and NetworkPolicies that let the restore reach
it; they are there for as long as the restore is."""


def silence(
    cluster: Cluster, namespace: str, *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Stop what writes, and wait until it is gone; no backup is taken meanwhile.

    Raises LabError when a pod stays.
    """
    cluster.suspend(namespace, BACKUP.verb, True)
    for name in WRITERS:
        cluster.scale(namespace, name, 0)
    deadline = time.monotonic() + GONE_SECONDS
    while left := [name for name in WRITERS if cluster.pods(namespace, name)]:
        if time.monotonic() > deadline:
            raise LabError(
                f"namespace {namespace}: the pods of {', '.join(left)} do not end; "
                f"`kubectl -n {namespace} get pods` shows why; nothing was restored"
            )
        pause(1)


def wake(cluster: Cluster, namespace: str) -> None:
    """Let everything go on; safe to repeat."""
    for name in WRITERS:
        cluster.scale(namespace, name, 1)
    cluster.suspend(namespace, BACKUP.verb, False)


def open_way(
    cluster: Cluster,
    source: str,
    target: str,
    repository: Mapping[str, str],
    owner: str,
) -> None:
    """Let the restore in `target` read the backups of `source`."""
    data = {key: each.encode() for key, each in repository.items()}
    cluster.write_secret(target, WAY_IN, data, owner)
    for namespace, policy in ways(source, target):
        if cluster.has_namespace(namespace):
            cluster.write_policy(namespace, policy)


def close_way(cluster: Cluster, source: str, target: str) -> None:
    """Take that away again; safe to repeat."""
    cluster.remove_secret(target, WAY_IN)
    for namespace in (target, f"{source}-backups"):
        cluster.remove_policy(namespace, WAY_IN)


def ways(source: str, target: str) -> list[tuple[str, dict[str, Any]]]:
    """NetworkPolicies, with their namespaces, from the restore to another lab's store.

    None where a lab is restored from its own, which its own policies allow. Pure.
    """
    if source == target:
        return []
    store = f"{source}-backups"
    pods = {"matchLabels": {"batch.kubernetes.io/job-name": RESTORE.job}}
    ports = [{"protocol": "TCP", "port": 9000}]
    out = {
        "podSelector": pods,
        "policyTypes": ["Egress"],
        "egress": [{"to": [_namespace(store)], "ports": ports}],
    }
    in_ = {
        "podSelector": {"matchLabels": {"app": "minio"}},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{**_namespace(target), "podSelector": pods}], "ports": ports}
        ],
    }
    return [(target, _policy(out)), (store, _policy(in_))]


def _namespace(name: str) -> dict[str, Any]:
    labels = {"kubernetes.io/metadata.name": name}
    return {"namespaceSelector": {"matchLabels": labels}}


def _policy(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": WAY_IN},
        "spec": dict(spec),
    }
