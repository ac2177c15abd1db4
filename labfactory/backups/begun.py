"""A restore that was begun and is not finished, so that the same command finishes it.

The moment to go back to is fixed when it begins: a backup of the lab that is still
empty must never become the newest one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from labfactory import paths

KEPT = timedelta(days=1)
"""After so long the same command is taken for a new one."""


@dataclass(frozen=True)
class Begun:
    """What was asked for, and when; times are ISO 8601."""

    source: str
    to: str
    asked: str | None
    """The time that was asked for; None for the newest backup."""
    at: str
    """State of this time, or the last one before it, is restored."""
    begun: str
    over: str | None = None
    """Name of the living lab that may be replaced."""
    resumed: bool = False

    @property
    def notes(self) -> dict[str, str]:
        """Annotations by which the Job of this restore is known again."""
        return {"labfactory.io/source": self.source, "labfactory.io/at": self.at}


def begin(
    source: str, to: str, *, at: datetime | None, over: str | None, now: datetime
) -> Begun:
    """The restore that was asked for like this before, or a new one; to be kept."""
    asked = at.isoformat() if at else None
    old = _read(_path(to))
    same = old and (old.source, old.asked) == (source, asked)
    if old and same and now - datetime.fromisoformat(old.begun) < KEPT:
        return replace(old, over=over or old.over, resumed=True)
    moment = now.isoformat(timespec="seconds")
    return Begun(source, to, asked, asked or moment, moment, over)


def confirmed(found: Begun, over: str) -> Begun:
    """The same, once somebody has typed the name of the lab that it replaces."""
    return replace(found, over=over)


def keep(found: Begun) -> None:
    """Write it down on this machine."""
    path = _path(found.to)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({**asdict(found), "resumed": False}))
    new.replace(path)


def finish(found: Begun) -> None:
    """Forget it: it is done."""
    _path(found.to).unlink(missing_ok=True)


def _read(path: Path) -> Begun | None:
    try:
        return Begun(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _path(to: str) -> Path:
    return paths.data() / "restores" / f"{to}.json"
