"""What the guard sees, keeps and decides: plain values, and their form as JSON.

The watcher fills `Observed` from Prometheus, the simulator from a trace; both hand it
to `guard`, which returns a `Decision` and the next `State`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Act = Literal["promote", "hold", "roll_back"]
INFINITE = float("inf")


@dataclass(frozen=True, slots=True)
class Counts:
    """What one variant did in one interval: numbers of requests, never rates."""

    requests: int = 0
    """Requests that the gateway sent to it."""
    errors: int = 0
    """Those that ended with status 5xx or without an answer."""
    rejects: int = 0
    """Those that the model refused with status 400."""
    latency: Mapping[float, int] = field(default_factory=dict)
    """Answers by the upper bound of their bucket in seconds, not cumulative; the last
    bound is infinite. Empty when nobody measures it."""
    labelled: int = 0
    """Predictions whose label has come."""
    wrong: int = 0
    """Those of them that were wrong."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How one column of a variant differs from the training data."""

    column: str
    """An input's name, or `prediction`."""
    expected: tuple[float, ...]
    """Share of the training rows in each bin."""
    seen: tuple[int, ...]
    """Rows in each bin over the rule's hours."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often a shadow said what the variant it shadows said, in one interval."""

    compared: int = 0
    agreed: int = 0


@dataclass(frozen=True)
class Observed:
    """One look at one release."""

    time: float
    """Unix time of the newest measurement, in seconds; it may jump."""
    seconds: float
    """Time that the counts cover; 0 when there is no new measurement."""
    counts: Mapping[str, Counts] = field(default_factory=dict)
    """By variant; a variant that nothing is known of is not there."""
    ready: Mapping[str, bool] = field(default_factory=dict)
    """Whether each variant's pods can answer."""
    drift: Mapping[str, tuple[Drift, ...]] = field(default_factory=dict)
    """By variant; only where the release has a rule about it."""
    agreement: Mapping[str, Agreement] = field(default_factory=dict)
    """By shadow."""
    may_promote: bool = True
    """Whether the agreement leaves failures that candidates may cost."""
    trouble: str | None = None
    """Why there are no measurements, as a sentence without a full stop."""


@dataclass(frozen=True)
class Decision:
    """What is to be done about a release now, and why."""

    act: Act
    reason: str
    """One sentence without a full stop, with numbers: what a person has to know."""
    variant: str | None = None
    """The candidate, or the variant to take back; None when it is about none."""
    traffic: int | None = None
    """Per cent of the requests that a promotion gives it; 100 makes it stable."""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """Numbers behind the reason, by name."""
    alarms: tuple[Alarm, ...] = ()
    """What people should hear of, as long as it is in the decisions."""
    retrain: bool = False
    """Whether the stable variant has decayed, and a training should start."""


@dataclass(frozen=True)
class Alarm:
    """An alert of the guard's own."""

    name: str
    """In CamelCase, such as `ModelDecayed`."""
    summary: str
    variant: str | None = None


@dataclass(frozen=True)
class State:
    """What the guard remembers of one release between two looks.

    It survives the guard: `written` and `read` are its form as JSON. Whatever the
    engine keeps is in `trials`, by variant, as plain JSON values.
    """

    last: float = 0.0
    """Time of the newest measurement that was counted."""
    trials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    heard: float = 0.0
    """When it was counted, by the guard's own clock."""
    interval: float = 0.0
    """Seconds that it covered."""

    def written(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "last": self.last,
            "trials": dict(self.trials),
            "heard": self.heard,
            "interval": self.interval,
        }

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> State:
        """The state in JSON values."""
        return cls(
            last=float(found["last"]),
            trials=found["trials"],
            heard=float(found.get("heard", 0.0)),
            interval=float(found.get("interval", 0.0)),
        )
