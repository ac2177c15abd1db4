"""What counters have counted since the sample that was looked at last. Pure.

A series that is seen for the first time only says where it begins, unless others of
its group (the same source and variant) were seen before it: then it was born since
then, with the first error for example, and all it says is new.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from labfactory.guard.prometheus import Series
from labfactory.releases.decisions.observed import INFINITE

KEPT_SECONDS = 600.0
"""A series without samples for so long begins anew."""
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Increment:
    """What one series has counted since it was looked at last."""

    labels: Labels
    count: float


class Counters:
    """Remembers of each series the sample that was counted last."""

    def __init__(self, group: Callable[[Labels], Hashable]) -> None:
        """`group` tells from a series' labels what appears together with it."""
        self._group = group
        self._last: dict[Hashable, tuple[float, float]] = {}
        self._groups: dict[Hashable, float] = {}
        self.odd = 0
        """Samples so far that cannot be: no number, infinite or negative."""

    def feed(self, found: Sequence[Series]) -> list[Increment]:
        """Count new samples; return what series that are known have counted."""
        known = dict(self._groups)
        increments = []
        for series in found:
            group = self._group(series.labels)
            samples = self._sound(series, known.get(group, 0.0))
            if not samples:
                continue
            key = frozenset(series.labels.items())
            begin = self._last.get(key)
            if begin is None and group in known and known[group] < samples[0][0]:
                begin = (known[group], 0.0)
            if begin is None:
                begin = samples[-1]
            else:
                increments.append(Increment(series.labels, _count(begin, samples)))
            newest = samples[-1] if samples[-1][0] > begin[0] else begin
            self._last[key] = newest
            self._groups[group] = max(newest[0], self._groups.get(group, 0.0))
        self._forget_old()
        return increments

    def forget(self) -> None:
        """Begin anew: what comes next says where each series begins."""
        self._last.clear()
        self._groups.clear()

    def _sound(self, series: Series, since: float) -> list[tuple[float, float]]:
        sound = [each for each in series.samples if 0 <= each[1] < INFINITE]
        if len(sound) < len(series.samples):
            self.odd += sum(at > since for at, _ in {*series.samples} - {*sound})
        return sorted(sound, key=lambda sample: sample[0])

    def _forget_old(self) -> None:
        oldest = max(self._groups.values(), default=0.0) - KEPT_SECONDS
        for key in [k for k, (at, _) in self._last.items() if at < oldest]:
            del self._last[key]
        for group in [g for g, at in self._groups.items() if at < oldest]:
            del self._groups[group]


def _count(begin: tuple[float, float], samples: Sequence[tuple[float, float]]) -> float:
    """What was counted after `begin`; a counter that fell has begun at zero again."""
    later = [begin]
    for sample in samples:
        if sample[0] > later[-1][0]:
            later.append(sample)
    return sum(b[1] - a[1] if b[1] >= a[1] else b[1] for a, b in pairwise(later))
