"""The case against a variant for one rule: evidence, and what it is from. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any, Self

from labfactory.releases.decisions.reference import Spread, numbers
from labfactory.releases.decisions.sequential import (
    GRID,
    Sample,
    evidence,
    one_sample,
    two_sample,
)

LOOKS = 4
"""Looks that have to say the same when nothing is measured beside the variant."""
ENOUGH = 5.0
"""Evidence beyond the threshold (its logarithm) that is not kept: a fault that is over
has to end its alarm."""
SOME = 1.0
"""Evidence (its logarithm) below which there is as good as none."""
PATIENCE = 1000
"""Requests of the stable variant that wait for one of the candidate, at most."""


@dataclass
class Case:
    """The evidence for one rule being broken."""

    logs: list[float] = field(default_factory=list)
    looks: int = 0
    since: list[float] = field(default_factory=lambda: [0.0] * 4)
    """Requests and bad ones of the variant, then of the stable one, since there is
    evidence."""
    waiting: list[float] = field(default_factory=lambda: [0.0] * 4)
    """The same, of looks in which one of both had none."""
    shared: list[float] = field(default_factory=lambda: [0.0] * 4)
    """How bad ones are shared out: squares and variance as in `Spread`, bad ones of
    the variant, and how many of them were expected."""

    @property
    def evidence(self) -> float:
        """Its logarithm."""
        return evidence(self.logs)

    def beside(
        self, a: Sample, b: Sample, own: Spread, share: float, need: float
    ) -> None:
        """Compare the variant's look `a` with the stable one's `b` at the same time.

        `own` is the spread of the stable one's looks, `share` what it is expected to
        show. What troubles both widens the first spread, what troubles the variant
        alone the one of the sharing out; clusters widen both, so the smaller counts.
        """
        waiting = [x + y for x, y in zip(self.waiting, (*a, *b), strict=True)]
        if not waiting[0] and waiting[2] > PATIENCE:
            waiting = [0.0, 0.0, *b]
        self.waiting = waiting
        n_a, k_a, n_b, k_b = waiting
        if not n_a or not n_b:
            return
        factor = own.factor()
        shared = Spread(*self.shared[:2]).or_else(factor)
        factor = min(factor, max(1.0, shared))
        self.logs = two_sample(
            self.logs, (n_a, k_a), (n_b, k_b), share, look=self.looks, dispersion=factor
        )
        self._share_out(n_a, k_a, n_b, k_b)
        self.waiting = [0.0] * 4
        self._counted(waiting, need)

    def alone(
        self,
        a: Sample,
        b: Sample,
        limit: float,
        dispersion: float,
        need: float,
        *,
        sudden: bool = False,
        at_once: bool = False,
    ) -> None:
        """Compare the variant's look `a` with a limit; `b` is for the record.

        With `at_once` one look may say it all.
        """
        if not a[0]:
            return
        self.logs = one_sample(
            self.logs,
            *a,
            limit,
            look=self.looks,
            dispersion=dispersion,
            most=inf if at_once else need / (LOOKS - 1),
            sudden=sudden,
        )
        self._counted([*a, *b], need)

    def _share_out(self, n_a: float, k_a: float, n_b: float, k_b: float) -> None:
        squares, variance, seen, expected = self.shared
        n, k = n_a + n_b, k_a + k_b
        part = n_a * (seen + 1) / (expected + 1)
        part /= part + n_b
        if k and n > 1:
            squares += (k_a - k * part) ** 2
            variance += k * part * (1 - part) * (n - k) / (n - 1)
        found = squares, variance, seen + k_a, expected + k * n_a / n
        self.shared = [round(each, 4) for each in found]

    def _counted(self, look: list[float], need: float) -> None:
        self.looks += 1
        self.logs = [round(min(each, need + ENOUGH), 4) for each in self.logs]
        self.since = [x + y for x, y in zip(self.since, look, strict=True)]
        if self.evidence < SOME:
            self.since = [0.0] * 4

    def written(self) -> list[Any]:
        """The case as JSON values."""
        return [self.looks, self.logs, self.since, self.waiting, self.shared]

    @classmethod
    def read(cls, found: Any) -> Self:
        """The case in JSON values; raises ValueError or the like when it is none."""
        looks, logs, *others = found
        since, waiting, shared = (numbers(each, 4) for each in others)
        logs = numbers(logs, len(GRID)) if logs else []
        return cls(logs, int(looks), since, waiting, shared)
