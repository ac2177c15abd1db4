"""Prometheus: one server, one volume, bounded in time, disk and memory."""

from __future__ import annotations

from typing import Any

import yaml

from components import alerts, objects, scrapes
from components.pods import (
    env,
    field,
    http_probe,
    pod,
    resources,
    restricted,
    volume_claim,
)
from components.watched import Watched
from stacks import rules
from stacks.watching import MonitoringConfig

NAME = "prometheus"
PORT = scrapes.PORT
SELECTOR = {"app": NAME}
USER = 65534
DATA = "/prometheus"
CONFIG = "/etc/prometheus/config"
STORE_SECRET = "prometheus-store"
TARGETS = scrapes.NODE_TARGET.rpartition("/")[0]
WRITE_TARGET = (
    """printf '[{"targets":["%s:10250"],"labels":{"instance":"%s"}}]' """
    """"$ADDRESS" "$NODE" > "$FILE\""""
)
FILL = 0.8
"""Part of the volume that measurements may take: a block is written before old ones
go."""


def config_map(config: MonitoringConfig, watched: Watched) -> dict[str, Any]:
    """The ConfigMap with Prometheus' settings and rules; it holds no secret."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME},
        "data": {
            "prometheus.yaml": _yaml(settings(config, watched)),
            "rules.yaml": _yaml(alerts.rules(watched, config)),
        },
    }


def settings(config: MonitoringConfig, watched: Watched) -> dict[str, Any]:
    """Prometheus' own settings file, as a tree."""
    return {
        "global": {
            "scrape_interval": f"{scrapes.SLOW}s",
            "evaluation_interval": "15s",
        },
        "rule_files": [f"{CONFIG}/rules.yaml"],
        "alerting": {
            "alertmanagers": [
                {
                    "static_configs": [
                        {"targets": [f"alertmanager:{scrapes.ALERTMANAGER_PORT}"]}
                    ]
                }
            ]
        },
        "scrape_configs": scrapes.jobs(config, watched),
    }


def store_secret(token: Any) -> dict[str, Any]:
    """The Secret that opens the store's measurements, and nothing else."""
    return objects.secret(STORE_SECRET, {"token": token})


def volume(capacity: str, storage_class: str | None) -> dict[str, Any]:
    """The claim of the volume with the measurements."""
    return volume_claim(f"{NAME}-data", capacity, storage_class)


def service() -> dict[str, Any]:
    """The Service of Prometheus."""
    return objects.service(NAME, SELECTOR, {"name": "http", "port": PORT})


def server(
    image: str,
    config: MonitoringConfig,
    *,
    claim: Any,
    external_url: Any,
    store: bool,
    fingerprint: Any,
) -> dict[str, Any]:
    """The server; `fingerprint` changes with what it reads at its start."""
    most = int(rules.amount(config.capacity) * FILL) // 2**20
    container = {
        "name": NAME,
        "image": image,
        "command": ["/bin/prometheus"],
        "args": [
            f"--config.file={CONFIG}/prometheus.yaml",
            f"--web.listen-address=0.0.0.0:{PORT}",
            external_url,
            f"--storage.tsdb.path={DATA}",
            f"--storage.tsdb.retention.time={config.retention_days}d",
            f"--storage.tsdb.retention.size={most}MB",
        ],
        # Collect garbage early: a lab's few series need little, the kernel ends it
        # when it takes more.
        "env": env(GOMEMLIMIT="420MiB", GOGC="60"),
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": http_probe("/-/ready", PORT, every=1, failures=300),
        "readinessProbe": http_probe("/-/ready", PORT, every=5),
        "livenessProbe": http_probe("/-/healthy", PORT, every=20),
        "resources": resources(cpu="50m", memory="100Mi", most_cpu="1", most="512Mi"),
        "volumeMounts": [
            {"name": "data", "mountPath": DATA},
            {"name": "config", "mountPath": CONFIG, "readOnly": True},
            {"name": "targets", "mountPath": TARGETS, "readOnly": True},
        ],
    }
    volumes: list[dict[str, Any]] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
        {"name": "config", "configMap": {"name": NAME}},
        {"name": "targets", "emptyDir": {"sizeLimit": "1Mi"}},
    ]
    if store:
        folder = scrapes.STORE_TOKEN.rpartition("/")[0]
        container["volumeMounts"].append(  # type: ignore[attr-defined]
            {"name": "store", "mountPath": folder, "readOnly": True}
        )
        volumes.append({"name": "store", "secret": {"secretName": STORE_SECRET}})
    spec = pod(
        USER,
        [container],
        initContainers=[_targets(image)],
        serviceAccountName=NAME,
        automountServiceAccountToken=True,
        volumes=volumes,
    )
    return objects.stateful_set(
        NAME,
        SELECTOR,
        spec,
        annotations={"labfactory.io/settings": fingerprint},
    )


def access(name: str, namespace: Any) -> list[dict[str, Any]]:
    """What it may do: read kubelets' figures, nothing else.

    `namespace` is the lab's, where the ServiceAccount is.
    """
    common = {"apiVersion": f"{objects.RBAC}/v1", "metadata": {"name": name}}
    role = {"apiGroup": objects.RBAC, "kind": "ClusterRole", "name": name}
    return [
        {
            **common,
            "kind": "ClusterRole",
            "rules": [objects.may("", ["nodes/metrics"], ["get"])],
        },
        {
            **common,
            "kind": "ClusterRoleBinding",
            "roleRef": role,
            "subjects": [objects.subject(NAME, namespace)],
        },
    ]


def pods_service(name: str, selector: dict[str, str], port: int) -> dict[str, Any]:
    """A headless Service, by which Prometheus finds pods, ready or not."""
    return objects.service(
        name,
        selector,
        {"name": "metrics", "port": port},
        clusterIP="None",
        publishNotReadyAddresses=True,
    )


def _targets(image: str) -> dict[str, Any]:
    """The container that writes down which node this is, for Prometheus to read."""
    return restricted(
        {
            "name": "targets",
            "image": image,
            "command": ["/bin/sh", "-c", WRITE_TARGET],
            "env": env(
                ADDRESS=field("status.hostIP"),
                NODE=field("spec.nodeName"),
                FILE=scrapes.NODE_TARGET,
            ),
            "resources": resources(
                cpu="10m", memory="16Mi", most_cpu="500m", most="64Mi"
            ),
            "volumeMounts": [{"name": "targets", "mountPath": TARGETS}],
        }
    )


def _yaml(tree: dict[str, Any]) -> str:
    return yaml.safe_dump(tree, sort_keys=False, width=1000)
