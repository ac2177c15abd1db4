"""Flagger's and Argo Rollouts' rules, on sequences worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isnan

import pytest

from labfactory.releases.decisions.observed import INFINITE, Counts, Observed
from labfactory.releases.simulation.rival_queries import (
    Metric,
    added,
    duration,
    duration_ratio,
    error_ratio,
    error_share,
    quantile,
)
from labfactory.releases.simulation.rivals import Argo, Flagger, run
from labfactory.releases.simulation.traces import PAIR, Recorded

SUCCESS = Metric(error_share, 0.01, window=60)
GOOD, BAD, NOTHING = 0, 50, None
"""Errors in a hundred requests of the candidate; NOTHING is no request at all."""


def look(errors: int | None, *, trouble: str | None = None) -> Observed:
    candidate = Counts() if errors is None else Counts(requests=100, errors=errors)
    counts: Mapping[str, Counts] = {"v1": Counts(requests=100), "v2": candidate}
    return Observed(0, 60, counts if trouble is None else {}, trouble=trouble)


def flagger(
    looks: Sequence[Observed], *, threshold: int = 3, step: int = 10, most: int = 30
) -> tuple[str, int, int]:
    rule = Flagger(
        [SUCCESS],
        interval=60,
        threshold=threshold,
        max_weight=most,
        step_weight=step,
    )
    return run(rule, Recorded(looks), pair=PAIR, interval=60)


def argo(
    looks: Sequence[Observed], *, limit: int = 1, interval: float = 60
) -> tuple[str, int, int]:
    rule = Argo(
        [SUCCESS],
        steps=(20, 40),
        pause=120,
        interval=interval,
        failure_limit=limit,
        delay=60,
    )
    return run(rule, Recorded(looks), pair=PAIR, interval=60)


def test_flagger_grows_by_a_step_with_each_check_and_promotes_at_the_largest() -> None:
    # One look sends the first requests; 10, 20 and 30 per cent are checked.
    assert flagger([look(GOOD)] * 10) == ("promoted", 4, 30)
    assert flagger([look(GOOD)] * 3) == ("over", 3, 30)


def test_flagger_rolls_back_after_interval_times_threshold() -> None:
    assert flagger([look(GOOD)] + [look(BAD)] * 9) == ("rolled back", 1 + 3, 10)
    assert flagger([look(BAD)] * 9, threshold=5) == ("rolled back", 1 + 5, 10)


def test_flagger_counts_failed_checks_that_do_not_follow_each_other() -> None:
    seen = [look(each) for each in (GOOD, BAD, GOOD, BAD, GOOD, BAD)]

    assert flagger(seen) == ("rolled back", 6, 30)
    assert flagger(seen, threshold=4) == ("over", 6, 30)


def test_flagger_halts_while_a_check_fails() -> None:
    seen = [look(each) for each in (GOOD, GOOD, BAD, BAD, GOOD, GOOD)]

    assert flagger(seen[:4]) == ("over", 4, 20)
    assert flagger(seen) == ("promoted", 6, 30)


@pytest.mark.parametrize(
    "blind",
    [look(NOTHING), look(GOOD, trouble="Prometheus is away")],
    ids=["no-requests", "no-prometheus"],
)
def test_flagger_takes_no_values_for_a_failed_check(blind: Observed) -> None:
    assert flagger([look(GOOD)] + [blind] * 5) == ("rolled back", 4, 10)


def test_flagger_waits_for_pods_until_its_deadline() -> None:
    waiting = Observed(0, 60, ready={"v1": True, "v2": False})

    assert flagger([waiting] * 20) == ("rolled back", 10, 0)
    assert flagger([waiting] * 3 + [look(GOOD)] * 4) == ("promoted", 7, 30)


def test_flagger_never_checks_more_often_than_every_ten_seconds() -> None:
    rule = Flagger([SUCCESS], interval=1, threshold=2, max_weight=50, step_weight=5)

    assert run(rule, Recorded([look(BAD)] * 9), pair=PAIR, interval=5)[:2] == (
        "rolled back",
        5,
    )


def test_argo_takes_its_steps_and_promotes_after_the_last_pause() -> None:
    assert argo([look(GOOD)] * 9) == ("promoted", 5, 40)
    assert argo([look(GOOD)] * 4) == ("over", 4, 40)


def test_argo_allows_as_many_failures_as_its_limit_says() -> None:
    assert argo([look(BAD)] * 9) == ("rolled back", 3, 20)
    assert argo([look(BAD)] * 9, limit=0) == ("rolled back", 2, 20)
    assert argo([look(BAD)] * 3 + [look(GOOD)] * 2, limit=2)[0] == "promoted"


def test_argo_counts_failures_that_do_not_follow_each_other() -> None:
    seen = [look(each) for each in (GOOD, BAD, GOOD, BAD, GOOD)]

    assert argo(seen) == ("rolled back", 4, 40)


def test_argo_takes_nan_for_a_failure() -> None:
    assert argo([look(NOTHING)] * 9) == ("rolled back", 3, 20)


def test_argo_aborts_after_more_than_four_errors_in_succession() -> None:
    blind = look(GOOD, trouble="Prometheus is away")
    rule = Argo([SUCCESS], steps=(20,), pause=600, interval=60, failure_limit=0)

    ended = run(rule, Recorded([look(GOOD)] + [blind] * 9), pair=PAIR, interval=10)

    # The first error is due at the second look, and each is tried again after 10 s.
    assert ended == ("rolled back", 6, 20)


def test_argo_forgets_errors_when_there_is_an_answer() -> None:
    blind = look(GOOD, trouble="Prometheus is away")

    assert argo([look(GOOD), *([blind, blind, look(GOOD)] * 3)])[0] == "promoted"


def test_a_query_looks_back_over_its_window_alone() -> None:
    # Five per cent of the last two looks, and none of the last one, is bad.
    short = Flagger([Metric(error_share, 0.01, window=60)], 60, 1, 20, 10)
    long = Flagger([Metric(error_share, 0.01, window=120)], 60, 1, 20, 10)
    seen = [look(BAD), look(GOOD), look(GOOD)]

    assert run(short, Recorded(seen), pair=PAIR, interval=60)[0] == "promoted"
    assert run(long, Recorded(seen), pair=PAIR, interval=60)[0] == "rolled back"


def test_quantiles_are_linear_within_a_bucket_as_prometheus_has_them() -> None:
    latency = {0.1: 50, 0.2: 40, 0.4: 10, INFINITE: 0}

    assert quantile(latency, 0.5) == pytest.approx(0.1)
    assert quantile(latency, 0.7) == pytest.approx(0.15)
    assert quantile(latency, 0.95) == pytest.approx(0.3)
    assert quantile({0.1: 1, INFINITE: 99}, 0.99) == 0.1
    assert isnan(quantile({}, 0.99))
    assert isnan(quantile({0.1: 0, INFINITE: 0}, 0.99))


def test_ratios_divide_as_prometheus_does() -> None:
    some = Counts(requests=100, errors=2, latency={0.1: 10, 0.2: 10, INFINITE: 0})
    none = Counts(requests=100)

    assert error_ratio(some, Counts(requests=100, errors=1)) == 2
    assert error_ratio(some, none) == inf
    assert isnan(error_ratio(none, none))
    assert isnan(error_ratio(some, Counts()))
    assert duration_ratio(some, some) == 1
    assert duration(some, none) == pytest.approx(0.198)


def test_looks_add_up() -> None:
    one = Counts(1, 1, 1, {0.1: 1, INFINITE: 2})

    assert added([one, Counts(5), one]) == Counts(7, 2, 2, {0.1: 2, INFINITE: 4})
    assert added([]) == Counts()
