"""How far two variants say the same about the same rows. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labfactory.releases.comparison.compare import Record

CLOSE = 1e-6
"""Two numbers are the same when they differ by no more than this share of them."""


@dataclass(frozen=True)
class Agreement:
    """Of the requests that two variants answered with predictions."""

    requests: int
    rows: int
    same: int
    """Rows with the same prediction."""
    difference: float | None
    """Mean absolute difference of the numbers; None where there are none."""

    @property
    def share(self) -> float | None:
        """The part of the rows that got the same prediction."""
        return self.same / self.rows if self.rows else None


def agreement(stable: Sequence[Record], other: Sequence[Record]) -> Agreement:
    """Return how `other` agrees with `stable`, joined by request id.

    An id that came twice names no one request: it is left out.
    """
    ours, theirs = by_id(stable), by_id(other)
    requests = rows = same = numbers = 0
    total = 0.0
    for id_ in ours.keys() & theirs.keys():
        left, right = ours[id_].predictions, theirs[id_].predictions
        if left is None or right is None:
            continue
        requests += 1
        rows += max(len(left), len(right))
        for one, another in zip(left, right, strict=False):
            same += is_same(one, another)
            for a, b in _numbers(one, another):
                numbers += 1
                total += abs(a - b)
    return Agreement(requests, rows, same, total / numbers if numbers else None)


def by_id(records: Sequence[Record]) -> Mapping[str, Record]:
    """Answers by request id; without those whose id is empty or not their own."""
    times = Counter(record.id for record in records)
    return {r.id: r for r in records if r.id and times[r.id] == 1}


def is_same(one: Any, another: Any, tolerance: float | None = None) -> bool:
    """Whether two predictions say the same.

    Numbers do when they are at most `tolerance` apart, and without one when they are
    equal but for rounding.
    """
    match one, another:
        case list(), list():
            return len(one) == len(another) and all(
                is_same(a, b, tolerance) for a, b in zip(one, another, strict=True)
            )
        case dict(), dict():
            return one.keys() == another.keys() and all(
                is_same(one[key], another[key], tolerance) for key in one
            )
    if tolerance is not None and _are_numbers(one, another):
        return bool(abs(one - another) <= tolerance)
    if _is_float(one, another):
        return math.isclose(one, another, rel_tol=CLOSE)
    return type(one) is type(another) and bool(one == another)


def _numbers(one: Any, another: Any) -> Iterator[tuple[float, float]]:
    """The pairs of numbers at the same place, where at least one is a float."""
    match one, another:
        case list(), list():
            for a, b in zip(one, another, strict=False):
                yield from _numbers(a, b)
        case dict(), dict():
            for key in one.keys() & another.keys():
                yield from _numbers(one[key], another[key])
        case _ if _is_float(one, another):
            yield one, another


def _is_float(one: Any, another: Any) -> bool:
    return float in (type(one), type(another)) and _are_numbers(one, another)


def _are_numbers(one: Any, another: Any) -> bool:
    return {type(one), type(another)} <= {int, float}
