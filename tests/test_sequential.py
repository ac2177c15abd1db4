"""Evidence that may be looked at after every request."""

from __future__ import annotations

import random
from math import exp, isnan, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labfactory.releases.decisions.sequential import (
    GRID,
    WEIGHTS,
    evidence,
    one_sample,
    two_sample,
    upper_bound,
)

PATHS = 2000
COUNT = st.integers(0, 10**9)
SHARE = st.floats(0, 1, allow_nan=False)


def binomial(draw: random.Random, n: int, share: float) -> int:
    return sum(draw.random() < share for _ in range(n))


def test_the_grid_is_believed_in_completely() -> None:
    assert sum(WEIGHTS) == pytest.approx(1)
    assert list(GRID) == sorted(GRID)


@pytest.mark.parametrize("dispersion", [1.0, 3.0])
def test_evidence_against_a_variant_like_the_other_is_1_on_average(
    dispersion: float,
) -> None:
    draw = random.Random(1)
    total = 0.0

    for _ in range(PATHS):
        logs: list[float] = []
        for look in range(4):
            share = draw.choice((0.05, 0.3))  # what troubles both is no evidence
            a, b = (5, binomial(draw, 5, share)), (15, binomial(draw, 15, share))
            logs = two_sample(logs, a, b, 0.1, look=look, dispersion=dispersion)
        total += exp(evidence(logs))

    assert total / PATHS <= 1


@pytest.mark.parametrize("share", [0.1, 0.02])
def test_evidence_against_a_variant_within_its_limit_is_1_on_average(
    share: float,
) -> None:
    draw = random.Random(2)
    total = 0.0

    for _ in range(PATHS):
        logs: list[float] = []
        for look in range(5):
            logs = one_sample(logs, 8, binomial(draw, 8, share), 0.1, look=look)
        total += exp(evidence(logs))

    assert total / PATHS <= 1


def test_stopping_at_the_worst_moment_gives_the_stated_chance_at_most() -> None:
    draw = random.Random(3)
    alpha = 0.05

    def crosses() -> bool:
        logs: list[float] = []
        for look in range(30):
            a, b = (6, binomial(draw, 6, 0.1)), (12, binomial(draw, 12, 0.1))
            logs = two_sample(logs, a, b, 0.1, look=look)
            if evidence(logs) >= -log(alpha):
                return True
        return False

    assert sum(crosses() for _ in range(1000)) / 1000 <= alpha


def test_25_failures_of_25_tell_in_one_look() -> None:
    logs = two_sample([], (25, 25), (225, 1), 0.01, look=0)

    assert evidence(logs) > log(1e9)


def test_twice_the_errors_are_seen_in_4000_requests() -> None:
    logs: list[float] = []
    for look in range(10):
        logs = two_sample(logs, (400, 8), (3600, 36), 0.01, look=look)

    assert evidence(logs) > log(8000)


def test_an_hour_without_a_fault_does_not_hide_one() -> None:
    logs: list[float] = []
    for look in range(720):
        logs = two_sample(logs, (100, 1), (900, 9), 0.01, look=look)
    good = evidence(logs)
    for look in range(720, 723):
        logs = two_sample(logs, (100, 10), (900, 9), 0.01, look=look)

    assert good < 0
    assert evidence(logs) > log(8000)


def test_a_better_variant_is_no_evidence() -> None:
    logs = two_sample([], (1000, 0), (1000, 100), 0.1, look=0)

    assert evidence(logs) < 0


def test_what_a_limit_allows_is_no_evidence() -> None:
    assert evidence(one_sample([], 1000, 50, 0.05, look=0)) < 0
    assert evidence(one_sample([], 1000, 1000, 1.0, look=0)) < 0


def test_one_failure_tells_where_none_is_allowed() -> None:
    assert evidence(one_sample([], 1000, 1, 0.0, look=0)) > 2


def test_an_empty_sample_adds_nothing() -> None:
    logs = two_sample([], (10, 1), (10, 1), 0.1, look=0)

    assert two_sample(logs, (0, 0), (10, 1), 0.1, look=1) == logs
    assert two_sample(logs, (10, 1), (0, 0), 0.1, look=1) == logs
    assert one_sample(logs, 0, 0, 0.1, look=1) == logs
    assert evidence([]) == -float("inf")


def test_no_look_alone_adds_more_than_it_may() -> None:
    free = one_sample([], 1000, 300, 0.01, look=0)
    held = one_sample([], 1000, 300, 0.01, look=0, most=4)

    assert evidence(free) > 100
    assert evidence(held) < 4


def test_nobody_waits_when_nearly_all_fail() -> None:
    some = one_sample([], 1000, 300, 0.01, look=0, most=4, sudden=True)
    all_ = one_sample([], 1000, 1000, 0.01, look=0, most=4, sudden=True)

    assert evidence(some) < 4
    assert evidence(all_) > 100


def test_requests_in_groups_tell_as_much_as_one_of_each_group() -> None:
    one = two_sample([], (10, 2), (90, 3), 0.05, look=0)
    five = two_sample([], (50, 10), (450, 15), 0.05, look=0, dispersion=5)

    assert five == pytest.approx(one)


@given(COUNT, COUNT, COUNT, COUNT, SHARE, st.integers(0, 10**7))
def test_no_count_is_beyond_the_arithmetic(
    n: int, k: int, m: int, j: int, share: float, look: int
) -> None:
    logs = two_sample([], (n, k), (m, j), share, look=look)
    logs = two_sample(logs, (m, j), (n, k), share, look=look + 1)
    logs = one_sample(logs, n, k, share, look=look + 2)

    assert not any(isnan(each) for each in [*logs, evidence(logs)])
    assert all(each < float("inf") for each in logs)


def test_the_bound_holds_for_nearly_all_samples() -> None:
    draw = random.Random(4)

    above = sum(
        upper_bound(200, binomial(draw, 200, 0.05), 0.05) < 0.05 for _ in range(1000)
    )

    assert above <= 50


def test_the_bound_comes_close_with_many_requests() -> None:
    assert upper_bound(0, 0) == 1
    assert upper_bound(1000, 0) == pytest.approx(0.0069, abs=1e-4)
    assert 0.0101 < upper_bound(10**6, 10**4) < 0.0105
    assert upper_bound(10, 10) == 1


@given(COUNT, COUNT)
def test_the_bound_is_a_share_above_the_one_observed(n: int, k: int) -> None:
    bound = upper_bound(n, k)

    assert min(k, n) <= bound * n + 1e-3 * n
    assert 0 <= bound <= 1
