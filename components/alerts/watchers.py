"""Alerts about those who watch: Prometheus, its targets, the guard, feedback."""

from __future__ import annotations

from collections.abc import Iterator

from components.alerts.alert import NONE, PAGE, TICKET, Alert
from components.watched import Watched
from stacks.watching import MonitoringConfig

OWN_ALERTS = "database|storage|tracking"
"""Jobs whose absence has an alert with a better name."""


def alerts(watched: Watched, config: MonitoringConfig) -> list[Alert]:
    """The alerts of the watchers that this lab has."""
    found = [*_prometheus(config.retention_days)]
    if watched.guard:
        found += GUARD
    if watched.feedback:
        found.append(FEEDBACK)
    return found


def _prometheus(retention_days: int) -> Iterator[Alert]:
    yield Alert(
        name="Watchdog",
        expr="vector(1)",
        severity=NONE,
        summary="alerts arrive",
        why="It always fires: whoever does not see it gets no alerts at all.",
        do="Nothing.",
    )
    yield Alert(
        name="TargetDown",
        expr=f'up{{job!~"{OWN_ALERTS}"}} == 0',
        # A Prometheus that was away believes for five minutes what it last saw.
        hold="7m",
        severity=TICKET,
        summary="{{ $labels.job }}: {{ $labels.instance }} gives no measurements",
        why="Alerts about it cannot fire, and the guard holds what depends on it.",
        do="`kubectl --namespace NAMESPACE get pods` shows whether it runs.",
    )
    yield Alert(
        name="PrometheusAlmostFull",
        expr="sum(increase(prometheus_tsdb_size_retentions_total[1d])) > 0",
        severity=TICKET,
        summary="measurements go before their time, for want of room",
        why=f"They were to be kept for {retention_days} days; the volume is too small.",
        do="Raise `monitoring.capacity`, or lower `monitoring.retention_days`, and run "
        "`lab up`.",
    )
    yield Alert(
        name="PrometheusRuleFailures",
        expr="sum by (rule_group)\n"
        "  (increase(prometheus_rule_evaluation_failures_total[5m])) > 0",
        hold="5m",
        severity=TICKET,
        summary="rules of {{ $labels.rule_group }} cannot be worked out",
        why="Alerts of this group do not fire.",
        do="`kubectl --namespace NAMESPACE logs prometheus-0` says why.",
    )
    yield Alert(
        name="PrometheusNotIngesting",
        expr="sum(rate(prometheus_tsdb_head_samples_appended_total[5m])) == 0\n"
        'or absent(up{job="prometheus"} == 1)',
        hold="2m",
        severity=PAGE,
        summary="Prometheus takes no measurements in",
        why="No alert but this one can be trusted, and the guard holds.",
        do="`kubectl --namespace NAMESPACE logs prometheus-0` says why.",
    )
    yield Alert(
        name="AlertsNotDelivered",
        expr="sum by (integration)\n"
        "  (increase(alertmanager_notifications_failed_total[5m])) > 0\n"
        "or sum(increase(prometheus_notifications_dropped_total[5m])) > 0",
        hold="5m",
        severity=PAGE,
        summary="alerts do not arrive {{ $labels.integration }}",
        why="A receiver refuses them or is away.",
        do="`kubectl --namespace NAMESPACE logs deployment/alertmanager` says which; "
        "see `monitoring.receivers` and the secrets `alerts-NAME`.",
    )


GUARD = [
    Alert(
        name="GuardSilent",
        expr='absent(lab_guard_round_timestamp_seconds{job="guard"})\n'
        "or time() - max(lab_guard_round_timestamp_seconds) > 60",
        hold="1m",
        severity=PAGE,
        summary="the guard does not look at the releases",
        why="Nothing is promoted, and nothing is taken back when it fails.",
        do="`kubectl --namespace NAMESPACE logs deployment/guard` says why; "
        "`lab rollback RELEASE` works without it.",
    ),
    Alert(
        name="GuardHolding",
        expr="max by (release) (lab_guard_holding) == 1",
        hold="1h",
        severity=TICKET,
        summary="{{ $labels.release }}: the guard has been holding for an hour",
        why="It has nothing to decide by: no measurements, too few requests, or its "
        "actions of this hour are used up.",
        do="`lab status` says what it waits for.",
    ),
]
FEEDBACK = Alert(
    name="FeedbackUnknown",
    expr="sum by (release) (increase(lab_feedback_unknown_total[1h]))\n"
    "  / (sum by (release) (increase(lab_feedback_unknown_total[1h]))\n"
    "  + (sum by (release) (increase(lab_feedback_labelled_total[1h]))\n"
    "    or sum by (release) (lab_feedback_unknown_total) * 0)) > 0.2\n"
    "and sum by (release) (increase(lab_feedback_unknown_total[1h])) >= 20",
    hold="10m",
    severity=TICKET,
    summary="{{ $labels.release }}: {{ $value | humanizePercentage }} of the labels "
    "have unknown ids",
    why="Quality cannot be judged by labels that belong to no answer that was kept.",
    do="Send the answer's `x-request-id` with each label, within the time that answers "
    "are kept.",
)
