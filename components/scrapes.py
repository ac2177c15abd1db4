"""What Prometheus measures, where, and which series it keeps. Pure.

Most of what Envoy, kubelets and Prometheus itself offer is dropped: memory goes with
the number of series, and only some are used by alerts, the guard and dashboards.
"""

from __future__ import annotations

from typing import Any

from components import contour, minio, postgres, tracking
from components.watched import Watched
from stacks.watching import MonitoringConfig

SLOW = 30
"""Seconds between two measurements of what no release depends on."""
PORT = 9090
ALERTMANAGER_PORT = 9093
STATE_PORT = 8080
MODEL_PORT = 8080
TOKENS = "/var/run/secrets/kubernetes.io/serviceaccount"
STORE_TOKEN = "/etc/prometheus/store/token"
"""File with the token that opens the store's measurements."""

NODE_TARGET = "/etc/prometheus/targets/node.json"
"""File with the address of the kubelet of the node that Prometheus is on."""
MODELS = "models"
"""Headless Service of all model servers."""

_ISVC = "(.+)-([^-]+)"
"""Release and variant: no variant's name has a hyphen."""
_KEPT = {
    "gateway": "envoy_cluster_upstream_rq_(xx|total|completed|active|timeout)"
    "|envoy_cluster_upstream_rq_time_(bucket|count|sum)"
    "|envoy_cluster_membership_healthy",
    "models": "lab_model_.+_(total|bucket|count|sum|expected|timestamp_seconds)",
    "tracking": "mlflow_http_request_total"
    "|mlflow_http_request_duration_seconds_(bucket|count|sum)",
    "storage": "minio_cluster_(health_status|usage_total_bytes|drive_offline_total)"
    "|minio_cluster_capacity_usable_(free|total)_bytes"
    "|minio_s3_requests_(total|errors_total|5xx_errors_total)"
    "|minio_s3_traffic_(received|sent)_bytes",
    "database": "pg_up|pg_stat_activity_count|pg_settings_max_connections"
    "|pg_database_size_bytes|pg_stat_database_(xact_commit|xact_rollback|deadlocks)",
    "state": "kube_.+",
    "guard": "lab_guard_.+",
    "feedback": "lab_(feedback|agreement)_.+_total",
    "prometheus": "prometheus_tsdb_(storage_blocks_bytes|size_retentions_total)"
    "|prometheus_tsdb_head_(series|samples_appended_total)"
    "|prometheus_rule_evaluation_failures_total"
    "|prometheus_notifications_(dropped|errors)_total"
    "|process_resident_memory_bytes|process_cpu_seconds_total",
    "alertmanager": "alertmanager_notifications_(failed_)?total|alertmanager_alerts"
    "|process_resident_memory_bytes|process_cpu_seconds_total",
}
_NODE = {
    "/metrics": "kubelet_volume_stats_(available|capacity)_bytes",
    "/metrics/cadvisor": "machine_memory_bytes|container_fs_(usage|limit)_bytes"
    "|container_oom_events_total",
    "/metrics/resource": "node_(memory_working_set_bytes|cpu_usage_seconds_total)"
    "|container_(memory_working_set_bytes|cpu_usage_seconds_total)",
}


def jobs(config: MonitoringConfig, watched: Watched) -> list[dict[str, Any]]:
    """The scrape jobs of a lab."""
    often = f"{config.interval_seconds}s"
    found = [
        _gateway(watched, often),
        _models(watched, often),
        _service("tracking", f"{tracking.NAME}:{tracking.PORT}"),
        _service("database", f"{postgres.NAME}:{postgres.METRICS_PORT}"),
        *(_node(path, watched) for path in _NODE),
        _state(),
        _service("prometheus", f"localhost:{PORT}"),
        _service("alertmanager", f"alertmanager:{ALERTMANAGER_PORT}"),
    ]
    if watched.store_bytes is not None:
        found.append(
            _service("storage", f"{minio.NAME}:{minio.PORT}")
            | {
                "metrics_path": "/minio/v2/metrics/cluster",
                "authorization": {"credentials_file": STORE_TOKEN},
            }
        )
    for job, there in (("guard", watched.guard), ("feedback", watched.feedback)):
        if there:
            found.append(_service(job, f"{job}:8080"))
    return found


def gateway_service(lab: str) -> str:
    """Name of the headless Service of Envoy's pods; labs may share a gateway."""
    return f"labfactory-{lab}-envoy"


def _gateway(watched: Watched, interval: str) -> dict[str, Any]:
    """Envoy's figures of this lab's backends: `<namespace>_<service>_<port>`."""
    backend = "envoy_cluster_name"
    service = f"{gateway_service(watched.lab)}.{watched.gateway_namespace}.svc"
    return {
        **_pods("gateway", service, contour.METRICS_PORT, interval),
        "metrics_path": "/stats/prometheus",
        "metric_relabel_configs": [
            _keep(_KEPT["gateway"], "__name__"),
            _keep(f"{watched.lab}_.+-predictor_[0-9]+", backend),
            _set("isvc", f"{watched.lab}_(.+)-predictor_[0-9]+", backend),
            *_named("isvc"),
            {"action": "labeldrop", "regex": backend},
        ],
    }


def _models(watched: Watched, interval: str) -> dict[str, Any]:
    return {
        **_pods("models", f"{MODELS}.{watched.lab}.svc", MODEL_PORT, interval),
        "metric_relabel_configs": [
            _keep(_KEPT["models"], "__name__"),
            _set("isvc", "(.+)", "served_by"),
            *_named("isvc"),
        ],
    }


def _node(path: str, watched: Watched) -> dict[str, Any]:
    trust: dict[str, Any] = {"ca_file": f"{TOKENS}/ca.crt"}
    if not watched.signed_kubelets:
        # Most clusters let each kubelet sign its own. The other way, through the API
        # server, needs a right (nodes/proxy) that also runs commands in any pod.
        trust = {"insecure_skip_verify": True}
    return {
        **_every(f"{SLOW}s"),
        "job_name": f"node{path.removeprefix('/metrics').replace('/', '-')}",
        "scheme": "https",
        "metrics_path": path,
        "authorization": {"credentials_file": f"{TOKENS}/token"},
        "tls_config": trust,
        "file_sd_configs": [{"files": [NODE_TARGET]}],
        "relabel_configs": [
            {"target_label": "job", "replacement": "node"},
            _set("metrics_path", "(.+)", "__metrics_path__"),
        ],
        "metric_relabel_configs": [
            _keep(_NODE[path], "__name__"),
            # Of the whole node, or of this lab.
            _keep(f"|{watched.lab}", "namespace"),
            # A machine shows the kubelet more file systems than it has disks.
            _keep("|/dev/[^/]+", "device"),
        ],
    }


def _state() -> dict[str, Any]:
    return _service("state", f"state-metrics:{STATE_PORT}") | {
        "honor_labels": True,
        "metric_relabel_configs": [
            _keep(_KEPT["state"], "__name__"),
            *_named("deployment", f"{_ISVC}-predictor"),
            *_named("pod", f"{_ISVC}-predictor-.+"),
            _set("release", "batch-(.+)-[^-]+", "job_name"),
        ],
    }


def _service(job: str, target: str) -> dict[str, Any]:
    """A target with a fixed name: when it is gone, it is down, and not forgotten."""
    return {
        **_every(f"{SLOW}s"),
        "job_name": job,
        "static_configs": [{"targets": [target]}],
        "metric_relabel_configs": [_keep(_KEPT[job], "__name__")],
    }


def _every(interval: str) -> dict[str, Any]:
    """How often; a target that takes longer than until the next time has failed."""
    return {"scrape_interval": interval, "scrape_timeout": _timeout(interval)}


def _timeout(interval: str) -> str:
    return f"{min(int(interval.removesuffix('s')), 10)}s"


def _pods(job: str, service: str, port: int, interval: str) -> dict[str, Any]:
    """Every pod of a headless Service, as the cluster's DNS knows them.

    Debian's Prometheus cannot ask Kubernetes; and nobody needs a right for names.
    """
    return {
        **_every(interval),
        "job_name": job,
        "dns_sd_configs": [
            {
                "names": [service],
                "type": "A",
                "port": port,
                "refresh_interval": "5s",
            }
        ],
    }


def _named(source: str, names: str = _ISVC) -> list[dict[str, Any]]:
    """The labels `release` and `variant`, out of the name of an object."""
    return [
        _set("release", names, source),
        {**_set("variant", names, source), "replacement": "$2"},
    ]


def _keep(regex: str, source: str) -> dict[str, Any]:
    return {"action": "keep", "source_labels": [source], "regex": regex}


def _set(target: str, regex: str, source: str) -> dict[str, Any]:
    return {"source_labels": [source], "regex": regex, "target_label": target}
