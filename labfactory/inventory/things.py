"""The inventory as data: sections with columns and rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from labfactory.errors import LabError
from labfactory.releases.status_shown import age

Cell = str | int | float | bool | None
"""None is what nobody knows or what does not apply."""
Row = tuple[Cell, ...]
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@dataclass(frozen=True)
class Section:
    """Things of one kind: as many cells in each row as there are columns."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    unknown: tuple[str, ...] = ()
    """What could not be asked, and why, as sentences."""

    def objects(self) -> list[dict[str, Cell]]:
        """The rows as objects, by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Inventory:
    """Everything that a lab had at one moment."""

    lab: str
    at: datetime
    sections: tuple[Section, ...]

    def document(self) -> dict[str, Any]:
        """The inventory as JSON's types."""
        return {
            "lab": self.lab,
            "at": self.at.isoformat(timespec="seconds"),
            "sections": {each.name: each.objects() for each in self.sections},
            "unknown": {e.name: [*e.unknown] for e in self.sections if e.unknown},
        }


def section(
    name: str, columns: tuple[str, ...], ask: Callable[[], Iterable[Row]]
) -> Section:
    """The rows that `ask` finds; after LabError or OSError, why there are none."""
    try:
        return Section(name, columns, tuple(ask()))
    except (LabError, OSError) as error:
        return Section(name, columns, unknown=(str(error) or type(error).__name__,))


def told(column: str, cell: Cell, now: datetime) -> str:
    """A cell for people: sizes in their largest unit, times as how long ago."""
    if cell is None or cell == "":
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if column in ("bytes", "used") and isinstance(cell, int):
        return size(cell)
    if column in ("made", "newest", "taken", "ran") and isinstance(cell, str):
        return f"{age(cell, now.timestamp())} ago"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)


def size(count: int) -> str:
    """Bytes in the largest unit in which they are one or more: `1.5 GiB`."""
    left, unit = float(count), UNITS[0]
    for unit in UNITS:
        if left < 1024 or unit == UNITS[-1]:
            break
        left /= 1024
    return f"{left:.0f} {unit}" if unit == "B" else f"{left:.1f} {unit}"
