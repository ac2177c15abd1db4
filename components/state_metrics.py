"""kube-state-metrics: what Kubernetes says about the lab's objects, as series."""

from __future__ import annotations

from typing import Any

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
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "annotations": {"pulumi.com/skipAwait": "true"}},
        "spec": {"selector": SELECTOR, "ports": [{"name": "http", "port": STATE_PORT}]},
    }


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
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": SELECTOR},
            "template": {
                "metadata": {"labels": SELECTOR},
                "spec": pod(
                    USER,
                    [container],
                    serviceAccountName=NAME,
                    automountServiceAccountToken=True,
                ),
            },
        },
    }


def access(namespace: Any) -> list[dict[str, Any]]:
    """Who it is to the cluster, and what it may read in `namespace`."""
    group = "rbac.authorization.k8s.io"
    common = {"apiVersion": f"{group}/v1", "metadata": {"name": NAME}}
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": NAME},
            "automountServiceAccountToken": False,
        },
        {
            **common,
            "kind": "Role",
            "rules": [
                {"apiGroups": [each], "resources": [*kinds], "verbs": ["list", "watch"]}
                for each, kinds in KINDS.items()
            ],
        },
        {
            **common,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": group, "kind": "Role", "name": NAME},
            "subjects": [
                {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
            ],
        },
    ]
