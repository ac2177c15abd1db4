"""What Prometheus has measured since the last look, as the engine wants it.

Raw samples are read and counters differenced here, so that gaps, resets and values
that cannot be are seen and not smoothed away. The gateway is the clock: it is time for
a look when it was measured anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Self

from labfactory.guard import pending
from labfactory.guard.counters import Counters, Labels
from labfactory.guard.drifted import Drifts
from labfactory.guard.gateway import NAMES, Gateway
from labfactory.guard.pending import Pending
from labfactory.guard.prometheus import Blind, Prometheus, Series
from labfactory.releases.decisions.observed import Drift, Observed
from model_templates.template import load
from stacks.schema import ReleaseConfig

INTERVALS = 3
"""A measurement that is more intervals old is none, and covers no more of them."""
WINDOW_SECONDS = 30
"""Samples so old are read again; Prometheus may have been away for a while."""
SLOW_WINDOW_SECONDS = 120
"""The same for what is measured every 30 seconds."""
EARLY = 0.8
"""Part of an interval after which a measurement is the next one."""
LEAVE = "lab:promotion_allowed:bool"
"""Recorded out of agreements: 0 while candidates get no more requests."""
SAYING = (pending.LABELLED, pending.WRONG, pending.COMPARED, pending.AGREED)


class Reader:
    """Remembers what was counted; to be used in a `with` block."""

    def __init__(
        self,
        url: str,
        *,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read from the Prometheus at `url`, which measures every `interval` s."""
        self._prometheus = Prometheus(url)
        self._interval = interval
        self._clock = clock
        self._gateway = Gateway()
        self._counters = Counters(_group)
        self._drifts = Drifts(clock=clock)
        self._pending = Pending()
        self._known: set[str] = set()
        self._newest: float | None = None
        self._since = clock()
        self._span = 0.0
        self._new = False
        self.trouble: str | None = "nothing was measured yet"
        """Why there are no measurements, as a sentence without a full stop."""
        self.has_begun = False
        """Whether there was a measurement to compare the newest one with."""

    def __enter__(self) -> Self:
        """Keep the connection for as long as the block lasts."""
        self._prometheus.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._prometheus.__exit__()

    @property
    def odd(self) -> int:
        """Samples so far that were passed over: no number, infinite or negative."""
        return self._gateway.odd + self._counters.odd

    def forget(self) -> None:
        """Begin anew: somebody else has counted meanwhile."""
        self._gateway.forget()
        self._counters.forget()
        self._pending.forget()
        self._known.clear()
        self._newest, self._span, self._new = None, 0.0, False
        self.has_begun = False

    def poll(self) -> bool:
        """Whether the gateway was measured anew. When it should have been, and was
        not, `trouble` says why."""
        try:
            found = self._gateway_series()
            newest = _newest(found)
        except Blind as blind:
            self.trouble = str(blind)
            return False
        last = self._newest
        if last is not None and newest < last - INTERVALS * self._interval:
            self.forget()  # the clock was put back: nothing compares with before
            last = None
        if last is not None and newest - last < EARLY * self._interval:
            age = self._clock() - self._since
            if age > INTERVALS * self._interval:
                self.trouble = f"the gateway was last measured {age:.0f} s ago"
            return False
        sent = self._gateway.feed(found)
        self._pending.sent(sent)
        self._known |= {release for release, _ in sent}
        if last is not None:
            self._span += newest - last
            self.has_begun = True
        self._newest, self._since, self._new = newest, self._clock(), True
        self.trouble = None
        return True

    def take(
        self, releases: Mapping[str, ReleaseConfig], closely: Collection[str]
    ) -> dict[str, Observed]:
        """What is new about each of `releases`; how long answers take of `closely`.

        Nothing is told twice, and what can't be told now is told by a later look.
        """
        if self._new and self.trouble is None:
            try:
                self._read_others(releases, closely)
                refused = self._refused(releases)
                drift = self._drifts.read(self._prometheus, releases)
            except Blind as blind:
                self.trouble = str(blind)
            else:
                return self._told(releases, drift, refused)
        nothing = Observed(time=self._newest or 0, seconds=0, trouble=self.trouble)
        return dict.fromkeys(releases, nothing)

    def _told(
        self,
        releases: Mapping[str, ReleaseConfig],
        drift: Mapping[str, Mapping[str, tuple[Drift, ...]]],
        refused: Collection[str],
    ) -> dict[str, Observed]:
        seconds = min(self._span, INTERVALS * self._interval)
        found = {}
        for release in releases:
            of = self._pending.of(release)
            agreement = of.agreement()
            found[release] = Observed(
                time=self._newest or 0,
                # Time in which nothing was known of a release was not observed.
                seconds=seconds if release in self._known else 0,
                counts=of.counts(),
                drift=drift.get(release, {}),
                agreement=agreement,
                may_promote=release not in refused,
            )
        self._known.clear()
        self._span, self._new = 0.0, False
        return found

    def _gateway_series(self) -> list[Series]:
        names = "|".join(NAMES)
        return self._prometheus.ask(
            f'{{job="gateway",release!="",__name__=~"{names}"}}[{self._window()}s]'
        )

    def _read_others(
        self, releases: Mapping[str, ReleaseConfig], closely: Collection[str]
    ) -> None:
        window = self._window()
        # `up` tells that a source was looked at before its first reject.
        queries = [
            f'{{job="models",__name__=~"{pending.REJECTS}|up"}}[{window}s]',
            *(f"{selector}[{window}s]" for selector in _latency(releases, closely)),
        ]
        rules = [release.guard for release in releases.values()]
        if any(each.quality or each.agreement for each in rules):
            names, slow = "|".join(SAYING), max(window, SLOW_WINDOW_SECONDS)
            queries.append(f'{{job="feedback",__name__=~"{names}|up"}}[{slow}s]')
        found = [series for each in queries for series in self._prometheus.ask(each)]
        self._pending.count(self._counters.feed(found))

    def _refused(self, releases: Mapping[str, ReleaseConfig]) -> set[str]:
        """Releases whose candidates get no more; none of those without agreement."""
        if not any(release.guard.steps for release in releases.values()):
            return set()
        found = self._prometheus.ask(f'{{__name__="{LEAVE}"}}')
        return {
            each.labels.get("release", "")
            for each in found
            if each.samples and each.samples[-1][1] == 0
        }

    def _window(self) -> int:
        return round(max(WINDOW_SECONDS, (INTERVALS + 1) * self._interval))


def _latency(
    releases: Mapping[str, ReleaseConfig], closely: Collection[str]
) -> list[str]:
    """Selectors of how long answers take; KServe's own servers leave it to Envoy."""
    by_metric: dict[tuple[str, str], list[str]] = {}
    for name in sorted(closely):
        ours = load(releases[name].template).kind == "server"
        metric = pending.SECONDS if ours else pending.GATEWAY_MS
        job = "models" if ours else "gateway"
        by_metric.setdefault((metric, job), []).append(name)
    return [
        f'{metric}{{job="{job}",release=~"{"|".join(names)}"}}'
        for (metric, job), names in by_metric.items()
    ]


def _newest(found: list[Series]) -> float:
    """Time of the newest sample; raises Blind without any."""
    times = [at for s in found for at, value in s.samples if 0 <= value < float("inf")]
    if not times:
        raise Blind("Prometheus has no measurements of the gateway")
    return max(times)


def _group(labels: Labels) -> tuple[str, ...]:
    """What appears together: a model server is of one variant, and labels are counted
    by one service for all; the gateway has a group for each variant."""
    job, instance = labels.get("job", ""), labels.get("instance", "")
    if job != "gateway":
        return job, instance
    return job, instance, labels.get("release", ""), labels.get("variant", "")
