"""Prometheus queries of the rivals' documents, over what the looks of a trace count."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isnan, nan

from labfactory.releases.decisions.observed import Counts, Observed
from labfactory.releases.simulation.traces import Pair


@dataclass(frozen=True)
class Metric:
    """A query over a window, and the values that are accepted."""

    value: Callable[[Counts, Counts], float]
    """Of what the candidate and the stable variant did; nan for 0 / 0."""
    at_most: float
    window: float = 60.0
    """Seconds that the query looks back."""


@dataclass
class Window:
    """What both variants did lately."""

    pair: Pair
    longest: float
    _looks: deque[tuple[float, Observed]] = field(default_factory=deque)

    def add(self, at: float, seen: Observed) -> None:
        """Take a look into account, and forget what no query asks for."""
        self._looks.append((at, seen))
        while self._looks[0][0] <= at - self.longest:
            self._looks.popleft()

    def value(self, metric: Metric, at: float) -> float:
        """What the query returns now."""
        looks = [seen for then, seen in self._looks if then > at - metric.window]
        stable, candidate = (
            added([seen.counts[name] for seen in looks if name in seen.counts])
            for name in self.pair
        )
        return metric.value(candidate, stable)


def added(looks: Sequence[Counts]) -> Counts:
    """The sums over several looks."""
    latency = (look.latency for look in looks if look.latency)
    sums: Mapping[float, int] = {}
    for each in latency:
        if not sums:
            sums = each
        else:
            sums = dict(
                zip(each, map(int.__add__, sums.values(), each.values()), strict=True)
            )
    return Counts(
        requests=sum(look.requests for look in looks),
        errors=sum(look.errors for look in looks),
        rejects=sum(look.rejects for look in looks),
        latency=sums,
    )


def error_share(candidate: Counts, stable: Counts) -> float:
    """Flagger's `request-success-rate` and Argo's `success-rate`, taken from one."""
    return candidate.errors / candidate.requests if candidate.requests else nan


def error_ratio(candidate: Counts, stable: Counts) -> float:
    """The candidate's share of errors beside the stable variant's."""
    return _ratio(error_share(candidate, stable), error_share(stable, candidate))


def duration(candidate: Counts, stable: Counts) -> float:
    """Flagger's `request-duration`: the 99th percentile, in seconds."""
    return quantile(candidate.latency, 0.99)


def duration_ratio(candidate: Counts, stable: Counts) -> float:
    """The candidate's 95th percentile beside the stable variant's."""
    return _ratio(quantile(candidate.latency, 0.95), quantile(stable.latency, 0.95))


def quantile(latency: Mapping[float, int], share: float) -> float:
    """Prometheus' `histogram_quantile`: linear within a bucket; nan without answers."""
    rank = share * sum(latency.values())
    if not rank:
        return nan
    below, before = 0.0, 0
    for bound, count in latency.items():
        if before + count >= rank:
            part = (rank - before) / count
            return below if bound == inf else below + (bound - below) * part
        below, before = bound, before + count
    return below


def _ratio(above: float, below: float) -> float:
    """As Prometheus divides."""
    if isnan(above) or isnan(below) or (not above and not below):
        return nan
    return above / below if below else inf
