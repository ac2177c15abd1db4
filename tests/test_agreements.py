from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from labfactory.agreements.clauses import Clause, touched
from labfactory.agreements.promised import CLAUSES, promised
from stacks.schema import LabConfig
from tests.harness import variant
from tests.promised import (
    ALONE,
    BACKUPS,
    CANDIDATE,
    IRIS,
    OF_RELEASES,
    SHADOW,
    STANDARD,
)
from tests.promised import promised as lab_with


def iris(**changed: Any) -> Mapping[str, Any]:
    return {"iris": {**IRIS, **changed}}


def variants(**changed: Any) -> Mapping[str, Any]:
    found = {**IRIS["variants"], **changed}
    return iris(variants={name: each for name, each in found.items() if each})


def changed(before: LabConfig | None = None, **sections: Any) -> tuple[Clause, ...]:
    return touched(before or lab_with(), lab_with(**sections))


def told(clauses: tuple[Clause, ...]) -> dict[str, str]:
    return {each.clause: each.text for each in clauses}


def agreed(**said: Any) -> Mapping[str, Any]:
    return {"standard": {**STANDARD, **said}}


def test_nothing_is_touched_by_no_change() -> None:
    assert changed() == ()


def test_of_a_new_lab_every_clause_is_promised_anew() -> None:
    found = touched(None, lab_with())

    assert [each.clause for each in found] == [*CLAUSES]
    assert {each.agreement for each in found} == {"standard"}
    assert all(each.text.startswith("promised anew: ") for each in found)


def test_an_agreement_that_is_ended_promises_nothing_any_more() -> None:
    found = changed(agreements={})

    assert [each.clause for each in found] == [*CLAUSES]
    assert told(found)["rpo"] == (
        "promised no more; it was: at most 60 min of work lost"
    )


@pytest.mark.parametrize(
    ("said", "clause", "text"),
    [
        (
            {"objectives": {**STANDARD["objectives"], "availability": 0.999}},
            "availability",
            "promised: 99.9 % of the requests answered without a fault, over 28 days; "
            "it was: 99 % of the requests answered without a fault, over 28 days",
        ),
        (
            {"cost": {"monthly": 1250.0}},
            "cost",
            "promised: 1,250.00 EUR a month, alerts from 80 %; it was: 200.00 EUR a "
            "month, alerts from 80 %",
        ),
        (
            {"deadlines": {**STANDARD["deadlines"], "review_by": "2027-07-01"}},
            "review_by",
            "promised: 2027-07-01; it was: 2027-06-30",
        ),
        ({"consumers": []}, "consumers", "promised no more; it was: shop"),
        ({"owner": "sales"}, "owner", "promised: sales; it was: vision"),
        (
            {"capacity": {"cpu": "8000m"}},
            "capacity",
            "promised: cpu 8000m; it was: cpu 4000m, memory 8Gi, releases 3",
        ),
        (
            {"recovery": {"rpo_minutes": 60, "rto_minutes": 15}},
            "rto",
            "promised: back after 15 min at most; it was: back after 30 min at most",
        ),
    ],
    ids=["availability", "cost", "review", "consumers", "owner", "capacity", "rto"],
)
def test_a_changed_promise_is_told_with_the_old_one(
    said: Mapping[str, Any], clause: str, text: str
) -> None:
    assert changed(agreements=agreed(**said)) == (Clause("standard", clause, text),)


def test_leave_for_the_guard_is_a_matter_of_what_may_fail() -> None:
    found = changed(agreements=agreed(guard_may_trade=False))

    assert [each.clause for each in found] == ["availability", "latency", "quality"]
    assert "may no longer spend" in found[0].text


def test_a_candidate_s_share_touches_what_callers_notice() -> None:
    found = changed(
        releases=variants(
            v1={**variant(1), "traffic": 50}, v2={**CANDIDATE, "traffic": 50}
        )
    )

    assert {each.clause for each in found} == {"availability", "latency", "quality"}
    assert [each.text for each in found if each.clause == "latency"] == [
        "iris: v1 gets 50 % of the requests instead of 90 % of the requests",
        "iris: v2 gets 50 % of the requests instead of 10 % of the requests",
    ]


def test_another_stable_model_touches_how_new_it_is() -> None:
    found = told(
        changed(
            lab_with(releases={"iris": ALONE}),
            releases={"iris": {**ALONE, "variants": {"main": variant(2)}}},
            agreements=agreed(
                objectives={"freshness_days": 90}, deadlines=STANDARD["deadlines"]
            ),
        )
    )

    assert "version 2" in found["freshness"]
    assert "version 2" in found["retrain_by"]
    assert "review_by" not in found


def test_a_shadow_is_no_matter_of_callers_but_costs() -> None:
    found = changed(lab_with(releases=variants(v3=None)), releases=variants(v3=SHADOW))

    assert {each.clause for each in found} == {"cost", "capacity"}


def test_more_predictors_touch_what_callers_notice_and_the_bill() -> None:
    found = told(changed(releases=iris(replicas=2)))

    assert set(found) == {"availability", "latency", "cost", "capacity"}
    assert found["latency"] == "iris has 2 predictors of each variant instead of 1"
    assert found["capacity"] == "predictors: pods 6 instead of 3"


def test_more_memory_is_told_for_the_whole_lab() -> None:
    resources = {"requests": {"memory": "1Gi"}}
    found = changed(releases=iris(resources=resources))

    assert (
        Clause(
            "standard", "capacity", "predictors reserve memory 3072Mi instead of 1536Mi"
        )
        in found
    )
    assert told(found)["cost"] == (
        "iris: resources.requests.memory is 1Gi instead of 512Mi"
    )


def test_a_release_more_touches_what_was_promised_of_releases() -> None:
    found = changed(releases={**iris(), "other": IRIS})

    assert Clause("standard", "quality", "other is added") in found
    assert Clause("standard", "capacity", "releases 2 instead of 1") in found


def test_a_release_that_is_taken_out_touches_the_day_of_its_end() -> None:
    found = told(changed(lab_with(releases={"iris": IRIS, "o": IRIS}), releases=iris()))

    assert found["retire_by"] == "o is taken out"
    assert found["availability"] == "o is taken out"


def test_a_release_that_changes_sides_touches_both_agreements() -> None:
    both = {"standard": STANDARD, "own": {**OF_RELEASES, "covers": ["other"]}}
    two = {"iris": IRIS, "other": IRIS}
    before = lab_with(releases=two, agreements=both)
    moved = {**both, "own": {**OF_RELEASES, "covers": ["iris"]}}

    found = changed(before, releases=two, agreements=moved)
    latency = {(e.agreement, e.text) for e in found if e.clause == "latency"}

    assert latency == {
        ("standard", "iris is under it no more"),
        ("standard", "other comes under the agreement"),
        ("own", "other is under it no more"),
        ("own", "iris comes under the agreement"),
    }


def test_a_release_touches_no_agreement_that_it_is_not_under() -> None:
    one = {"own": {**OF_RELEASES, "covers": ["iris"]}}
    two = {"iris": IRIS, "other": IRIS}
    before = lab_with(releases=two, agreements=one)

    assert not changed(
        before, releases={**two, "other": {**IRIS, "replicas": 3}}, agreements=one
    )


def test_sums_are_told_with_what_may_be_spent() -> None:
    lab = lab_with()

    assert touched(lab, lab, {"standard": (80.0, 120.5)}) == (
        Clause(
            "standard", "cost", "120.50 EUR a month instead of 80.00 EUR, of 200.00 EUR"
        ),
    )
    assert touched(lab, lab, {"standard": (80.0, 80.001)}) == ()


@pytest.mark.parametrize(
    ("said", "clauses"),
    [
        ({"drill": {"every_days": 14}}, {"rto"}),
        ({"keep": {"daily": 3}}, {"rpo"}),
        ({"staging": "30Gi"}, {"rpo", "rto", "cost", "capacity"}),
        (
            {"store": {"kind": "minio", "capacity": "80Gi"}},
            {"rpo", "rto", "cost", "capacity"},
        ),
    ],
    ids=["drill", "keep", "staging", "store"],
)
def test_backups_touch_what_a_disaster_may_cost(
    said: Mapping[str, Any], clauses: set[str]
) -> None:
    assert set(told(changed(backups={**BACKUPS, **said}))) == clauses


def test_another_owner_of_the_lab_owns_agreements_without_one() -> None:
    mine = {"mine": {"deadlines": {"review_by": "2027-01-31"}}}
    before = lab_with(agreements=mine)

    found = changed(before, agreements=mine, owner="sales")

    assert told(found) == {"owner": "promised: sales; it was: vision"}


def test_a_clause_that_was_not_agreed_is_not_touched() -> None:
    loose = {"loose": {"owner": "vision"}}

    assert not changed(
        lab_with(agreements=loose),
        agreements=loose,
        releases=iris(replicas=4),
        backups={**BACKUPS, "staging": "90Gi"},
    )


def test_every_clause_is_told_in_words() -> None:
    lab = lab_with()

    assert tuple(promised(lab, lab.agreements["standard"])) == CLAUSES
