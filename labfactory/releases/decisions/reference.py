"""What a stable variant has shown so far: the measure of its successors. Pure.

Counts lose half their weight in an hour (labels in a day), and stay as they are while
the variant gets no requests. Nothing of a look is used to judge that look.

The dispersion is a moment estimate over looks: squared differences of the counts from
what was expected, by the variance that independent requests would have. It grows with
clusters of failures, and with whatever troubles all variants now and then. Few looks
tell little of how looks differ, so a variant that is new is taken to be unsteady.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, Literal, NamedTuple, Self

from labfactory.releases.decisions.observed import Counts
from labfactory.releases.decisions.sequential import Sample

Metric = Literal["errors", "latency", "rejects", "quality"]
METRICS: tuple[Metric, ...] = ("errors", "latency", "rejects", "quality")
HALF_LIFE = {"errors": 3600.0, "latency": 3600.0, "rejects": 3600.0, "quality": 86400.0}
"""Seconds in which what was counted loses half its weight."""
UNKNOWN = 0.01
"""Share that is expected of a variant that has shown nothing."""
PRIOR = 10.0
"""Requests that this is worth."""
CAUTION = 4.0
"""Dispersion in excess of 1 that is assumed before the first look."""
FEW_LOOKS = 10.0
"""After so many, half of that is assumed at least; after twice as many, a third."""
WEIGHT = 3.0
"""What the dispersion of others is worth: looks in which so many bad requests are
expected."""
MOST_DISPERSION = 20.0
"""More is not believed: an outage would hide everything for hours."""
CLOSE = 1 + 1e-6
"""Bounds so close are the same: they were rounded on their way."""


class Bounds(NamedTuple):
    """How long an answer may take, in seconds."""

    stable: float
    """The stable variant's quantile: few of its answers take longer."""
    candidate: float
    """No more of the candidate's may take longer than this."""


@dataclass
class Spread:
    """How much counts of looks differ, in excess of what is expected."""

    squares: float = 0.0
    variance: float = 0.0
    looks: float = 0.0

    def factor(self) -> float:
        """The dispersion."""
        few = 1.0 + CAUTION / (1.0 + self.looks / FEW_LOOKS)
        return min(MOST_DISPERSION, max(few, self.or_else(1.0)))

    def or_else(self, otherwise: float) -> float:
        """The dispersion by these looks, and before there are any `otherwise`."""
        return (self.squares + WEIGHT * otherwise) / (self.variance + WEIGHT)


@dataclass
class Reference:
    """A variant's record."""

    shares: dict[str, Sample] = field(default_factory=dict)
    """Requests and bad ones, by metric; those of latency follow from `latency`."""
    spreads: dict[str, Spread] = field(default_factory=dict)
    latency: dict[float, float] = field(default_factory=dict)
    """Answers by the upper bound of their bucket in seconds, in growing order."""

    def sample(self, metric: Metric, bounds: Bounds | None) -> Sample:
        """How many there were, and how many of them were bad."""
        if metric == "latency":
            return slower(self.latency, bounds.stable) if bounds else (0.0, 0.0)
        return self.shares.get(metric, (0.0, 0.0))

    def share(self, metric: Metric, bounds: Bounds | None) -> float:
        """Share of bad ones to expect."""
        n, k = self.sample(metric, bounds)
        return (k + PRIOR * UNKNOWN) / (n + PRIOR)

    def dispersion(self, metric: Metric) -> float:
        """How many times the variance of counts is that of independent requests."""
        return self.spreads.get(metric, Spread()).factor()

    def slowest(self, quantile: float) -> float | None:
        """The bound that so many answers keep, or None before the first answer."""
        whole, below = sum(self.latency.values()), 0.0
        for bound, count in self.latency.items():  # they are in order
            below += count
            if whole and below >= quantile * whole:
                return bound
        return None

    def add(self, counts: Counts, seconds: float, slowest: float | None) -> None:
        """Take in one look, which covers so many seconds."""
        bounds = Bounds(slowest, slowest) if slowest is not None else None
        for metric in METRICS:
            n, k = counted(metric, counts, bounds.stable if bounds else inf)
            if not n:
                continue
            left = 0.5 ** (seconds / HALF_LIFE[metric])
            self._spread(metric, (n, k), bounds, left)
            if metric == "latency":
                self._answers(counts.latency, left)
            else:
                before = self.shares.get(metric, (0.0, 0.0))
                shown = round(before[0] * left + n, 3), round(before[1] * left + k, 3)
                self.shares[metric] = shown

    def _spread(
        self, metric: Metric, look: Sample, bounds: Bounds | None, left: float
    ) -> None:
        before = self.sample(metric, bounds)[0]
        if not before:
            return
        (n, k), share = look, self.share(metric, bounds)
        spread = self.spreads.setdefault(metric, Spread())
        # The share is an estimate itself, which is part of the difference.
        variance = n * share * (1 - share) * (1 + n / (before + PRIOR))
        spread.squares = round(spread.squares * left + (k - n * share) ** 2, 4)
        spread.variance = round(spread.variance * left + variance, 4)
        spread.looks += 1

    def _answers(self, latency: Mapping[float, int], left: float) -> None:
        found = {bound: count * left for bound, count in self.latency.items()}
        for bound, count in latency.items():
            found[bound] = found.get(bound, 0.0) + max(0, count)
        rounded = {bound: round(count, 1) for bound, count in sorted(found.items())}
        taken = [bound for bound, count in rounded.items() if count] or [inf]
        # Empty buckets next to the slowest answers tell where buckets end.
        last = 2 * max([each for each in taken if each < inf], default=0.0)
        self.latency = {b: c for b, c in rounded.items() if c or taken[0] < b <= last}

    def written(self) -> dict[str, Any]:
        """The record as JSON values."""
        return {
            "shares": {name: [*each] for name, each in self.shares.items()},
            "spreads": {
                name: [each.squares, each.variance, each.looks]
                for name, each in self.spreads.items()
            },
            "latency": {str(bound): count for bound, count in self.latency.items()},
        }

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Self:
        """The record in JSON values; raises ValueError or the like when it is none."""
        shares = {name: numbers(each, 2) for name, each in found["shares"].items()}
        spreads = {name: numbers(each, 3) for name, each in found["spreads"].items()}
        latency = {float(bound): float(n) for bound, n in found["latency"].items()}
        latency = dict(sorted(latency.items()))
        numbers([*latency.values()], len(latency))
        return cls(
            shares={name: (n, k) for name, (n, k) in shares.items()},
            spreads={name: Spread(*each) for name, each in spreads.items()},
            latency=latency,
        )


def counted(metric: Metric, counts: Counts, bound: float) -> Sample:
    """How many there were in a look, and how many were bad: slower than `bound`."""
    n: float
    k: float
    match metric:
        case "errors":
            n, k = counts.requests, counts.errors
        case "rejects":
            n, k = counts.requests, counts.rejects
        case "quality":
            n, k = counts.labelled, counts.wrong
        case "latency":
            n, k = slower(counts.latency, bound)
    n = max(0, n)
    return n, min(n, max(0, k))


def slower(latency: Mapping[float, float], bound: float) -> Sample:
    """How many answers there were, and how many took longer than `bound` seconds."""
    slow = sum(count for each, count in latency.items() if each > bound * CLOSE)
    return sum(latency.values()), slow


def edge(bounds: Iterable[float], least: float) -> float:
    """The smallest bound of a bucket that is at least so large."""
    return min((each for each in bounds if each * CLOSE >= least), default=inf)


def numbers(found: Any, count: int) -> list[float]:
    """So many finite numbers; raises ValueError or TypeError when they are not."""
    values = [float(each) for each in found]
    if len(values) != count or not all(isfinite(each) for each in values):
        raise ValueError("is not so many numbers")
    return values
