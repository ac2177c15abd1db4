"""What is held against one variant: all its cases, and how long they last. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, log
from typing import Any, Self

from labfactory.releases.decisions.broken_rules import Found, Look, Question, Rule
from labfactory.releases.decisions.case import Case
from labfactory.releases.decisions.observed import Counts
from labfactory.releases.decisions.reference import numbers
from stacks.watching import GuardRules


@dataclass
class Trial:
    """The cases of one variant against another, and how long they have lasted."""

    against: str = ""
    """The other variant, or empty: its own limits only."""
    watching: bool = False
    """Whether the variant has all requests."""
    step: int = 0
    """Per cent of the requests."""
    seconds: float = 0.0
    """Observed time in this step."""
    answered: float = 0.0
    """Requests that were answered in this step."""
    unready: float = 0.0
    """Observed time for which the variant was not ready, until now."""
    settled: bool = False
    cases: dict[str, Case] = field(default_factory=dict)

    def enter(self, against: str, *, watching: bool, step: int) -> None:
        """Go on, or begin anew: another step begins with no time, and another variant
        to compare with, or all requests, with no evidence."""
        if (self.against, self.watching) != (against, watching):
            self.against, self.watching = against, watching
            self.cases, self.unready, self.settled = {}, 0.0, False
        elif self.step == step:
            return
        self.step, self.seconds, self.answered = step, 0.0, 0.0

    def last(self, seconds: float, counts: Counts, ready: bool | None) -> None:
        """Add observed time; `ready` is None when nobody knows.

        Time without a request shows nothing.
        """
        if counts.requests:
            self.seconds += seconds
        self.answered += max(0, counts.requests - counts.errors)
        if ready is not None:
            self.unready = 0.0 if ready else self.unready + seconds

    def observe(
        self,
        look: Look,
        rules: GuardRules,
        on: tuple[Rule, ...],
        chance: float,
        name: str,
    ) -> list[Found]:
        """Take in a look; return the rules in `on` that are broken.

        `chance` of a false alarm is shared evenly by the rules. `name` is the stable
        variant's.
        """
        self.cases = {rule.name: self.cases.get(rule.name, Case()) for rule in on}
        found = []
        for rule in on:
            need = log(len(on) / chance)
            ask = Question(rule, look, rules)
            ask.put(self.cases[rule.name], need)
            if self.cases[rule.name].evidence >= need:
                found.append(ask.found(self.cases[rule.name], need, name))
        return found

    def suspicious(self, chance: float) -> str | None:
        """The rule with more than half of the evidence (its logarithm) it needs."""
        need = log(len(self.cases) / chance) if self.cases else inf
        for name, case in self.cases.items():
            if case.evidence > need / 2:
                return name
        return None

    def written(self) -> dict[str, Any]:
        """The trial as JSON values."""
        return {
            "against": self.against,
            "watching": self.watching,
            "step": self.step,
            "seconds": self.seconds,
            "answered": self.answered,
            "unready": self.unready,
            "settled": self.settled,
            "cases": {name: case.written() for name, case in self.cases.items()},
        }

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Self:
        """The trial in JSON values; raises ValueError or the like when it is none."""
        seconds, answered, unready, step = numbers(
            [found[key] for key in ("seconds", "answered", "unready", "step")], 4
        )
        return cls(
            against=str(found["against"]),
            watching=bool(found["watching"]),
            step=int(step),
            seconds=seconds,
            answered=answered,
            unready=unready,
            settled=bool(found["settled"]),
            cases={name: Case.read(each) for name, each in found["cases"].items()},
        )
