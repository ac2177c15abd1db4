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
    "": ("persistentvolumeclaims", "pods"),
    "apps": ("deployments", "statefulsets"),
    "batch": ("cronjobs", "jobs"),
}
"""Kinds of objects that alerts and costs are about, by API group."""
SERIES = (
    "kube_cronjob_created",
    "kube_cronjob_status_last_successful_time",
    "kube_deployment_spec_replicas",
    "kube_deployment_status_replicas",
    "kube_deployment_status_replicas_available",
    "kube_job_created",
    "kube_job_failed",
    "kube_persistentvolumeclaim_resource_requests_storage_bytes",
    "kube_pod_container_resource_requests",
    "kube_pod_container_status_restarts_total",
    "kube_pod_status_phase",
    "kube_statefulset_replicas",
    "kube_statefulset_status_replicas",
)
"""Series that alerts and costs use."""
SHOWN = ("kube_cronjob_next_schedule_time", "kube_cronjob_spec_suspend")
"""Series for those who ask when the next backup is, or whether backups rest."""


def service() -> dict[str, Any]:
    """The Service of kube-state-metrics."""
    return objects.service(NAME, SELECTOR, {"name": "http", "port": STATE_PORT})


def deployment(image: str, *namespaces: str) -> dict[str, Any]:
    """The server, which sees these namespaces of the lab alone."""
    kinds = sorted(kind for group in KINDS.values() for kind in group)
    series = [f"^{name}$" for name in (*SERIES, *SHOWN)]
    container = {
        "name": NAME,
        "image": image,
        "command": ["/kube-state-metrics"],
        "args": [
            f"--port={STATE_PORT}",
            "--telemetry-port=8081",
            f"--namespaces={','.join(namespaces)}",
            f"--resources={','.join(kinds)}",
            f"--metric-allowlist={','.join(series)}",
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
    return [objects.service_account(NAME), *reading(namespace)]


def reading(home: Any) -> list[dict[str, Any]]:
    """What it may read in one namespace; it lives in the namespace `home`."""
    rules = [
        objects.may(group, [*kinds], ["list", "watch"])
        for group, kinds in KINDS.items()
    ]
    return [objects.role(NAME, rules), objects.role_binding(NAME, home)]
