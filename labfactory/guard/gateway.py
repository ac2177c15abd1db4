"""What the gateway has sent to each variant, and what came of it. Pure.

Envoy counts an answer in the class of its status. A request that nobody waited for to
the end has none: what was started, is not completed and is not under way any more was
never answered. The three figures of one measurement are not taken at one instant, so a
request counts as lost only when there are more of them than ever before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from labfactory.guard.counters import Counters, Labels
from labfactory.guard.prometheus import Series
from labfactory.releases.decisions.observed import INFINITE

PREFIX = "envoy_cluster_upstream_rq"
CLASSES = f"{PREFIX}_xx"
CLASS = "envoy_response_code_class"
STARTED = f"{PREFIX}_total"
COMPLETED = f"{PREFIX}_completed"
ACTIVE = f"{PREFIX}_active"
NAMES = (CLASSES, STARTED, COMPLETED, ACTIVE)

Variant = tuple[str, str]
"""A release and its variant."""


@dataclass
class Sent:
    """What became of requests."""

    requests: float = 0
    errors: float = 0
    """Those with status 5xx or without an answer."""


@dataclass
class _Open:
    """Requests of one gateway to one variant since it is watched."""

    at_first: float
    """How many were under way then."""
    begun: float = 0
    """Started less completed."""
    lost: float = 0


class Gateway:
    """Remembers what each gateway has counted."""

    def __init__(self) -> None:
        """Begin without any memory."""
        self._counters = Counters(_group)
        self._open: dict[tuple[str, ...], _Open] = {}

    @property
    def odd(self) -> int:
        """Samples so far that could not be."""
        return self._counters.odd

    def feed(self, found: Sequence[Series]) -> dict[Variant, Sent]:
        """What is new in samples of `NAMES`, of variants that were seen before."""
        sent: dict[Variant, Sent] = defaultdict(Sent)
        begun: dict[tuple[str, ...], float] = defaultdict(float)
        counted = [series for series in found if series.name != ACTIVE]
        for increment in self._counters.feed(counted):
            labels, count = increment.labels, increment.count
            each = sent[variant_of(labels)]
            if labels["__name__"] == CLASSES:
                each.requests += count
                each.errors += count if labels.get(CLASS) == "5" else 0
            else:
                sign = 1 if labels["__name__"] == STARTED else -1
                begun[_group(labels)] += sign * count
        for group, lost in self._lost(found, begun):
            each = sent[group[-2], group[-1]]
            each.requests += lost
            each.errors += lost
        return dict(sent)

    def forget(self) -> None:
        """Begin anew."""
        self._counters.forget()
        self._open.clear()

    def _lost(
        self, found: Sequence[Series], begun: Mapping[tuple[str, ...], float]
    ) -> Iterator[tuple[tuple[str, ...], float]]:
        """Requests that were not answered and are not awaited any more, by group."""
        still = {}
        for series in found:
            if series.name != ACTIVE or not series.samples:
                continue
            active = series.samples[-1][1]
            if not 0 <= active < INFINITE:
                continue
            group = _group(series.labels)
            each = still[group] = self._open.get(group, _Open(active))
            each.begun += begun.get(group, 0)
            lost = each.begun - (active - each.at_first)
            if lost > each.lost:
                yield group, lost - each.lost
                each.lost = lost
        self._open = still


def variant_of(labels: Labels) -> Variant:
    """Release and variant that a series is about."""
    return labels.get("release", ""), labels.get("variant", "")


def _group(labels: Labels) -> tuple[str, ...]:
    return labels.get("instance", ""), *variant_of(labels)
