"""kube-state-metrics: what Kubernetes says about the lab's objects, as series."""

from __future__ import annotations

from typing import Any

from components import objects
from components.pods import http_probe, pod, resources
from components.scrapes import STATE_PORT

NAME = "state-metrics"
SELECTOR = {"app": NAME}
USER = 65534
KINDS = {
    "": ("pods",),
    "apps": ("deployments", "statefulsets"),
    "batch": ("jobs",),
}
"""Kinds of objects that alerts are about, by API group."""
SERIES = (
    "kube_deployment_spec_replicas",
    "kube_deployment_status_replicas",
    "kube_deployment_status_replicas_available",
    "kube_job_created",
    "kube_job_failed",
    "kube_pod_container_status_restarts_total",
    "kube_pod_status_phase",
    "kube_statefulset_replicas",
    "kube_statefulset_status_replicas",
)
"""Series that alerts use."""


def service() -> dict[str, Any]:
    """The Service of kube-state-metrics."""
    return objects.service(NAME, SELECTOR, {"name": "http", "port": STATE_PORT})


def deployment(image: str, lab: str) -> dict[str, Any]:
    """The server, which sees the namespace `lab` alone."""
    kinds = sorted(kind for group in KINDS.values() for kind in group)
    container = {
        "name": NAME,
        "image": image,
        "command": ["/kube-state-metrics"],
        "args": [
            f"--port={STATE_PORT}",
            "--telemetry-port=8081",
            f"--namespaces={lab}",
            f"--resources={','.join(kinds)}",
            f"--metric-allowlist={','.join(f'^{name}$' for name in SERIES)}",
        ],
        "ports": [{"name": "http", "containerPort": STATE_PORT}],
        "startupProbe": http_probe("/metrics", 8081, every=1, failures=120),
        "readinessProbe": http_probe("/metrics", 8081, every=10),
        "livenessProbe": http_probe("/livez", STATE_PORT, every=20),
        "resources": resources(cpu="10m", memory="32Mi", most_cpu="500m", most="128Mi"),
    }
    spec = pod(
        USER,
        [container],
        serviceAccountName=NAME,
        automountServiceAccountToken=True,
    )
    return objects.deployment(NAME, SELECTOR, spec)


def access(namespace: Any) -> list[dict[str, Any]]:
    """Who it is to the cluster, and what it may read in `namespace`."""
    rules = [
        objects.may(group, [*kinds], ["list", "watch"])
        for group, kinds in KINDS.items()
    ]
    return [
        objects.service_account(NAME),
        objects.role(NAME, rules),
        objects.role_binding(NAME, namespace),
    ]
