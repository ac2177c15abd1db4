"""What Prometheus works out and when it raises an alert: rules out of settings. Pure.

The guard's own alerts are not here: it sends them itself, also without Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.alerts import cluster, parts, releases, watchers
from components.alerts.alert import Alert
from components.watched import Watched
from stacks.watching import MonitoringConfig


def rules(watched: Watched, config: MonitoringConfig) -> dict[str, Any]:
    """The rule file of a lab, as a tree."""
    return {
        "groups": [
            _group(
                "releases",
                watched,
                releases.alerts(watched.releases),
                releases.RECORDED,
            ),
            _group("parts", watched, parts.alerts(watched)),
            _group("cluster", watched, cluster.alerts(watched)),
            _group("watchers", watched, watchers.alerts(watched, config)),
        ]
    }


def _group(
    name: str,
    watched: Watched,
    alerts: list[Alert],
    recorded: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    records = [{"record": key, "expr": expr} for key, expr in (recorded or {}).items()]
    return {
        "name": name,
        "rules": [*records, *(alert.rule(watched.lab) for alert in alerts)],
    }
