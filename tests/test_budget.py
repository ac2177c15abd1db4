from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from policies.rules.budget import RULES, budgets
from policies.rules.costs import RELEASE
from policies.rules.lab import Lab, Resource
from policies.rules.prices import read_book

TODAY = date(2026, 11, 21)
GIB_MONTH = read_book("on-prem").rates["gib_month"]
NAMED = {rule.name: rule for rule in RULES}
OVERRIDE = {"monthly": 50.0, "by": "head of vision", "because": "the fair"}


def volume(name: str, cost: float, release: str = "") -> Resource:
    """A volume that costs so much a month."""
    labels = {RELEASE: release} if release else {}
    size = f"{cost / GIB_MONTH * 2**30:.0f}"
    return Resource(
        "kubernetes:core/v1:PersistentVolumeClaim",
        name,
        {
            "metadata": {"name": name, "labels": labels},
            "spec": {"resources": {"requests": {"storage": size}}},
        },
        "storage",
    )


def lab(*resources: Resource, today: date = TODAY, **settings: Any) -> Lab:
    return Lab(settings, resources, today)


def agreed(monthly: float, **more: Any) -> dict[str, Any]:
    return {"standard": {"cost": {"monthly": monthly, **more}}}


def told(rule: str, found: Lab) -> list[str]:
    return [NAMED[rule].told(complaint) for complaint in NAMED[rule].check(found)]


def test_what_would_cost_too_much_is_refused_with_the_clause_and_the_way_out() -> None:
    parts = [
        volume(name, cost) for name, cost in zip("abcd", (5, 20, 8, 2), strict=True)
    ]

    [text] = told("budget", lab(*parts, agreements=agreed(30.0)))

    assert text.startswith(
        "agreements.standard.cost.monthly: the clause cost of the agreement "
        "'standard' allows 30.00 EUR a month, and it would be 35.00, 5.00 too much "
        "(the dearest: PersistentVolumeClaim/b 20.00, PersistentVolumeClaim/c 8.00, "
        "PersistentVolumeClaim/a 5.00); take something out (`lab plan` shows"
    )
    assert "`override` beside `monthly`" in text


@pytest.mark.parametrize(("allowed", "refused"), [(30.0, False), (29.99, True)])
def test_the_last_cent_may_be_spent(allowed: float, refused: bool) -> None:
    found = told("budget", lab(volume("a", 30), agreements=agreed(allowed)))

    assert bool(found) is refused


def test_a_lab_without_a_clause_about_cost_may_cost_what_it_does() -> None:
    none: dict[str, Any] = {}
    for agreements in (none, {"standard": {"objectives": none}}):
        assert told("budget", lab(volume("a", 9000), agreements=agreements)) == []


def test_an_agreement_about_releases_pays_for_these_alone() -> None:
    parts = [volume("a", 10, "iris"), volume("b", 20, "wine"), volume("c", 40)]
    agreements = {
        "fruit": {"covers": ["iris"], "cost": {"monthly": 5.0}},
        "whole": {"cost": {"monthly": 100.0}},
    }

    found = lab(*parts, agreements=agreements)

    [fruit, whole] = budgets(found)
    assert fruit.spent == pytest.approx(10)
    assert whole.spent == pytest.approx(70)
    assert whole.left == pytest.approx(30)
    [text] = told("budget", found)
    assert "agreements.fruit.cost.monthly" in text


@pytest.mark.parametrize(
    ("days", "holds"),
    [(1, True), (0, True), (-1, False)],
    ids=["day-before", "day", "past"],
)
def test_an_override_holds_until_its_last_day(days: int, holds: bool) -> None:
    override = {**OVERRIDE, "until": str(TODAY + timedelta(days))}
    found = lab(volume("a", 40), agreements=agreed(30.0, override=override))

    refused, warned = told("budget", found), told("budget-override", found)

    assert bool(refused) is not holds
    assert bool(warned) is holds
    if holds:
        assert (
            "50.00 a month are allowed instead of 30.00, by head of vision" in warned[0]
        )
        assert f"until {override['until']}: the fair" in warned[0]
    else:
        assert "the override by head of vision until 2026-11-20 ended" in refused[0]
        assert "allows 30.00 EUR" in refused[0]


def test_an_override_is_a_limit_too() -> None:
    override = {**OVERRIDE, "until": TODAY}
    found = lab(volume("a", 60), agreements=agreed(30.0, override=override))

    [text] = told("budget", found)

    assert "allows 50.00 EUR a month, and it would be 60.00" in text
    assert "ended" not in text


def test_days_are_read_as_people_and_as_pulumi_write_them() -> None:
    for until in ("2026-12-01", "2026-12-01 00:00:00 +0000 UTC", date(2026, 12, 1)):
        override = {**OVERRIDE, "until": until}
        found = lab(volume("a", 40), agreements=agreed(30.0, override=override))

        assert told("budget", found) == []


def test_own_prices_change_what_a_budget_is_worth() -> None:
    costs = {"prices": {"gib_month": 2 * GIB_MONTH}}

    found = lab(volume("a", 20), agreements=agreed(30.0), costs=costs)

    assert "it would be 40.00" in told("budget", found)[0]


def test_prices_that_are_too_old_are_told_and_refuse_nothing() -> None:
    dated = read_book("on-prem").dated
    last = dated + timedelta(365)

    assert NAMED["price-book-age"].level == "advisory"
    assert told("price-book-age", lab(today=last)) == []
    [text] = told("price-book-age", lab(today=last + timedelta(1)))
    assert "366 days old, and may be 365" in text
    strict = {"max_age_days": 10}
    assert told("price-book-age", lab(today=dated + timedelta(11), costs=strict))


@pytest.mark.parametrize(
    ("costs", "part"),
    [
        ({"book": "cloud"}, "there is no price book 'cloud'"),
        ({"book": "aws-eu-central-1"}, "is in USD, and the lab counts in EUR"),
    ],
    ids=["missing", "currency"],
)
def test_a_book_that_cannot_be_used_is_refused_once(
    costs: dict[str, Any], part: str
) -> None:
    found = lab(volume("a", 40), agreements=agreed(30.0), costs=costs)

    [text] = told("price-book", found)

    assert text.startswith("costs.book: ")
    assert part in text
    assert told("budget", found) == told("price-book-age", found) == []


def test_a_book_that_can_be_used_is_nobody_s_complaint() -> None:
    assert told("price-book", lab()) == []


def test_every_rule_says_what_it_wants_why_and_the_way_out() -> None:
    for rule in RULES:
        assert rule.what.endswith(".")
        assert rule.why.endswith(".")
        assert rule.fix
