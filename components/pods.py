"""What every pod of ours has in common: nothing it does not need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LAB_USER = 1000
"""User of the processes in the `lab` image."""
SCRATCH = "tmp"
"""Name of the volume for temporary files; a pod has no other place to write."""


def pod(
    user: int, containers: Iterable[Mapping[str, Any]], **spec: Any
) -> dict[str, Any]:
    """A pod spec that the `restricted` Pod Security level admits.

    `user` is the numeric user and group of all its processes (an image from scratch
    knows no names). `spec` adds fields, or replaces the defaults.
    """
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **spec,
        "containers": [restricted(container) for container in containers],
    }


def restricted(container: Mapping[str, Any]) -> dict[str, Any]:
    """`container` without privileges, with a root file system it cannot change."""
    return {
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        **container,
    }


def resources(*, cpu: str, memory: str, most_cpu: str, most: str) -> dict[str, Any]:
    """Requests (`cpu`, `memory`) and limits (`most_cpu`, `most`) of a container."""
    return {
        "requests": {"cpu": cpu, "memory": memory},
        "limits": {"cpu": most_cpu, "memory": most},
    }


def http_probe(
    path: str, port: int, *, every: int, failures: int = 3
) -> dict[str, Any]:
    """Ask `path` on `port` every so many seconds."""
    return _probe({"httpGet": {"path": path, "port": port}}, every, failures)


def tcp_probe(port: int, *, every: int, failures: int = 3) -> dict[str, Any]:
    """Open a connection to `port` every so many seconds."""
    return _probe({"tcpSocket": {"port": port}}, every, failures)


def exec_probe(*command: str, every: int, failures: int = 3) -> dict[str, Any]:
    """Run `command` in the container every so many seconds."""
    return _probe({"exec": {"command": list(command)}}, every, failures)


def env(**variables: Any) -> list[dict[str, Any]]:
    """Environment variables; a mapping is where the value comes from."""
    return [
        {"name": name, "valueFrom": value}
        if isinstance(value, Mapping)
        else {"name": name, "value": value}
        for name, value in variables.items()
    ]


def secret_key(secret: Any, key: str) -> dict[str, Any]:
    """The value of `key` in `secret`, for `env`."""
    return {"secretKeyRef": {"name": secret, "key": key}}


def field(path: str) -> dict[str, Any]:
    """What the pod's own object says at `path`, for `env`."""
    return {"fieldRef": {"fieldPath": path}}


def scratch(size: str = "1Gi") -> dict[str, Any]:
    """The volume for temporary files, of at most `size`."""
    return {"name": SCRATCH, "emptyDir": {"sizeLimit": size}}


def volume_claim(name: str, capacity: str, storage_class: str | None) -> dict[str, Any]:
    """A claim of `capacity`; without a class, the cluster's default one."""
    chosen = {} if storage_class is None else {"storageClassName": storage_class}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        # Many classes make the volume when its first pod comes: the pod is awaited.
        "metadata": {"name": name, "annotations": {"pulumi.com/skipAwait": "true"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": capacity}},
            **chosen,
        },
    }


def _probe(action: Mapping[str, Any], every: int, failures: int) -> dict[str, Any]:
    return {
        **action,
        "periodSeconds": every,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }
