"""What the guard remembers of one release, and its form as JSON.

It is kept in a ConfigMap beside the release's route, so that the next guard goes on
where this one stopped; `lab status` and `lab sync` read it too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self, TypeVar

from labfactory.releases.decisions.observed import Act, Alarm, Decision, State

GUARD = "labfactory.io/guard"
"""Label of a memory's ConfigMap: the release."""
DECISIONS = 20
"""How many of its last decisions the guard remembers."""
ACTED = 60
"""How many of its actions; more than it may take in an hour."""
_Known = TypeVar("_Known")


def config_map_name(release: str) -> str:
    """Name of the ConfigMap with the memory of `release`."""
    return f"guard-{release}"


@dataclass(frozen=True)
class Decided:
    """One decision, as it is remembered."""

    at: str
    """Time, as ISO 8601 in UTC."""
    act: Act
    reason: str
    variant: str | None = None
    traffic: int | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def now(cls, decision: Decision, at: str) -> Self:
        """A decision that was made at `at`."""
        return cls(
            at=at,
            act=decision.act,
            reason=decision.reason,
            variant=decision.variant,
            traffic=decision.traffic,
            evidence=dict(decision.evidence),
        )

    def is_like(self, other: Decided) -> bool:
        """Whether it says to do the same; numbers in the reason may differ."""
        ours = (self.act, self.variant, self.traffic, _words(self.reason))
        return ours == (other.act, other.variant, other.traffic, _words(other.reason))


@dataclass(frozen=True)
class Retrained:
    """The last training that the guard has started for a release."""

    job: str
    at: str
    """When it was started, as ISO 8601 in UTC."""
    before: int = 0
    """Newest version in the registry when it was started; 0 when there was none."""
    version: int | None = None
    """The version that it has registered."""
    failed: bool = False
    taken_at: str | None = None
    """When the version was put into the settings."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return self.failed or self.version is not None


@dataclass(frozen=True)
class Remembered:
    """All that is remembered of one release."""

    state: State = field(default_factory=State)
    decisions: tuple[Decided, ...] = ()
    """The last ones, newest last."""
    alarms: tuple[Alarm, ...] = ()
    """Those that hold."""
    phase: str = ""
    retrained: Retrained | None = None
    acted: tuple[str, ...] = ()
    """Times of promotions and rollbacks, as ISO 8601 in UTC, oldest first."""

    def written(self) -> str:
        """The memory as JSON text."""
        found = {
            "state": self.state.written(),
            "decisions": [asdict(each) for each in self.decisions],
            "alarms": [asdict(each) for each in self.alarms],
            "phase": self.phase,
            "retrained": asdict(self.retrained) if self.retrained else None,
            "acted": list(self.acted),
        }
        return json.dumps(found, sort_keys=True)

    @classmethod
    def read(cls, text: str) -> Self:
        """The memory in JSON text, whose unknown parts are left out.

        Raises KeyError, TypeError or ValueError when it is none.
        """
        found = json.loads(text)
        retrained = found.get("retrained") if isinstance(found, dict) else None
        return cls(
            state=State.read(_mapping(found["state"])),
            decisions=tuple(
                _known(Decided, each) for each in _list(found, "decisions")
            ),
            alarms=tuple(_known(Alarm, each) for each in _list(found, "alarms")),
            phase=str(found.get("phase", "")),
            retrained=_known(Retrained, retrained) if retrained else None,
            acted=tuple(str(each) for each in _list(found, "acted")),
        )

    def having(
        self, decision: Decision, state: State, *, phase: str, at: str
    ) -> Remembered:
        """The memory after a decision; one like the last takes its place."""
        new, earlier = Decided.now(decision, at), self.decisions
        if earlier and new.is_like(earlier[-1]):
            new, earlier = replace(new, at=earlier[-1].at), earlier[:-1]
        return replace(
            self,
            state=state,
            decisions=(*earlier, new)[-DECISIONS:],
            alarms=decision.alarms,
            phase=phase,
        )

    def acting(self, at: str) -> Remembered:
        """The memory after an action at `at`."""
        return replace(self, acted=(*self.acted, at)[-ACTED:])

    def differs(self, other: Remembered) -> bool:
        """Whether a person who reads it would be told something else."""

        def told(memory: Remembered) -> object:
            last = memory.decisions[-1] if memory.decisions else None
            return (
                last and (last.at, last.act, last.variant, last.traffic),
                {(alarm.name, alarm.variant) for alarm in memory.alarms},
                memory.phase,
                memory.retrained,
                memory.acted,
            )

        return told(self) != told(other)


def _known(kind: type[_Known], found: object) -> _Known:
    """A value of `kind` from a mapping that may say more than it knows."""
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    values = {name: value for name, value in _mapping(found).items() if name in names}
    return kind(**values)


def _mapping(found: object) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise TypeError("is no object")
    return found


def _list(found: Mapping[str, Any], key: str) -> Sequence[Any]:
    values = found.get(key) or []
    if not isinstance(values, list):
        raise TypeError(f"{key} is no list")
    return values


def _words(reason: str) -> str:
    """A reason without its numbers."""
    return re.sub(r"[\d.,]+(e[+-]\d+)?", "", reason)
