"""What was measured, beside the floor that was measured in the same run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True)
class Aim:
    """A limit on a figure's value, or on its ratio to the floor."""

    limit: float
    of: Literal["ratio", "value"] = "ratio"
    at_least: bool = False
    """Whether more is better; as with requests per second."""


@dataclass(frozen=True)
class Figure:
    """One row of the table; a value and a floor per run, all in `unit`."""

    name: str
    floor_name: str
    unit: str
    aim: Aim
    values: tuple[float, ...]
    floors: tuple[float, ...] = ()
    """None where nothing could cost less, or nothing at all is the best."""
    note: str = ""
    """What was counted beside: `0 changes`."""
    measured: str = ""
    """Day of the run, as year-month-day."""

    @property
    def value(self) -> float:
        """Median of the runs."""
        return median(self.values)

    @property
    def floor(self) -> float | None:
        """Median of the floor's runs, if there is a floor."""
        return median(self.floors) if self.floors else None

    @property
    def ratio(self) -> float | None:
        """How many times the floor; None without one."""
        return self.value / self.floor if self.floor else None

    @property
    def met(self) -> bool:
        """Whether the aim is reached."""
        found = self.ratio if self.aim.of == "ratio" else self.value
        if found is None:
            return False
        return found >= self.aim.limit if self.aim.at_least else found <= self.aim.limit

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Figure:
        """The figure that `as_json` was asked of."""
        return cls(
            **{
                **saved,
                "aim": Aim(**saved["aim"]),
                "values": tuple(saved["values"]),
                "floors": tuple(saved["floors"]),
            }
        )
