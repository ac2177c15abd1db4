"""How far inputs are from the training data."""

from __future__ import annotations

import random
from collections import Counter
from math import inf, log, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labfactory.releases.decisions.drift import drifted, psi, two_sample_p
from labfactory.releases.decisions.observed import Drift
from stacks.watching import DriftRule

EVEN = (0.25, 0.25, 0.25, 0.25)
RULE = DriftRule(at_most=0.25, rows=1000)


def test_the_same_shares_are_no_distance() -> None:
    assert psi(EVEN, (250, 250, 250, 250)) == pytest.approx(0)
    assert two_sample_p(EVEN, (250, 250, 250, 250)) == pytest.approx(1)


def test_the_index_is_the_textbooks_with_many_rows() -> None:
    found = psi((0.5, 0.5), (800_000, 200_000))

    assert found == pytest.approx(0.3 * log(0.8 / 0.5) - 0.3 * log(0.2 / 0.5), rel=1e-4)


def test_an_empty_bin_is_far_and_not_infinitely() -> None:
    assert 0.25 < psi((0.5, 0.5), (1000, 0)) < 10
    assert 0.25 < psi((1.0, 0.0), (0, 1000)) < 20


def test_the_chance_is_scipys() -> None:
    # chisquare([30, 70], [50, 50]): statistic 16, one degree of freedom
    assert two_sample_p((0.5, 0.5), (30, 70)) == pytest.approx(6.334e-5, rel=1e-3)


def test_few_training_rows_prove_less() -> None:
    # chi2_contingency([[30, 70], [50, 50]], correction=False)
    assert two_sample_p((0.5, 0.5), (30, 70), 100) == pytest.approx(0.003892, rel=1e-3)
    assert two_sample_p((0.5, 0.5), (30, 70), 10**9) == pytest.approx(
        6.334e-5, rel=1e-3
    )


def test_the_test_is_right_about_rows_like_the_training_ones() -> None:
    draw, shares = random.Random(1), (0.5, 0.3, 0.15, 0.049, 0.001)

    def rows() -> tuple[int, ...]:
        found = Counter(draw.choices(range(5), shares, k=1000))
        return tuple(found[number] for number in range(5))

    below = sum(two_sample_p(shares, rows()) < 0.05 for _ in range(500))

    assert 5 <= below <= 45


@pytest.mark.parametrize(
    ("expected", "seen"),
    [
        (EVEN, (0, 0, 0, 0)),
        ((0.0, 0.0), (5, 5)),
        ((nan, inf), (5, 5)),
        ((), ()),
    ],
    ids=["no rows", "no shares", "no numbers", "no bins"],
)
def test_no_data_is_no_drift(
    expected: tuple[float, ...], seen: tuple[int, ...]
) -> None:
    assert psi(expected, seen) == 0
    assert two_sample_p(expected, seen) == 1


@settings(deadline=None)  # the first example imports scipy
@given(
    st.lists(
        st.tuples(st.floats(0, 1, allow_nan=False), st.integers(0, 10**9)), max_size=12
    )
)
def test_the_index_is_a_finite_distance(bins: list[tuple[float, int]]) -> None:
    expected, seen = [share for share, _ in bins], [count for _, count in bins]

    assert -1e-9 <= psi(expected, seen) < inf
    assert 0 <= two_sample_p(expected, seen) <= 1


def test_a_shifted_column_has_drifted() -> None:
    still = Drift("age", EVEN, (260, 240, 250, 250))
    far = Drift("income", EVEN, (700, 100, 100, 100))
    further = Drift("prediction", EVEN, (1000, 0, 0, 0))

    assert [each.column for each in drifted([still, far, further], RULE)] == [
        "prediction",
        "income",
    ]


@pytest.mark.parametrize(
    "seen",
    [(399, 200, 200, 200), (350, 250, 250, 250), (0, 0, 0, 0)],
    ids=["too few rows", "a small shift", "no rows"],
)
def test_less_than_the_rule_asks_for_is_no_drift(seen: tuple[int, ...]) -> None:
    assert drifted([Drift("age", EVEN, seen)], RULE) == []


def test_few_rows_do_not_drift_by_chance() -> None:
    rule = DriftRule(at_most=0.01, rows=100)
    seen = (31, 19, 27, 23)

    assert psi(EVEN, seen) > rule.at_most
    assert drifted([Drift("age", EVEN, seen)], rule) == []
