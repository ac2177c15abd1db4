"""Compare the variants of a release by what they answered: `lab compare`.

`join` is pure: it takes what was logged and the settings. `show` reads the logs from
the lab's store and prints the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from labfactory.errors import LabError
from labfactory.releases.comparison.compare_agreement import Agreement, agreement
from labfactory.releases.comparison.compare_quality import Labels, Quality, quality
from stacks.rules import amount
from stacks.schema import ReleaseConfig, VariantConfig

MOST_HOURS = 24 * 31


@dataclass(frozen=True, slots=True)
class Record:
    """One answer that a model server logged."""

    id: str
    time: datetime
    status: int
    seconds: float
    """From the whole request read to the answer ready, in the server."""
    rows: int
    predictions: list[Any] | None
    """The first ones, where there were very many."""


@dataclass(frozen=True)
class Logged:
    """What the store holds of one variant."""

    records: Sequence[Record] = ()
    broken: int = 0
    """Objects and lines that can't be read."""
    cut: bool = False
    """Whether there was more than is worth reading; the newest is here."""


@dataclass(frozen=True)
class Rates:
    """What machines cost, in the lab's currency per hour."""

    cpu: float = 0.04
    gib: float = 0.005


@dataclass(frozen=True)
class Figures:
    """One variant, over the time that is looked at; None is what nothing tells."""

    variant: str
    role: str
    external: bool
    requests: int
    """Answers that were logged; without any, the rest says nothing."""
    rows: int
    refused: int
    """Answers from 400 to 499: what the caller sent."""
    failed: int
    """Answers from 500 on."""
    p50: float | None
    """Seconds of the answers with predictions."""
    p99: float | None
    agreement: Agreement | None
    """With the stable variant, over requests that both answered."""
    cost: float | None
    """Of 1,000 requests, in the lab's currency."""
    quality: Quality | None
    broken: int
    cut: bool


@dataclass(frozen=True)
class Comparison:
    """The variants of a release side by side, the stable one first."""

    release: str
    since: datetime
    until: datetime
    requests_per_hour: float | None
    """Of the whole release, since the first one that was logged."""
    variants: tuple[Figures, ...]


def join(
    logs: Mapping[str, Logged],
    release: ReleaseConfig,
    name: str,
    *,
    since: datetime,
    until: datetime,
    labels: Labels | None = None,
    rates: Rates = Rates(),
) -> Comparison:
    """Return the comparison of what was logged, by variant, from `since` to `until`.

    What a variant of the lab's own costs is its machines' price over the requests of
    the whole release: what 1,000 would cost if it answered all of them.
    """
    within = {
        variant: [r for r in found.records if since <= r.time <= until]
        for variant, found in logs.items()
    }
    stable = release.stable()
    hourly = _per_hour(release, within, until)
    measured = quality(within, labels) if labels is not None else {}
    order = sorted(release.variants, key=lambda variant: variant != stable)
    return Comparison(
        release=name,
        since=since,
        until=until,
        requests_per_hour=hourly,
        variants=tuple(
            _figures(
                variant,
                release,
                logs.get(variant, Logged()),
                within,
                measured.get(variant),
                _cost(release, variant, within.get(variant, []), hourly, rates),
            )
            for variant in order
        ),
    )


def show(
    lab: str,
    release: str,
    *,
    hours: float = 1,
    labels: str | None = None,
    cpu_hour: float = Rates.cpu,
    gib_hour: float = Rates.gib,
    json: bool = False,
) -> None:
    """Print the comparison of the last `hours` of `release`; raises LabError."""
    from labfactory.releases.comparison import compare_logs, compare_shown
    from labfactory.releases.comparison.compare_quality import read_labels

    if not 0 < hours <= MOST_HOURS:
        raise LabError(f"--hours: must be above 0 and at most {MOST_HOURS}; say less")
    right = read_labels(labels) if labels else None
    until = datetime.now(UTC)
    since = until - timedelta(hours=hours)
    settings, logs = compare_logs.of_release(lab, release, since, until)
    compare_shown.show(
        join(
            logs,
            settings,
            release,
            since=since,
            until=until,
            labels=right,
            rates=Rates(cpu_hour, gib_hour),
        ),
        json=json,
    )


def _figures(
    variant: str,
    release: ReleaseConfig,
    logged: Logged,
    within: Mapping[str, Sequence[Record]],
    measured: Quality | None,
    cost: float | None,
) -> Figures:
    config, stable = release.variants[variant], release.stable()
    records = within.get(variant, [])
    seconds = sorted(r.seconds for r in records if r.status == 200)
    agreed = None
    if variant != stable:
        agreed = agreement(within.get(stable, []), records)
    return Figures(
        variant=variant,
        role=config.role,
        external=config.external is not None,
        requests=len(records),
        rows=sum(r.rows for r in records),
        refused=sum(400 <= r.status < 500 for r in records),
        failed=sum(r.status >= 500 for r in records),
        p50=_percentile(seconds, 50),
        p99=_percentile(seconds, 99),
        agreement=agreed,
        cost=cost,
        quality=measured,
        broken=logged.broken,
        cut=logged.cut,
    )


def _percentile(values: Sequence[float], percent: int) -> float | None:
    """The smallest of the sorted `values` that `percent` of them do not exceed."""
    return values[ceil(len(values) * percent / 100) - 1] if values else None


def _per_hour(
    release: ReleaseConfig,
    within: Mapping[str, Sequence[Record]],
    until: datetime,
) -> float | None:
    """Requests that callers made; copies for shadows are not counted again."""
    answered = [
        record
        for variant, records in within.items()
        if release.variants[variant].role != "shadow"
        for record in records
    ]
    # The route has only those answers logged that a shadow could get copies of.
    mirrored = max((v.mirror or 0 for v in release.variants.values()), default=0)
    if not answered:
        return None
    hours = (until - min(r.time for r in answered)).total_seconds() / 3600
    return len(answered) * 100 / (mirrored or 100) / hours if hours > 0 else None


def _cost(
    release: ReleaseConfig,
    variant: str,
    records: Sequence[Record],
    hourly: float | None,
    rates: Rates,
) -> float | None:
    config: VariantConfig = release.variants[variant]
    if config.external:
        price = config.external.cost_per_call * 1000
        if config.external.call_per == "request":
            return price
        rows = [record.rows for record in records if record.status == 200]
        return price * sum(rows) / len(rows) if rows else None
    if not hourly:
        return None
    asked = release.resources.requests
    machine = amount(asked.cpu) * rates.cpu + amount(asked.memory) / 2**30 * rates.gib
    return machine * release.replicas / hourly * 1000
