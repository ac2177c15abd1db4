"""Dashboards for a Grafana that is there: the lab depends on none. Pure.

Grafana's own collector picks up ConfigMaps with the label `grafana_dashboard`. The
dashboards ask for the data source, so that nothing of the lab's network is in them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from components.alerts.releases import ERRORS, REQUESTS

NAME = "dashboards"
SOURCE = {"type": "prometheus", "uid": "${source}"}
HEIGHT, WIDTH, COLUMNS = 8, 12, 2
"""Grafana's grid is 24 wide."""
CHOSEN = '{release=~"$release"}'
BY_VARIANT = "{{release}} {{variant}}"


class Panel(NamedTuple):
    """One graph."""

    title: str
    unit: str
    """In Grafana's words."""
    expression: str
    legend: str


RELEASES = (
    Panel("Requests a second", "reqps", f"{REQUESTS}{CHOSEN}", BY_VARIANT),
    Panel("Share of errors", "percentunit", f"{ERRORS}{CHOSEN}", BY_VARIANT),
    Panel(
        "95th percentile of the time to answer",
        "s",
        f"variant:request_seconds:p95_5m{CHOSEN}",
        BY_VARIANT,
    ),
    Panel(
        "Share of refused requests",
        "percentunit",
        f"variant:model_rejects:share5m{CHOSEN}",
        BY_VARIANT,
    ),
    Panel(
        "Decisions of the guard",
        "short",
        f"sum by (release, act) (increase(lab_guard_decisions_total{CHOSEN}[5m]))",
        "{{release}} {{act}}",
    ),
    Panel(
        "Share of wrong predictions, by labels",
        "percentunit",
        f"sum by (release, variant) (increase(lab_feedback_wrong_total{CHOSEN}[1d]))"
        " / sum by (release, variant) "
        f"(increase(lab_feedback_labelled_total{CHOSEN}[1d]))",
        BY_VARIANT,
    ),
)
PARTS = (
    Panel("What is measured", "short", "sum by (job) (up)", "{{job}}"),
    Panel(
        "Room left in the store",
        "percentunit",
        "minio_cluster_capacity_usable_free_bytes"
        " / minio_cluster_capacity_usable_total_bytes",
        "free",
    ),
    Panel("Size of the databases", "bytes", "pg_database_size_bytes", "{{datname}}"),
    Panel(
        "Memory of the pods",
        "bytes",
        "sum by (pod) (container_memory_working_set_bytes)",
        "{{pod}}",
    ),
)


def config_map(lab: str) -> dict[str, Any]:
    """The ConfigMap with the dashboards of a lab."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "labels": {"grafana_dashboard": "1"}},
        "data": {
            f"{lab}-{name}.json": json.dumps(dashboard(lab, name, panels), indent=1)
            for name, panels in (("releases", RELEASES), ("parts", PARTS))
        },
    }


def dashboard(lab: str, name: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """One dashboard, as Grafana's JSON model has it."""
    return {
        "uid": f"{lab}-{name}",
        "title": f"{lab}: {name}",
        "tags": ["labfactory"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source(), _release()]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    place = {"h": HEIGHT, "w": WIDTH, "x": column * WIDTH, "y": row * HEIGHT}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "expr": panel.expression,
                "legendFormat": panel.legend,
            }
        ],
    }


def _source() -> dict[str, Any]:
    return {
        "name": "source",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }


def _release() -> dict[str, Any]:
    return {
        "name": "release",
        "type": "query",
        "datasource": SOURCE,
        "query": f"label_values({REQUESTS}, release)",
        "multi": True,
        "includeAll": True,
        "refresh": 2,
    }
