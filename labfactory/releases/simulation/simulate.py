"""`lab simulate`: the guard's engine in a closed loop with a trace.

The decisions set the weights, and the weights what the variants do: the same engine
as in production, with the trace in place of Prometheus and of the route.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labfactory.errors import LabError
from labfactory.releases.decisions import guard
from labfactory.releases.decisions.observed import Decision, Observed, State
from labfactory.releases.simulation import simulate_sources
from labfactory.releases.simulation.simulate_sources import (
    EXAMPLE,
    of_lab,
    trace_of,
    variants,
)
from labfactory.releases.simulation.traces import START, Pair, Trace
from stacks.schema import ReleaseConfig
from stacks.watching import GuardConfig

HOUR = 3600.0
NUMBERS = re.compile(r"\d[\d.,]*")

Ended = Literal["settled", "rolled back", "trace over"]


@dataclass(frozen=True)
class Line:
    """A decision that differs from the one before."""

    after: float
    """Seconds since the beginning, by the guard's own clock."""
    decision: Decision
    live: Mapping[str, int]
    """Per cent of the requests by variant, once the decision is carried out."""


@dataclass(frozen=True)
class Log:
    """A whole simulation."""

    lines: tuple[Line, ...]
    live: Mapping[str, int]
    """Per cent of the requests by variant, at the end."""
    ended: Ended
    looks: int
    """Looks until then, the last one included."""


def simulate(
    release: str,
    settings: ReleaseConfig,
    trace: Trace,
    *,
    interval: float,
    budget: int,
    most: int | None = None,
) -> Log:
    """Let the guard decide about `release` until it has, or the trace is over.

    `settings` say where it begins, `interval` is the time between two looks in
    seconds, `budget` the number of actions an hour. It has decided when a variant is
    taken back, or has had all requests for the time that the rules watch it. At most
    `most` looks are taken.
    """
    pair = variants(release, settings)
    loop = _Loop(release, settings, pair, interval=interval, budget=budget)
    while most is None or loop.looks < most:
        seen = trace.look(loop.looks, loop.live)
        if seen is None:
            break
        if ended := loop.step(seen):
            return loop.log(ended)
    return loop.log("trace over")


class _Loop:
    """A simulation between two looks."""

    def __init__(
        self,
        release: str,
        settings: ReleaseConfig,
        pair: Pair,
        *,
        interval: float,
        budget: int,
    ) -> None:
        self.release, self.settings, self.pair = release, settings, pair
        self.interval, self.budget = interval, budget
        self.live = {name: v.traffic for name, v in settings.variants.items()}
        self.looks = 0
        self.watched = 0.0
        self.state = State()
        self.lines: list[Line] = []
        self.acted: deque[float] = deque()
        self.told: tuple[object, ...] = ()

    def step(self, seen: Observed) -> Ended | None:
        """Decide about one look, and carry the decision out."""
        self.looks += 1
        after = self.looks * self.interval
        while self.acted and self.acted[0] <= after - HOUR:
            self.acted.popleft()
        if self.live.get(self.pair.candidate) == 100:
            self.watched += min(seen.seconds, self.interval)
        decision, self.state = guard.decide(
            self.release,
            self.settings,
            self.live,
            self.state,
            seen,
            now=START + after,
            budget=self.budget - len(self.acted),
        )
        taken_back = self._carry_out(decision, after)
        self._tell(decision, after)
        if taken_back:
            return "rolled back"
        return "settled" if self._settled() else None

    def _carry_out(self, decision: Decision, after: float) -> bool:
        """Set the weights; return whether a variant was taken back."""
        if decision.act == "hold" or decision.variant is None:
            return False
        self.acted.append(after)
        live = dict.fromkeys(self.live, 0)
        if decision.act == "promote":
            traffic = decision.traffic or 0
            live[decision.variant] = traffic
            live[self.pair.stable] += 100 - traffic
        else:
            live[self.pair.stable] = 100
        self.live = live
        return decision.act == "roll_back"

    def _settled(self) -> bool:
        return (
            self.live.get(self.pair.candidate) == 100
            and self.watched >= self.settings.guard.watch_seconds
        )

    def _tell(self, decision: Decision, after: float) -> None:
        """Keep a decision; one that differs in the numbers of its reason is none."""
        reason = NUMBERS.sub("#", decision.reason)
        alarms = tuple(alarm.name for alarm in decision.alarms)
        told = (decision.act, decision.variant, decision.traffic, reason, alarms)
        if told != self.told or decision.act != "hold":
            self.lines.append(Line(after, decision, self.live))
        self.told = told

    def log(self, ended: Ended) -> Log:
        """The simulation as it is now."""
        return Log(tuple(self.lines), self.live, ended, self.looks)


def show(
    lab: str | None,
    release: str,
    *,
    trace: str,
    seed: int,
    json: bool,
    table: bool,
    record: float | None = None,
) -> None:
    """Print the decision log of a trace (`table`: the comparison with other rules).

    `trace` is the name of a made one, or a file, into which `record` first writes so
    many hours out of the lab's Prometheus. Without a `lab`, an example release is
    simulated; raises LabError when there is no such release or trace.
    """
    from labfactory.releases.simulation import simulate_shown

    if table:
        from labfactory.releases.simulation.simulate_compare import RUNS, compare

        simulate_shown.compared(compare(RUNS, seed), json=json)
        return
    settings, interval, budget = EXAMPLE, 5.0, GuardConfig().actions_per_hour
    if lab is None and record is not None:
        raise LabError("simulate: nothing to record from; name a lab with --lab")
    if lab is not None:
        if record is not None:
            simulate_sources.record(lab, release, Path(trace), hours=record)
        settings, interval, budget = of_lab(lab, release)
    found = trace_of(trace, release, settings, seed=seed, interval=interval)
    log = simulate(release, settings, found, interval=interval, budget=budget)
    simulate_shown.logged(log, json=json)
