"""Rehearsed restores: is everything equal, and was it in the time that was promised?"""

from __future__ import annotations

from collections.abc import Sequence

from labfactory.backups import jobs
from labfactory.backups.history import Drill
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME, Ground
from labfactory.bench.operations_lab import RPO_MINUTES, RTO_MINUTES, backed_up
from labfactory.errors import LabError


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Restore one backup again and again; a drill that fails counts as nothing equal.

    RPO and RTO are those of the drills that did not fail.
    """
    backed_up(ground)
    drills: list[Drill] = []
    failures: list[str] = []
    for _ in range(runs):
        try:
            drills.append(jobs.rehearse(NAME, progress=ground.progress))
        except LabError as error:
            failures.append(" ".join(str(error).split()))
            ground.progress.say(f"  {error}")
    return figures(drills, failures)


def figures(drills: Sequence[Drill], failures: Sequence[str]) -> list[Figure]:
    """The figures of the drills that went well, and of the reasons of the others."""
    shares = (*(100.0 * each.equal for each in drills), *(0.0 for _ in failures))
    return [
        Figure(
            "restore drill: rows, objects, runs and predictions equal, worst run",
            "",
            "%",
            Aim(100, of="value", at_least=True),
            # The median would hide a failure among many.
            (min(shares),) * len(shares),
            note="; ".join((*map(_told, drills[-1:]), *failures)),
        ),
        *_times("RPO", RPO_MINUTES, [each.rpo_seconds for each in drills]),
        *_times("RTO", RTO_MINUTES, [each.rto_seconds for each in drills]),
    ]


def _times(
    name: str, promised: float, measured: Sequence[float | None]
) -> list[Figure]:
    minutes = tuple(each / 60 for each in measured if each is not None)
    if not minutes:
        return []
    return [
        Figure(
            f"{name} of the bench's lab, as drills measure it",
            "its agreement",
            "min",
            Aim(1),
            minutes,
            (float(promised),) * len(minutes),
        )
    ]


def _told(drill: Drill) -> str:
    return (
        f"{drill.rows:,} rows, {drill.objects:,} objects, {drill.runs:,} runs, the "
        f"answers of {drill.predictions:,} models"
    )
