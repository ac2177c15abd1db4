"""Backups and drills as tables, or as JSON."""

from __future__ import annotations

import json as writer
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from labfactory.backups import history
from labfactory.backups.history import Backup, Drill, fresh, said
from labfactory.backups.jobs import with_backups
from labfactory.progress import clock
from labfactory.stack import Stack
from stacks.promises import Recovery

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

MIB = 1024 * 1024


def show_backups(lab: str, *, json: bool = False) -> None:
    """Print the lab's backups, the newest last. Raises LabError."""
    from labfactory.backups.cluster import Cluster

    settings = with_backups(Stack(lab).settings, lab)
    with Cluster(settings.cluster.context) as cluster:
        found = history.entries(cluster, settings.name, history.BACKUPS)
    if json:
        print(writer.dumps(found, indent=2))
        return
    from rich.console import Console

    console = Console()
    backups = [Backup.read(each) for each in found]
    console.print(backups_table(lab, backups))
    for text in failures(backups):
        console.print(text, style="red", markup=False)


def show_drills(lab: str, *, json: bool = False) -> None:
    """Print the lab's drills beside what was promised, the newest last.

    Raises LabError.
    """
    from datetime import UTC, datetime

    from labfactory.backups.cluster import Cluster

    settings = with_backups(Stack(lab).settings, lab)
    assert settings.backups
    namespace = history.drill_namespace(settings.name)
    with Cluster(settings.cluster.context) as cluster:
        found = history.entries(cluster, namespace, history.DRILLS)
    if json:
        print(writer.dumps(found, indent=2))
        return
    from rich.console import Console

    drills = [Drill.read(each) for each in found]
    recovery = settings.agreement.recovery if settings.agreement else None
    console = Console()
    console.print(drills_table(lab, drills, recovery))
    for text in failures(drills):
        console.print(text, style="red", markup=False)
    every = settings.backups.drill.every_days
    if reason := fresh(drills, every, datetime.now(UTC)):
        console.print(reason, style="red", markup=False)


def backups_table(lab: str, found: Sequence[Backup]) -> Table:
    """What each backup holds and how it went. Pure."""
    from rich.table import Table

    table = Table(title=f"Backups of lab {lab!r}", title_justify="left")
    for column in ("state of", "snapshot"):
        table.add_column(column, no_wrap=True)
    for column in ("rows", "objects", "MiB", "took"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for each in found:
        table.add_row(
            said(each.consistent_at or each.started),
            each.snapshot[:8],
            *_held(each),
            _mark(each.ok),
        )
    return table


def _held(made: Backup) -> tuple[str, ...]:
    """What it holds; of one that is older than the lab nobody has kept that."""
    if made.ok and not made.started:
        return ("–",) * 4
    size = f"{made.bytes / MIB:,.1f}"
    return f"{made.rows:,}", f"{made.objects:,}", size, clock(made.seconds)


def drills_table(lab: str, found: Sequence[Drill], recovery: Recovery | None) -> Table:
    """What each drill proved, and its RPO and RTO beside what was promised. Pure."""
    from rich.table import Table

    table = Table(title=f"Drills of lab {lab!r}", title_justify="left")
    table.add_column("started", no_wrap=True)
    for column in ("rows", "objects", "runs", "models", "RPO", "RTO"):
        table.add_column(column, justify="right")
    table.add_column("")
    for each in found:
        table.add_row(
            said(each.started),
            f"{each.rows:,}",
            f"{each.objects:,}",
            f"{each.runs:,}",
            f"{each.predictions:,}",
            measured(each.rpo_seconds, recovery.rpo_minutes if recovery else None),
            measured(each.rto_seconds, recovery.rto_minutes if recovery else None),
            _mark(each.ok),
        )
    return table


def line(made: Backup) -> str:
    """One backup in a sentence. Pure."""
    return (
        f"backup {made.snapshot[:8]} holds the lab of {said(made.consistent_at)}: "
        f"{made.rows:,} rows, {made.objects:,} objects, {made.bytes / MIB:,.1f} MiB, "
        f"in {clock(made.seconds)}"
    )


def drill_line(made: Drill) -> str:
    """One drill in a sentence. Pure."""
    times = [
        f"{name} {'not measured' if seconds is None else clock(seconds)}"
        for name, seconds in (("RPO", made.rpo_seconds), ("RTO", made.rto_seconds))
    ]
    return (
        f"all of backup {made.snapshot[:8]} came back equal: {made.rows:,} rows, "
        f"{made.objects:,} objects, {made.runs:,} runs, the answers of "
        f"{made.predictions:,} models; {', '.join(times)}"
    )


def measured(seconds: float | None, promised_minutes: int | None) -> Text:
    """A measured time beside what was promised: `3 min 20 s of 15 min ✓`. Pure."""
    from rich.text import Text

    if seconds is None:
        return Text("not measured", "red")
    if promised_minutes is None:
        return Text(f"{clock(seconds)}, nothing promised")
    kept = seconds <= 60 * promised_minutes
    text = f"{clock(seconds)} of {promised_minutes} min {'✓' if kept else '✗'}"
    return Text(text, "green" if kept else "red")


def failures(found: Sequence[Backup] | Sequence[Drill]) -> Iterator[str]:
    """What went wrong with those that failed, as sentences. Pure."""
    for each in found:
        if not each.ok:
            told = each.error if isinstance(each, Backup) else "; ".join(each.problems)
            yield f"{said(each.started)}: {told or 'it does not say why'}"


def _mark(ok: bool) -> Text:
    from rich.text import Text

    return Text("✓", "green") if ok else Text("✗", "red")
