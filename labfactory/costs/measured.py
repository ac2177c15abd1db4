"""What a lab has cost this month, by Prometheus, and what the month is going to cost.

Every month counts as 730 hours, as in the agreements. Of the hours that were not
measured, those that were are taken to be typical; the alerts about budgets do the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from labfactory.errors import LabError
from policies.rules.costs import HOURS

SECONDS = 10
ROOM, OBJECT = "lab:cost_per_hour:sum", "object:cost_per_hour:sum"
SPENT, FORECAST = "agreement:cost_spent:month", "agreement:cost_forecast:month"


class NotMeasured(LabError):
    """Prometheus knows no costs of this month yet."""


@dataclass(frozen=True)
class Amount:
    """Money of one month: what is spent, and what it is going to be."""

    spent: float
    forecast: float


@dataclass(frozen=True)
class Measured:
    """What was measured this month."""

    since: datetime
    """The oldest measurement of this month that is kept."""
    rooms: Mapping[str, Amount]
    releases: Mapping[str, Amount]
    agreements: Mapping[str, Amount]

    @property
    def total(self) -> Amount:
        """What all rooms cost together."""
        found = self.rooms.values()
        return Amount(sum(x.spent for x in found), sum(x.forecast for x in found))


def measure(url: str, now: datetime) -> Measured:
    """Ask Prometheus at `url`. Raises LabError when it is away, NotMeasured when it
    knows nothing yet."""
    start, share = month(now)
    hours = max(1, int((now - start) / timedelta(hours=1)))
    over = f"[{hours}h:15m]"
    counted = _by(url, f"max(count_over_time(sum({ROOM}){over}))", "")
    if not counted.get(""):
        raise NotMeasured(
            "Prometheus has measured no costs this month (nothing is recorded as "
            f"{ROOM}); `lab up` brings the rule that does, and soon there are some"
        )
    since = _by(url, f"min(min_over_time(timestamp({ROOM}){over}))", "")[""]

    def amounts(series: str, label: str) -> dict[str, Amount]:
        current = _by(url, series, label)
        sums = _by(url, f"sum_over_time(({series}){over})", label)
        return {
            name: _amount(sums.get(name, 0) / counted[""], current.get(name, 0), share)
            for name in sorted({*sums, *current})
        }

    spent, forecast = _by(url, SPENT, "agreement"), _by(url, FORECAST, "agreement")
    return Measured(
        since=datetime.fromtimestamp(since, UTC),
        rooms=amounts(ROOM, "room"),
        releases=amounts(f'sum by (release) ({OBJECT}{{release!=""}})', "release"),
        agreements={
            name: Amount(spent[name], forecast.get(name, spent[name])) for name in spent
        },
    )


def month(now: datetime) -> tuple[datetime, float]:
    """When the month of `now` began, in UTC, and how much of it is over: 0 to 1."""
    start = now.astimezone(UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    end = (start + timedelta(days=32)).replace(day=1)
    return start, (now - start) / (end - start)


def _amount(average: float, current: float, share: float) -> Amount:
    """Of what an hour has cost on average, and what it costs now."""
    spent = HOURS * share * average
    return Amount(spent, spent + HOURS * (1 - share) * current)


def _by(url: str, query: str, label: str) -> dict[str, float]:
    """The answer to a query, by the value of one label."""
    from labfactory.guard.prometheus import Blind, Prometheus

    try:
        with Prometheus(url, seconds=SECONDS) as prometheus:
            found = prometheus.ask(query)
    except Blind as error:
        raise LabError(f"Prometheus does not answer ({error})") from None
    return {each.labels.get(label, ""): each.samples[-1][1] for each in found}
