"""What the keeper has written down of backups and drills, and whether that will do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from labfactory.errors import LabError
from policies.rules.promises import LATE
from stacks.schema import LabConfig

if TYPE_CHECKING:
    from labfactory.backups.cluster import Cluster

KEEPER = "keeper"
"""ConfigMap with the results, in each namespace where the keeper works."""
BACKUPS = "backups.json"
DRILLS = "drills.json"


@dataclass(frozen=True)
class Backup:
    """One backup: of which moment, what it holds, how it went."""

    started: datetime | None
    snapshot: str
    consistent_at: datetime | None
    """The moment whose state it is."""
    bytes: int
    rows: int
    objects: int
    seconds: float
    ok: bool
    error: str

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Backup:
        """The backup in one entry of `backups.json`; what is absent counts as none."""
        return cls(
            started=moment(entry.get("started")),
            snapshot=str(entry.get("snapshot") or ""),
            consistent_at=moment(entry.get("consistent_at")),
            bytes=int(entry.get("bytes") or 0),
            rows=int(entry.get("rows") or 0),
            objects=int(entry.get("objects") or 0),
            seconds=float(entry.get("seconds") or 0),
            ok=bool(entry.get("ok")),
            error=str(entry.get("error") or ""),
        )


@dataclass(frozen=True)
class Drill:
    """One rehearsed restore: what it proved, and how long that took."""

    started: datetime | None
    finished: datetime | None
    snapshot: str
    consistent_at: datetime | None
    """The moment whose state was restored."""
    rpo_seconds: float | None
    rto_seconds: float | None
    rows: int
    objects: int
    runs: int
    predictions: int
    equal: bool
    ok: bool
    problems: tuple[str, ...]

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Drill:
        """The drill in one entry of `drills.json`; what is absent counts as none."""
        return cls(
            started=moment(entry.get("started")),
            finished=moment(entry.get("finished")),
            snapshot=str(entry.get("snapshot") or ""),
            consistent_at=moment(entry.get("consistent_at")),
            rpo_seconds=_seconds(entry.get("rpo_seconds")),
            rto_seconds=_seconds(entry.get("rto_seconds")),
            rows=int(entry.get("rows") or 0),
            objects=int(entry.get("objects") or 0),
            runs=int(entry.get("runs") or 0),
            predictions=int(entry.get("predictions") or 0),
            equal=bool(entry.get("equal")),
            ok=bool(entry.get("ok")),
            problems=tuple(map(str, entry.get("problems") or ())),
        )


def drill_namespace(lab: str) -> str:
    """Where a lab's drills run."""
    return f"{lab}-drill"


def entries(cluster: Cluster, namespace: str, key: str) -> list[dict[str, Any]]:
    """What the keeper has written under `key`, oldest first; nothing when absent.

    Raises LabError when the cluster does not answer, or the text is no JSON list.
    """
    data = cluster.config_map(namespace, KEEPER) or {}
    try:
        found = json.loads(data.get(key) or "[]")
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise LabError(
            f"ConfigMap {KEEPER} in {namespace}: {key} can't be read (it is no JSON "
            "list); delete that key, and the next run begins a new one"
        )
    return found


def fresh(drills: Sequence[Drill], every_days: int, now: datetime) -> str | None:
    """Why the drills do not show that a restore works; None when they do. Pure."""
    if not drills:
        return "no drill has shown yet that a restore works; `lab drill now` runs one"
    last = drills[-1]
    when = last.finished or last.started
    if not last.ok:
        why = "; ".join(last.problems) or "it does not say why"
        return f"the last drill, of {said(when)}, failed ({why}); `lab drill now` tries"
    if when is None or now - when > LATE * timedelta(days=every_days):
        return (
            f"the last drill was at {said(when)}, and there should be one every "
            f"{every_days} days; `lab drill now` runs one"
        )
    return None


def last_drill(settings: LabConfig) -> Mapping[str, Any] | None:
    """The newest entry of `drills.json`, empty when no drill has run yet.

    None when nobody can say: the lab has no backups or is not up, or its cluster does
    not answer.
    """
    from labfactory.backups.cluster import Cluster

    if settings.backups is None:
        return None
    namespace = drill_namespace(settings.name)
    try:
        with Cluster(settings.cluster.context) as cluster:
            if cluster.config_map(namespace, KEEPER) is None:
                return None
            found = entries(cluster, namespace, DRILLS)
    except LabError:
        return None
    return found[-1] if found else {}


def moment(text: Any) -> datetime | None:
    """An ISO 8601 time, in UTC unless it says otherwise; None when it is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def said(when: datetime | None) -> str:
    """A time as people read it: `2026-11-21 10:00 UTC`."""
    if when is None:
        return "an unknown time"
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _seconds(found: Any) -> float | None:
    return None if found is None else float(found)
