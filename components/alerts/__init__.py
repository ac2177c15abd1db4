"""What Prometheus works out and when it raises an alert: rules out of settings. Pure.

The guard's own alerts are not here: it sends them itself, also without Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.alerts import (
    agreements,
    backups,
    cluster,
    costs,
    parts,
    releases,
    watchers,
)
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
            *_agreements(watched, config),
            *_kept(watched),
        ]
    }


def _kept(watched: Watched) -> list[dict[str, Any]]:
    """The groups about costs and backups."""
    lab = watched.promises
    if lab is None:
        return []
    recorded = costs.recorded(lab, watched.rates)
    found = [_group("costs", watched, costs.alerts(lab), recorded)]
    if lab.backups:
        recovery = lab.agreement.recovery if lab.agreement else None
        promised = recovery.rpo_minutes if recovery else None
        alerts = backups.alerts(promised, lab.backups.drill.every_days)
        found.append(_group("backups", watched, alerts))
    return found


def _agreements(watched: Watched, config: MonitoringConfig) -> list[dict[str, Any]]:
    """The group about promises, worked out less often; none where nothing is."""
    records = agreements.recorded(
        watched.releases,
        watched.under,
        watched.agreements,
        retention_days=config.retention_days,
    )
    if not records:
        return []
    found = agreements.alerts(watched.under, watched.agreements)
    return [
        {
            "name": "agreements",
            "interval": agreements.INTERVAL,
            "rules": [*records, *(alert.rule(watched.lab) for alert in found)],
        }
    ]


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
