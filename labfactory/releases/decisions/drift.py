"""How far inputs and predictions are from the training data. Pure.

Two things have to agree. The population stability index says how far (Siddiqi, Credit
Risk Scorecards, 2006: above 0.25 a population has shifted), and of many rows the
smallest difference is certain; Pearson's chi-square test, by scipy, says whether it can
be chance, and of few rows the index is large by itself. Columns are corrected for
(Bonferroni). Rows of one day are not independent, so the test alone proves little.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite, log
from typing import NamedTuple

from labfactory.releases.decisions.observed import Drift
from stacks.watching import DriftRule

CHANCE = 0.001
"""Of calling any column drifted that has not, at one time."""
FEW = 5.0
"""Bins that expect fewer rows are put together (Cochran 1954)."""


class Drifted(NamedTuple):
    """A column that is far from the training data."""

    column: str
    psi: float
    """Population stability index."""
    chance: float
    """Of seeing this without a difference."""


def drifted(drifts: Iterable[Drift], rule: DriftRule) -> list[Drifted]:
    """The columns that have drifted by a release's rule, the furthest first."""
    all_ = list(drifts)
    found = []
    for each in all_:
        if sum(each.seen) < rule.rows:
            continue
        index = psi(each.expected, each.seen)
        if index <= rule.at_most:
            continue
        chance = two_sample_p(each.expected, each.seen)
        if chance < CHANCE / len(all_):
            found.append(Drifted(each.column, index, chance))
    return sorted(found, key=lambda each: -each.psi)


def psi(expected: Sequence[float], seen: Sequence[int]) -> float:
    """Population stability index of rows by bin against the shares of the training.

    Both sides get half a row more in each bin, so that an empty one is not infinitely
    far. 0 when there are no rows, or nothing is known of the training.
    """
    shares, rows = _shares(expected), sum(seen)
    if not rows or not shares:
        return 0.0
    whole = rows + len(seen) / 2
    total = 0.0
    for share, count in zip(shares, seen, strict=True):
        here, there = (count + 0.5) / whole, (share * rows + 0.5) / whole
        total += (here - there) * log(here / there)
    return total


def two_sample_p(
    expected: Sequence[float], seen: Sequence[int], training_rows: int | None = None
) -> float:
    """Chance of rows so far from the training's shares, by the chi-square test.

    Without `training_rows` the shares are taken to be exact. 1 when there are no rows,
    or no two bins to tell apart.
    """
    shares, rows = _shares(expected), sum(seen)
    if not rows or not shares:
        return 1.0
    bins = _joined(shares, seen, rows)
    if len(bins) < 2:
        return 1.0
    from scipy.special import chdtrc

    # Of two samples both are uncertain, and what is expected follows from both.
    part = 1.0 if training_rows is None else training_rows / (training_rows + rows)
    distance = 0.0
    for wanted, count in bins:
        pooled = part * wanted + (1 - part) * count
        distance += part * (count - wanted) ** 2 / pooled
    return float(chdtrc(len(bins) - 1, distance))


def _shares(expected: Sequence[float]) -> list[float]:
    """Shares that sum to 1; empty when there is nothing to sum."""
    known = [each if isfinite(each) and each > 0 else 0.0 for each in expected]
    whole = sum(known)
    return [each / whole for each in known] if whole > 0 else []


def _joined(
    shares: Sequence[float], seen: Sequence[int], rows: int
) -> list[tuple[float, int]]:
    """Rows that are expected, and rows there are, by bin; the small ones as one."""
    large, wanted, count = [], 0.0, 0
    for share, found in zip(shares, seen, strict=True):
        if share * rows >= FEW:
            large.append((share * rows, found))
        else:
            wanted, count = wanted + share * rows, count + found
    if wanted or count:
        large.append((max(wanted, 0.5), count))
    return large
