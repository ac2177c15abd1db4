"""Alerts about the parts of a lab: gateway, store, database, tracking server."""

from __future__ import annotations

from collections.abc import Iterator

from components import minio, postgres
from components.alerts.alert import PAGE, TICKET, Alert
from components.watched import Watched

NOTICE = 30 * 86400
"""Seconds before its end from which a credential is spoken of."""

GATEWAY = Alert(
    name="GatewayDown",
    expr='absent(up{job="gateway"} == 1)',
    hold="1m",
    severity=PAGE,
    summary="the gateway does not answer",
    why="No model can be called, and the guard sees nothing.",
    do="`kubectl get pods --all-namespaces --selector app=envoy` shows its pods; "
    "`lab up` restores what is missing.",
)
TRACKING = Alert(
    name="TrackingDown",
    expr='absent(up{job="tracking"} == 1)',
    hold="2m",
    severity=PAGE,
    summary="the tracking server does not answer",
    why="Runs and models can be neither written nor looked up; releases go on.",
    do="`kubectl --namespace NAMESPACE logs deployment/mlflow` says why; look at the "
    "database and the store first.",
)


def alerts(watched: Watched) -> list[Alert]:
    """The alerts of the parts that this lab has."""
    found = [GATEWAY, TRACKING, *_database(watched.database_bytes)]
    if watched.store_bytes is not None:
        found += _store(watched.store_bytes)
    return [*found, _credentials(watched.credentials_end)]


def _database(capacity: float) -> Iterator[Alert]:
    yield Alert(
        name="DatabaseDown",
        expr='absent(pg_up{job="database"} == 1)',
        hold="1m",
        severity=PAGE,
        summary="the tracking server's database does not answer",
        why="Without it the tracking server answers nothing.",
        do=f"`kubectl --namespace NAMESPACE logs {postgres.NAME}-0 {postgres.NAME}` "
        "says why.",
    )
    yield Alert(
        name="DatabaseConnections",
        expr="sum(pg_stat_activity_count) / max(pg_settings_max_connections) > 0.8",
        hold="5m",
        severity=TICKET,
        summary="{{ $value | humanizePercentage }} of the database's connections are "
        "in use",
        why="When none is left, the tracking server answers with errors.",
        do="Restart the tracking server: `kubectl --namespace NAMESPACE rollout "
        "restart deployment/mlflow`.",
    )
    yield Alert(
        name="DatabaseAlmostFull",
        expr=f"sum(pg_database_size_bytes) / {capacity:.0f} > 0.8",
        hold="10m",
        severity=TICKET,
        summary="the database fills {{ $value | humanizePercentage }} of its volume",
        why="A database without room stops.",
        do="Raise `tracking.capacity` and run `lab up`, or delete runs and then "
        "`mlflow gc`.",
    )


def _store(capacity: float) -> Iterator[Alert]:
    yield Alert(
        name="StorageDown",
        expr='absent(minio_cluster_health_status{job="storage"} == 1)',
        hold="1m",
        severity=PAGE,
        summary="the object store does not answer",
        why="No model can be loaded, no artifact written; models that run go on.",
        do=f"`kubectl --namespace NAMESPACE logs {minio.NAME}-0` says why.",
    )
    free = "minio_cluster_capacity_usable_free_bytes"
    total = "minio_cluster_capacity_usable_total_bytes"
    yield Alert(
        name="StorageAlmostFull",
        expr=f"1 - sum({free}) / sum({total}) > 0.9\n"
        f"or sum(minio_cluster_usage_total_bytes) / {capacity:.0f} > 0.9",
        hold="10m",
        severity=PAGE,
        summary="the object store is {{ $value | humanizePercentage }} full",
        why="A full store refuses every upload: training and logs of predictions stop.",
        do="Raise `storage.capacity` and run `lab up`, or delete what is not needed.",
    )


def _credentials(end: int) -> Alert:
    return Alert(
        name="CertificateExpiring",
        expr=f"vector({end}) - time() < {NOTICE}",
        severity=TICKET,
        summary="the lab's certificates end in {{ $value | humanizeDuration }}",
        why="After that the gateway takes no new routes, KServe no new models, and the "
        "store is not measured.",
        do="Set `credentials_issued` to today and run `lab up`.",
    )
