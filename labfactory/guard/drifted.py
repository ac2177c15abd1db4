"""How far inputs and predictions are from the training data, by Prometheus.

Counts over hours come from `increase`, which bridges restarts of pods; that it guesses
at both ends of the hours matters little, because only shares are compared.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from labfactory.guard.prometheus import Prometheus, Series
from labfactory.releases.decisions.observed import Drift
from stacks.schema import ReleaseConfig

EVERY_SECONDS = 300.0
BINS = "lab_model_bin_total"
EXPECTED = "lab_model_bin_expected"
BY = "release, variant, column, bin"

Shares = dict[tuple[str, str], dict[str, dict[str, float]]]
"""A number by release and variant, column and bin."""


class Drifts:
    """Asks every five minutes, and remembers the answer in between."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without an answer."""
        self._clock = clock
        self._asked = -math.inf
        self._of: frozenset[str] = frozenset()
        self._found: dict[str, dict[str, tuple[Drift, ...]]] = {}

    def read(
        self, prometheus: Prometheus, releases: Mapping[str, ReleaseConfig]
    ) -> Mapping[str, Mapping[str, tuple[Drift, ...]]]:
        """The drift of each release that has a rule about it, by variant.

        Raises Blind when it is time to ask and there is no answer.
        """
        wanted = {
            name: release.guard.drift.hours
            for name, release in releases.items()
            if release.guard.drift
        }
        now = self._clock()
        if wanted.keys() != self._of or now - self._asked >= EVERY_SECONDS:
            self._found = _ask(prometheus, wanted)
            self._of, self._asked = frozenset(wanted), now
        return self._found


def _ask(
    prometheus: Prometheus, hours: Mapping[str, int]
) -> dict[str, dict[str, tuple[Drift, ...]]]:
    found: dict[str, dict[str, tuple[Drift, ...]]] = defaultdict(dict)
    for span in sorted(set(hours.values())):
        of = _any(name for name, each in hours.items() if each == span)
        seen = prometheus.ask(f"sum by ({BY}) (increase({BINS}{of}[{span}h]))")
        expected = prometheus.ask(f"max by ({BY}) ({EXPECTED}{of})")
        shares, rows = _by_variant(expected), _by_variant(seen)
        for (release, variant), columns in shares.items():
            here = rows.get((release, variant), {})
            found[release][variant] = tuple(
                _drift(column, bins, here.get(column, {}))
                for column, bins in sorted(columns.items())
            )
    return dict(found)


def _drift(
    column: str, expected: Mapping[str, float], rows: Mapping[str, float]
) -> Drift:
    bins = sorted(expected.keys() | rows.keys())
    return Drift(
        column=column,
        expected=tuple(expected.get(name, 0.0) for name in bins),
        seen=tuple(round(rows.get(name, 0.0)) for name in bins),
    )


def _any(releases: Iterable[str]) -> str:
    return f'{{job="models",release=~"{"|".join(sorted(releases))}"}}'


def _by_variant(found: list[Series]) -> Shares:
    shares: Shares = defaultdict(lambda: defaultdict(dict))
    for series in found:
        variant = series.labels.get("release", ""), series.labels.get("variant", "")
        for _, value in series.samples:
            if 0 <= value < math.inf:
                column = shares[variant][series.labels.get("column", "")]
                column[series.labels.get("bin", "")] = value
    return shares
