"""Alerts about backups and drills: late, or failed."""

from __future__ import annotations

from components.alerts.alert import PAGE, TICKET, Alert
from policies.rules.promises import LATE

UNPROMISED_MINUTES = 30 * 60
"""Age at which a backup is late where nothing was promised: one a day, and some
hours."""


def alerts(rpo_minutes: int | None, drill_every_days: int) -> list[Alert]:
    """The alerts of a lab with backups, whose agreement may set an RPO."""
    late = (rpo_minutes or UNPROMISED_MINUTES) * 60
    drill_late = drill_every_days * LATE * 86_400
    return [
        Alert(
            name="BackupLate",
            expr=_late("backup", late),
            hold="1m",
            severity=PAGE,
            summary=f"no backup has been made for {late / 3600:.3g} hours",
            why="So much work may be lost with the lab, and no more.",
            do="`kubectl --namespace NAMESPACE get jobs` shows the last ones, "
            "`lab backup now NAMESPACE` makes one and says what is in its way.",
        ),
        Alert(
            name="BackupFailed",
            expr=_failed("backup"),
            severity=TICKET,
            summary="the backup {{ $labels.job_name }} failed",
            why="What was kept before is still there; nothing newer is.",
            do="`kubectl --namespace NAMESPACE logs job/{{ $labels.job_name }}` says "
            "why; `lab backup now NAMESPACE` tries again.",
        ),
        Alert(
            name="DrillLate",
            expr=_late("drill", drill_late),
            hold="10m",
            severity=TICKET,
            summary=f"no restore has been rehearsed for {drill_late / 86_400:.3g} days",
            why="Nobody knows whether the backups can be used, or how long it takes.",
            do="`lab drill now NAMESPACE` rehearses one and says what is in its way.",
        ),
        Alert(
            name="DrillFailed",
            expr=_failed("drill"),
            severity=TICKET,
            summary="the drill {{ $labels.job_name }} failed",
            why="The last backup could not be restored, or was not equal to the lab.",
            do="`lab drill list NAMESPACE` shows what was not equal; "
            "`kubectl --namespace NAMESPACE-drill logs job/{{ $labels.job_name }} "
            "keeper` what it did.",
        ),
    ]


def _late(name: str, seconds: float) -> str:
    """Seconds since a CronJob succeeded or, if it never did, since it was made.

    One that is gone never succeeds again.
    """
    made = f'max(kube_cronjob_created{{cronjob="{name}"}})'
    gone = f'max(absent(kube_cronjob_created{{cronjob="{name}"}}))'
    return f"time() - ({_succeeded(name)}\n  or {made}) > {seconds:.0f}\nor {gone}"


def _failed(name: str) -> str:
    """Jobs of a CronJob that failed, and none has succeeded since."""
    return (
        f'kube_job_failed{{condition="true",job_name=~"{name}-.+"}} == 1\n'
        "unless on (job_name)\n"
        f"  kube_job_created < on () group_left () {_succeeded(name)}"
    )


def _succeeded(name: str) -> str:
    """When a CronJob succeeded last."""
    return f'max(kube_cronjob_status_last_successful_time{{cronjob="{name}"}})'
