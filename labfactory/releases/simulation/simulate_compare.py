"""The guard beside Flagger and Argo Rollouts: delay, false rollbacks, misses.

Every rule rolls the same candidates out, with the same seeds, on a release whose
figures are in `service`. What both variants depend on is unsteady (`UNSTEADY`). The
rivals run twice: as their documents have them (`RIVALS`), and tuned (`TUNED`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

from labfactory.releases.simulation.rival_queries import (
    Metric,
    duration,
    duration_ratio,
    error_ratio,
    error_share,
)
from labfactory.releases.simulation.rivals import Argo, Flagger, Rule, run
from labfactory.releases.simulation.scenarios import (
    noisy,
    slower,
    times_errors,
    together,
)
from labfactory.releases.simulation.simulate import simulate
from labfactory.releases.simulation.simulate_sources import EXAMPLE
from labfactory.releases.simulation.traces import PAIR, Made, Scenario, Service
from stacks.watching import GuardConfig, GuardRules

RUNS = 40
GUARD = "guard"
INTERVAL = 15.0
"""Seconds between two looks, for all rules."""
LOOKS = 400
"""Looks that a trace has; every rule ends before."""
PER_SECOND = 100.0
RULES = GuardRules(steps=(10, 25, 50, 100), watch_seconds=1200)
"""The default rules, with steps and a shorter watch afterwards."""
UNSTEADY = partial(noisy, swing=0.3, bursts=0.01, burst=5.0, sway=0.05)
HEALTHY: Callable[[], Scenario] = UNSTEADY
REGRESSIONS: tuple[Callable[[], Scenario], ...] = (
    lambda: together(UNSTEADY(), times_errors(factor=2.0)),
    lambda: together(UNSTEADY(), slower(factor=1.3)),
)
"""Twice the errors, and a p95 that is 30 % higher; both from the first request."""
DOCUMENTED = (Metric(error_share, 0.01), Metric(duration, 0.5))
RATIOS = (Metric(error_ratio, 1.6, 300.0), Metric(duration_ratio, 1.15, 300.0))
RIVALS: dict[str, Callable[[], Rule]] = {
    # docs/gitbook/tutorials/contour-progressive-delivery.md
    "Flagger": lambda: Flagger(
        DOCUMENTED, interval=30, threshold=5, max_weight=50, step_weight=5
    ),
    # docs/features/analysis.md, "Background Analysis"
    "Argo Rollouts": lambda: Argo(
        (Metric(error_share, 0.05, 300.0),), interval=300, failure_limit=3
    ),
}
"""The rivals' rules as their documents have them; a new one for each rollout."""
TUNED: dict[str, Callable[[], Rule]] = {
    "Flagger, tuned": lambda: Flagger(
        RATIOS, interval=300, threshold=3, max_weight=50, step_weight=10
    ),
    "Argo Rollouts, tuned": lambda: Argo(
        RATIOS, (10, 25, 50), interval=300, failure_limit=2, delay=300
    ),
}
"""The same with queries that compare with the stable variant (no default of either: it
takes a query of one's own), and with the fewest mistakes of a grid over limit, window,
interval, threshold and step, on these very scenarios: as good as they can be made by
somebody who knows the faults beforehand. What it costs is time."""


@dataclass(frozen=True)
class Rollout:
    """How a rollout ended."""

    taken_back: bool
    delay: float
    """Seconds from the beginning of the regression to the end."""


@dataclass(frozen=True)
class Row:
    """What one rule made of all rollouts."""

    rule: str
    healthy: int
    """Rollouts of candidates that were as good as the stable variant."""
    false: float
    """Part of those that was taken back."""
    regressions: int
    """Rollouts of candidates that were worse."""
    missed: float
    """Part of those that was not taken back."""
    delays: tuple[float, ...]
    """Seconds until the others of them were, in growing order."""

    def delay(self, share: float) -> float | None:
        """A quantile of the delays; None when no regression was noticed."""
        if not self.delays:
            return None
        return self.delays[min(len(self.delays) - 1, int(share * len(self.delays)))]

    def as_json(self) -> dict[str, Any]:
        """The row as JSON values; shares are parts of one, delays seconds."""
        return {
            "rule": self.rule,
            "healthy": self.healthy,
            "false_rollbacks": self.false,
            "regressions": self.regressions,
            "missed": self.missed,
            "delay_median": self.delay(0.5),
            "delay_p95": self.delay(0.95),
        }


def compare(
    runs: int, seed: int, *, regressions: int | None = None, workers: int | None = None
) -> list[Row]:
    """Roll out `runs` healthy candidates and `regressions` (as many, unless said).

    The rows are the same whatever the number of `workers` (processes, one for each
    core unless said).
    """
    worse = runs if regressions is None else regressions
    rules = (GUARD, *RIVALS, *TUNED)
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        many = partial(pool.map, rollout, chunksize=max(1, runs // 100))
        return [
            _row(
                rule,
                list(many(repeat(rule), repeat(None), range(seed, seed + runs))),
                list(many(repeat(rule), _kinds(worse), range(seed, seed + worse))),
            )
            for rule in rules
        ]


def _kinds(count: int) -> Iterator[int]:
    """The regressions in turns."""
    return (number % len(REGRESSIONS) for number in range(count))


def rollout(rule: str, regression: int | None, seed: int) -> Rollout:
    """Roll one candidate out by `rule`; None for a healthy one."""
    scenario = HEALTHY() if regression is None else REGRESSIONS[regression]()
    trace = Made(scenario, seed, LOOKS, INTERVAL, service=service(seed))
    if rule == GUARD:
        log = simulate(
            "compared",
            EXAMPLE.model_copy(update={"guard": RULES}),
            trace,
            interval=INTERVAL,
            budget=GuardConfig().actions_per_hour,
        )
        taken_back, looks = log.ended == "rolled back", log.looks
    else:
        rival = {**RIVALS, **TUNED}[rule]()
        ended, looks, _ = run(rival, trace, pair=PAIR, interval=INTERVAL)
        taken_back = ended == "rolled back"
    return Rollout(taken_back, looks * INTERVAL - (trace.began or 0.0))


def service(seed: int) -> Service:
    """A release: 100 requests/s, 0.4 to 0.6 % errors, p95 of 100 to 300 ms.

    Healthy ones are within the limits that the rivals' documents name.
    """
    from numpy.random import PCG64, Generator

    draw = Generator(PCG64([seed, 1]))
    return Service(
        per_second=PER_SECOND,
        errors=float(draw.uniform(0.004, 0.006)),
        p95=float(draw.uniform(0.1, 0.3)),
    )


def _row(rule: str, good: Sequence[Rollout], bad: Sequence[Rollout]) -> Row:
    noticed = sorted(each.delay for each in bad if each.taken_back)
    return Row(
        rule,
        len(good),
        sum(each.taken_back for each in good) / len(good),
        len(bad),
        1 - len(noticed) / len(bad),
        tuple(noticed),
    )
