"""What a restore has brought back, and what a person still has to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from labfactory.backups.begun import Begun
from labfactory.backups.history import moment, said
from labfactory.backups.shown import measured
from stacks.schema import LabConfig

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Restored:
    """What came back, and how long that took."""

    source: str
    to: str
    snapshot: str
    consistent_at: datetime | None
    """The moment whose state it is."""
    rows: int
    objects: int
    runs: int
    releases: tuple[str, ...]
    rto_seconds: float
    """From when the restore began until the lab was up again."""
    rpo_seconds: float | None
    """Age of the state when the restore began; None when a time was asked for."""


def restored(
    found: Begun, answer: Mapping[str, Any], settings: LabConfig, now: datetime
) -> Restored:
    """Put together what was asked for and what the keeper said. Pure."""
    consistent_at = moment(answer.get("consistent_at"))
    started = datetime.fromisoformat(found.begun)
    newest = found.asked is None and consistent_at is not None
    return Restored(
        source=found.source,
        to=found.to,
        snapshot=str(answer.get("snapshot") or ""),
        consistent_at=consistent_at,
        rows=int(answer.get("rows") or 0),
        objects=int(answer.get("objects") or 0),
        runs=int(answer.get("runs") or 0),
        releases=tuple(sorted(settings.releases)),
        rto_seconds=(now - started).total_seconds(),
        rpo_seconds=(
            (started - consistent_at).total_seconds()
            if newest and consistent_at
            else None
        ),
    )


def table(done: Restored, settings: LabConfig) -> Table:
    """What came back, with its times beside what was promised. Pure."""
    from rich.table import Table

    recovery = settings.agreement.recovery if settings.agreement else None
    found = Table(title=f"Lab {done.to!r} is back", show_header=False)
    found.add_row("From", f"lab {done.source!r}, snapshot {done.snapshot[:8]}")
    found.add_row("State of", said(done.consistent_at))
    found.add_row(
        "Holds",
        f"{done.rows:,} rows, {done.objects:,} objects, {done.runs:,} runs, each "
        "compared by checksum",
    )
    found.add_row("Releases", ", ".join(done.releases) or "none")
    if done.rpo_seconds is not None:
        promised = recovery.rpo_minutes if recovery else None
        found.add_row("Work lost (RPO)", measured(done.rpo_seconds, promised))
    promised = recovery.rto_minutes if recovery else None
    found.add_row("Took (RTO)", measured(done.rto_seconds, promised))
    return found


def left_to_do(done: Restored, settings: LabConfig) -> Iterator[str]:
    """What no backup can bring back, as sentences. Pure."""
    keys = sorted(
        {
            variant.external.key
            for release in settings.releases.values()
            for variant in release.variants.values()
            if variant.external and variant.external.key
        }
    )
    if keys:
        names = ", ".join(f"external-{key}" for key in keys)
        yield f"keys of external endpoints ({names}) are those of this stack: still so?"
    if settings.monitoring and settings.monitoring.receivers:
        names = ", ".join(sorted(settings.monitoring.receivers))
        yield f"alerts go to this stack's receivers ({names}): tell who listens there"
    if done.source != done.to:
        yield (
            f"its releases answer under the names of lab {done.to!r}, and take labels "
            f"with its own token: tell the callers of {done.source!r}"
        )
    if not done.releases:
        yield "the backup held no releases: `lab release MODEL VERSION` makes one"
    yield (
        f"what was written after {said(done.consistent_at)} is not in it: `lab backup "
        f"now {done.to}` keeps it as it is now, `lab drill now {done.to}` proves that"
    )
