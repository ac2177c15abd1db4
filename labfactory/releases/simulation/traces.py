"""Traces: what a release's variants do, look by look, while the guard decides.

A made one is a closed loop: how many requests a variant gets follows from the weights
that the decisions have set. The same seed makes the same trace, to the byte, as long
as the decisions are the same. A recorded one is replayed as it is (`trace_files`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import TYPE_CHECKING, NamedTuple, Protocol

from labfactory.releases.decisions.observed import INFINITE, Counts, Observed

if TYPE_CHECKING:
    from numpy.random import Generator

START = 1_767_225_600.0
"""Unix time at which made traces begin: 2026-01-01."""
GROWTH = 1.1
BOUNDS = (*(round(0.001 * GROWTH**k, 9) for k in range(98)), INFINITE)
"""Upper bounds of the latency buckets in seconds, a tenth apart, from 1 ms to 10 s."""
NINETY_FIVE = 1.6448536269514722
"""Quantile 0.95 of the normal distribution."""


class Trace(Protocol):
    """What the simulator asks."""

    def look(self, number: int, live: Mapping[str, int]) -> Observed | None:
        """What is seen at look `number` (from 0) under these weights (per cent).

        None after the last one; looks are asked for once each, in order.
        """


@dataclass(frozen=True)
class Recorded:
    """A trace that is what it is, whatever the decisions."""

    looks: Sequence[Observed]

    def look(self, number: int, live: Mapping[str, int]) -> Observed | None:
        """Return the recorded look."""
        return self.looks[number] if number < len(self.looks) else None


@dataclass(frozen=True)
class Service:
    """What a release does while it is well."""

    per_second: float = 200.0
    """Requests to all variants."""
    errors: float = 0.01
    """Share of requests that fail."""
    rejects: float = 0.002
    """Share of requests that the model refuses."""
    p95: float = 0.2
    """Seconds within which 95 % of the answers come."""
    spread: float = 0.5
    """Standard deviation of the latency's logarithm: latency is log-normal."""
    wrong: float | None = None
    """Share of predictions that turn out wrong; None when nobody posts labels."""
    label_after: int = 0
    """Looks after which a prediction's label comes."""


NORMAL = Service()


@dataclass
class Condition:
    """How one variant is during one look."""

    errors: float
    rejects: float
    wrong: float | None
    slower: float = 1.0
    """Factor of its latency."""
    ready: bool = True
    seen: float = 1.0
    """Part of its requests that the measurements have."""


@dataclass
class Scene:
    """The truth about one look, which a scenario changes before it is measured."""

    at: float
    """Seconds since the beginning of the trace, at the end of the look."""
    live: Mapping[str, int]
    stable: Condition
    candidate: Condition
    tried: int
    """Weight of the candidate."""
    per_second: float
    random: Generator
    full: float = 0.0
    """Seconds for which the candidate has had all requests."""
    jump: float = 0.0
    """By how much the clock of the measurements is wrong, in seconds."""
    trouble: str | None = None

    @property
    def both(self) -> tuple[Condition, Condition]:
        """Both variants' conditions."""
        return self.stable, self.candidate


Scenario = Callable[[Scene], None]


class Pair(NamedTuple):
    """The variants of a made trace."""

    stable: str
    candidate: str


PAIR = Pair("v1", "v2")


@dataclass
class Made:
    """A trace that is made while it is looked at."""

    scenario: Scenario
    seed: int
    looks: int
    interval: float = 5.0
    """Seconds between two looks."""
    pair: Pair = PAIR
    service: Service = NORMAL
    began: float | None = field(default=None, init=False)
    """Second at which the candidate began to be unlike the stable variant."""
    _random: Generator = field(init=False, repr=False)
    _full: float = field(default=0.0, init=False, repr=False)
    _unlabelled: deque[dict[str, tuple[int, float]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Begin at the first look."""
        from numpy.random import PCG64, Generator

        self._random = Generator(PCG64(self.seed))
        self._unlabelled = deque()

    def look(self, number: int, live: Mapping[str, int]) -> Observed | None:
        """Return what the variants did since the look before."""
        if number >= self.looks:
            return None
        scene = self._scene(number, live)
        self.scenario(scene)
        if self.began is None and scene.candidate != scene.stable:
            self.began = scene.at - self.interval
        time = START + scene.at + scene.jump
        if scene.trouble:
            return Observed(time=time, seconds=0, trouble=scene.trouble)
        conditions = dict(zip(self.pair, scene.both, strict=True))
        counts = {
            name: self._counts(condition, scene.per_second, live.get(name, 0))
            for name, condition in conditions.items()
            if condition.seen
        }
        if self.service.wrong is not None:
            counts = self._labelled(counts, conditions)
        ready = {name: condition.ready for name, condition in conditions.items()}
        return Observed(time=time, seconds=self.interval, counts=counts, ready=ready)

    def _scene(self, number: int, live: Mapping[str, int]) -> Scene:
        well = self.service
        tried = live.get(self.pair.candidate, 0)
        self._full = self._full + self.interval if tried == 100 else 0.0
        stable, candidate = (
            Condition(errors=well.errors, rejects=well.rejects, wrong=well.wrong)
            for _ in self.pair
        )
        return Scene(
            at=(number + 1) * self.interval,
            live=live,
            stable=stable,
            candidate=candidate,
            tried=tried,
            per_second=well.per_second,
            random=self._random,
            full=self._full,
        )

    def _counts(self, found: Condition, per_second: float, weight: int) -> Counts:
        draw = self._random
        mean = per_second * weight / 100 * self.interval * found.seen
        requests = int(draw.poisson(mean))
        errors = int(draw.binomial(requests, min(1.0, found.errors)))
        rejects = int(draw.binomial(requests - errors, found.rejects))
        latency = self._latency(requests - errors, found.slower)
        return Counts(requests, errors, rejects, latency)

    def _latency(self, answers: int, slower: float) -> dict[float, int]:
        import numpy as np

        well = self.service
        middle = log(well.p95 * slower / BOUNDS[0]) - NINETY_FIVE * well.spread
        logs = self._random.normal(middle, well.spread, answers)
        buckets = np.ceil(logs / log(GROWTH)).clip(0, len(BOUNDS) - 1).astype(int)
        counts = np.bincount(buckets, minlength=len(BOUNDS)).tolist()
        return dict(zip(BOUNDS, counts, strict=True))

    def _labelled(
        self, counts: Mapping[str, Counts], conditions: Mapping[str, Condition]
    ) -> dict[str, Counts]:
        """`counts` with the labels that come now, of predictions of earlier looks."""
        self._unlabelled.append(
            {
                name: (each.requests - each.errors, conditions[name].wrong or 0.0)
                for name, each in counts.items()
            }
        )
        if len(self._unlabelled) <= self.service.label_after:
            return dict(counts)
        due = self._unlabelled.popleft()
        found = {}
        for name, each in counts.items():
            labelled, share = due.get(name, (0, 0.0))
            found[name] = Counts(
                each.requests,
                each.errors,
                each.rejects,
                each.latency,
                labelled,
                int(self._random.binomial(labelled, share)),
            )
        return found
