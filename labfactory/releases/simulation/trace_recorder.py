"""Traces out of Prometheus: what the guard would have seen of a release in the past.

Counters are differenced by the guard's own reader, so resets and gaps become what they
become in production. Whether pods were ready, and drift, are not in a recorded trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from labfactory.errors import LabError
from labfactory.guard import pending
from labfactory.guard.counters import Counters, Labels
from labfactory.guard.gateway import NAMES, Gateway
from labfactory.guard.pending import Pending
from labfactory.guard.prometheus import Blind, Prometheus, Series
from labfactory.releases.decisions.observed import Observed

PATIENCE = 60.0
"""Seconds that an answer about hours may take."""
LONGEST = 3
"""Intervals that a look covers at most, as in production."""
MODELS = (
    pending.REJECTS,
    pending.SECONDS,
    pending.LABELLED,
    pending.WRONG,
    pending.COMPARED,
    pending.AGREED,
)


def record(
    url: str, release: str, *, start: float, end: float, interval: float
) -> list[Observed]:
    """Ask the Prometheus at `url` for a release's looks between two Unix times.

    Raises LabError when it does not answer, or has nothing of the release then.
    """

    def raw(job: str, names: Sequence[str]) -> list[Series]:
        return prometheus.ask(
            f'{{job=~"{job}",release="{release}",__name__=~"{"|".join(names)}"}}'
            f"[{round(end - start)}s] @ {end:.3f}"
        )

    try:
        with Prometheus(url, seconds=PATIENCE) as prometheus:
            gateway = raw("gateway", NAMES)
            others = raw("models|feedback", MODELS)
            if all(series.name != pending.SECONDS for series in others):
                # KServe's own servers leave it to Envoy.
                others += raw("gateway", (pending.GATEWAY_MS,))
    except Blind as blind:
        raise LabError(
            f"{url}: {blind}; `lab status` says what is wrong with the lab"
        ) from None
    if not gateway:
        raise LabError(
            f"{url}: has no measurement of release {release!r} between {start:.0f} "
            f"and {end:.0f} (Unix times); name a time when it was served"
        )
    return looks(release, gateway, others, start=start, end=end, interval=interval)


def looks(
    release: str,
    gateway: Sequence[Series],
    others: Sequence[Series],
    *,
    start: float,
    end: float,
    interval: float,
) -> list[Observed]:
    """Cut raw samples of counters into looks of `interval` seconds.

    `gateway` has the series of `labfactory.guard.gateway.NAMES`, `others` those of
    models and labels. An interval in which the gateway was not measured is a gap.
    """
    found = []
    cut = _Cut(release, LONGEST * interval)
    for number in range(1, int((end - start) / interval) + 1):
        since, until = start + (number - 1) * interval, start + number * interval
        if seen := cut.look(
            _between(gateway, since, until), _between(others, since, until)
        ):
            found.append(seen)
        else:
            found.append(Observed(time=until, seconds=0))
    return found


@dataclass
class _Cut:
    """Remembers what was counted."""

    release: str
    longest: float
    """Seconds that a look covers at most; longer ones have a gap in them."""
    _newest: float | None = None
    _gateway: Gateway = field(default_factory=Gateway)
    _counters: Counters = field(default_factory=lambda: Counters(_group))
    _pending: Pending = field(default_factory=Pending)

    def look(
        self, gateway: Sequence[Series], others: Sequence[Series]
    ) -> Observed | None:
        """Count samples; None when the gateway was not measured."""
        self._pending.count(self._counters.feed(others))
        times = [at for series in gateway for at, _ in series.samples]
        if not times:
            return None
        self._pending.sent(self._gateway.feed(gateway))
        newest, last = max(times), self._newest
        self._newest = newest
        of = self._pending.of(self.release)
        agreement = of.agreement()
        return Observed(
            time=newest,
            seconds=0 if last is None else min(newest - last, self.longest),
            counts=of.counts(),
            agreement=agreement,
        )


def _between(found: Sequence[Series], since: float, until: float) -> list[Series]:
    cut = (
        Series(each.labels, [s for s in each.samples if since < s[0] <= until])
        for each in found
    )
    return [series for series in cut if series.samples]


def _group(labels: Labels) -> tuple[str, ...]:
    names = ("job", "instance", "release", "variant")
    return tuple(labels.get(name, "") for name in names)
