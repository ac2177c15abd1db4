"""The rules of Flagger and of Argo Rollouts, modelled from their documents.

Flagger 1.44.0: docs/gitbook/usage/how-it-works.md ("Canary analysis"),
usage/deployment-strategies.md ("Canary Release") and usage/metrics.md. Argo Rollouts
1.9: docs/features/analysis.md, and what the API's reference says of each field.
Neither watches a version that has been promoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from labfactory.releases.decisions.observed import Observed
from labfactory.releases.simulation.rival_queries import Metric, Window
from labfactory.releases.simulation.traces import Pair, Trace

Ended = Literal["rolled back", "promoted", "over"]
SHORTEST = 10.0
"""Flagger: a shorter interval than 10 s is taken as 10 s."""
DEADLINE = 600.0
"""Flagger: `progressDeadlineSeconds` unless said, in seconds."""
RETRY = 10.0
"""Argo Rollouts: seconds until a measurement that was an error is tried again."""
ERRORS = 4
"""Argo Rollouts: `consecutiveErrorLimit` unless said."""


class Rule(Protocol):
    """One of the rivals, in the middle of a rollout."""

    weight: int
    """Per cent of the requests that the candidate gets."""
    metrics: Sequence[Metric]

    def check(self, at: float, seen: Observed, window: Window) -> Ended | None:
        """Take one look; say how the rollout has ended, if it has."""


@dataclass
class Flagger:
    """A `Canary` resource with progressive traffic.

    At each interval all metrics are checked. A failed check halts the advancement and
    is counted; the counter never goes back, and at `threshold` the canary is rolled
    back ("max number of failed metric checks before rollback", so after `interval *
    threshold` at the soonest). A query without a value ("no values found", also 0 / 0)
    or without an answer is a failed check.
    """

    metrics: Sequence[Metric]
    interval: float = 60.0
    threshold: int = 10
    max_weight: int = 50
    step_weight: int = 2
    weight: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    _next: float = field(default=0.0, init=False)

    def check(self, at: float, seen: Observed, window: Window) -> Ended | None:
        """Check when the interval is over; promote at the largest weight."""
        if not seen.trouble and not seen.ready.get(window.pair.candidate, True):
            return "rolled back" if at >= DEADLINE else None
        if at < self._next:
            return None
        self._next = at + max(self.interval, SHORTEST)
        if not self.weight:
            self.weight = self.step_weight
            return None
        if seen.trouble or not all(self._passes(m, at, window) for m in self.metrics):
            self.failed += 1
            return "rolled back" if self.failed >= self.threshold else None
        if self.weight >= self.max_weight:
            return "promoted"
        self.weight = min(self.weight + self.step_weight, self.max_weight)
        return None

    def _passes(self, metric: Metric, at: float, window: Window) -> bool:
        return window.value(metric, at) <= metric.at_most


@dataclass
class Measurements:
    """How the measurements of one metric of an AnalysisRun went."""

    failed: int = 0
    errors: int = 0
    """Errors in succession."""
    next: float = 0.0


@dataclass
class Argo:
    """A `Rollout` with steps, and an AnalysisRun in its background.

    Each metric is measured every `interval`. With a `successCondition` alone every
    other value, nan among them, is a failed measurement; more than `failure_limit` of
    them ("the maximum number of times the measurement is allowed to fail"), or more
    than 4 errors in succession, abort the rollout. An empty answer is an error of the
    condition, and so is Prometheus' silence.
    """

    metrics: Sequence[Metric]
    steps: Sequence[int] = (20, 40, 60, 80)
    pause: float = 600.0
    """Seconds for which each step lasts."""
    interval: float = 300.0
    failure_limit: int = 3
    delay: float = 0.0
    """Seconds until the first measurement (`initialDelay`)."""
    weight: int = field(default=0, init=False)
    _since: float = field(default=0.0, init=False)
    _found: list[Measurements] = field(default_factory=list, init=False)

    def check(self, at: float, seen: Observed, window: Window) -> Ended | None:
        """Measure what is due; take the next step when the pause is over."""
        if not self._found:
            self._found = [Measurements(next=at + self.delay) for _ in self.metrics]
            self.weight, self._since = self.steps[0], at
            return None
        for metric, found in zip(self.metrics, self._found, strict=True):
            if at >= found.next and self._aborts(metric, found, at, seen, window):
                return "rolled back"
        if at - self._since < self.pause:
            return None
        place = self.steps.index(self.weight) + 1
        if place == len(self.steps):
            return "promoted"
        self.weight, self._since = self.steps[place], at
        return None

    def _aborts(
        self,
        metric: Metric,
        found: Measurements,
        at: float,
        seen: Observed,
        window: Window,
    ) -> bool:
        if seen.trouble or window.pair.candidate not in seen.counts:
            found.errors += 1
            found.next = at + RETRY
            return found.errors > ERRORS
        found.errors = 0
        found.next = at + self.interval
        found.failed += not window.value(metric, at) <= metric.at_most
        return found.failed > self.failure_limit


def run(
    rule: Rule, trace: Trace, *, pair: Pair, interval: float
) -> tuple[Ended, int, int]:
    """Roll a candidate out by a rival's rule.

    Returns how it ended, the number of looks until then, and the weight that the
    candidate had last.
    """
    window = Window(pair, max(metric.window for metric in rule.metrics))
    number = 0
    while True:
        live = {pair.stable: 100 - rule.weight, pair.candidate: rule.weight}
        seen = trace.look(number, live)
        if seen is None:
            return "over", number, rule.weight
        number += 1
        window.add(number * interval, seen)
        if ended := rule.check(number * interval, seen, window):
            return ended, number, rule.weight
