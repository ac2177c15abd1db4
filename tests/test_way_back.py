from __future__ import annotations

import pytest

from labfactory.errors import LabError
from labfactory.releases.planning.meaning import Amounts
from labfactory.releases.planning.plan import Plan
from labfactory.releases.planning.way_back import WayBack
from tests.test_plan import (
    CANARY,
    HALF,
    JUMP,
    PROMOTED,
    STABLE,
    Contract,
    Known,
    Release,
    planned,
    release,
    variant,
)

MIB = 2**20
ARTIFACT = variant(3, "stable")["artifact"]
ALL = ("InferenceService/iris-v3", "HTTPRoute/iris")


def way_back(
    before: Release | None, after: Release | None, facts: Known | None = None
) -> WayBack | None:
    [iris] = planned(before, after, facts=facts).releases
    return iris.way_back


def refused(facts: Known, **choices: str) -> Plan:
    """The plan of another stable variant in the place of the one there is."""
    return planned(STABLE, JUMP, facts=facts, lose=ALL, **choices)


def test_after_a_promotion_the_old_stable_variant_is_warm() -> None:
    facts = Known()

    assert way_back(CANARY, PROMOTED, facts) == WayBack("v3", warm=True)
    # A rollback that changes a route alone needs neither store, image nor room.
    assert not {ARTIFACT, "localhost/lab:1"} & {*facts.asked}


@pytest.mark.parametrize(("before", "after"), [(STABLE, CANARY), (CANARY, HALF)])
def test_while_the_stable_variant_stays_there_is_nothing_to_go_back_to(
    before: Release, after: Release
) -> None:
    assert way_back(before, after) is None


def test_a_new_release_has_nothing_to_go_back_to() -> None:
    assert way_back(None, STABLE) is None


def test_a_variant_that_goes_can_be_started_again() -> None:
    facts = Known()

    assert way_back(STABLE, JUMP, facts) == WayBack("v3", warm=False)
    assert {ARTIFACT, "localhost/lab:1"} <= {*facts.asked}


def test_another_model_under_the_same_name_is_not_the_one_to_go_back_to() -> None:
    other = variant(3, "stable", 100, digest=f"sha256:{9:064x}")

    found = way_back(STABLE, release(other))

    assert found == WayBack("v3", warm=False)


def test_a_release_that_goes_can_be_brought_back() -> None:
    assert way_back(STABLE, None) == WayBack("v3", warm=False)


def test_what_a_promotion_left_behind_is_the_way_back_until_it_goes() -> None:
    retired = release(variant(4, "stable", 100))
    facts = Known(store={})

    assert way_back(PROMOTED, retired) == WayBack("v3", warm=False)
    assert planned(PROMOTED, retired, facts=facts).exit_code == 1


def test_a_newer_variant_that_never_answered_leaves_no_gap() -> None:
    idle = release(variant(3, "stable", 100), variant(4, "candidate"))
    rejected = release(
        variant(3, "stable", 100), variant(4, "rejected", because="it was slow")
    )

    assert way_back(idle, STABLE) is None
    assert way_back(rejected, STABLE) is None


def test_an_artifact_that_is_gone_is_in_the_way() -> None:
    plan = refused(Known(store={}))

    assert plan.exit_code == 1
    [text] = plan.refusals
    assert f"nothing at {ARTIFACT}" in text
    assert '--no-way-back "reason"' in text


def test_an_artifact_that_is_another_now_is_in_the_way() -> None:
    [text] = refused(Known(store={ARTIFACT: f"sha256:{8:064x}"})).refusals

    assert f"sha256:{8:064x}" in text
    assert f"sha256:{3:064x}" in text


def test_an_image_that_is_gone_is_in_the_way() -> None:
    [text] = refused(Known(images=False)).refusals

    assert "localhost/lab:1" in text


@pytest.mark.parametrize(
    ("room", "exit_code"),
    [
        (Amounts(0.1, 512 * MIB), 2),
        (Amounts(0.05, 512 * MIB), 1),
        (Amounts(0.1, 511 * MIB), 1),
    ],
)
def test_the_new_variant_is_still_there_when_the_old_one_comes_back(
    room: Amounts, exit_code: int
) -> None:
    assert refused(Known(room=room)).exit_code == exit_code


def test_the_room_is_what_the_change_leaves() -> None:
    larger = {**JUMP, "replicas": 3}
    room = Amounts(4, 1400 * MIB)

    assert planned(STABLE, JUMP, facts=Known(room=room), lose=ALL).exit_code == 2
    [text] = planned(STABLE, larger, facts=Known(room=room), lose=ALL).refusals
    assert "it needs 0.1 cores and 512 MiB" in text
    assert "leaves 3.8 cores and 376 MiB free" in text


def test_a_contract_that_callers_would_fall_back_from_is_in_the_way() -> None:
    narrower = {(4, 3): Contract("breaking", ("column 'age' is gone",))}

    plan = planned(CANARY, PROMOTED, facts=Known(contracts=narrower))

    [text] = plan.refusals
    assert "callers of v4 would break at v3: column 'age' is gone" in text


def test_a_warm_variant_that_is_not_ready_is_no_way_back() -> None:
    [text] = planned(CANARY, PROMOTED, facts=Known(unready=("iris-v3",))).refusals

    assert "v3 is deployed, but not ready now" in text


def test_everything_in_the_way_is_said_at_once() -> None:
    facts = Known(store={}, images=False, room=Amounts(0, 0))

    found = way_back(STABLE, JUMP, facts)

    assert found
    assert len(found.obstacles) == 3


def test_a_store_that_does_not_answer_is_in_the_way() -> None:
    class Silent(Known):
        def artifact_digest(self, artifact: str) -> str | None:
            raise LabError("the store: no answer; is the lab up?")

    [text] = refused(Silent()).refusals

    assert "the store: no answer" in text


def test_a_change_without_a_way_back_is_applied_for_a_reason() -> None:
    plan = refused(Known(store={}), no_way_back="the model is illegal now")

    assert plan.exit_code == 2
    assert plan.no_way_back == "the model is illegal now"
    assert plan.releases[0].way_back
    assert not plan.releases[0].way_back.open


def test_the_reason_waives_nothing_else() -> None:
    plan = planned(
        STABLE,
        JUMP,
        facts=Known(store={}, contracts={(3, 4): Contract("breaking", ("x",))}),
        lose=ALL,
        no_way_back="the model is illegal now",
    )

    [text] = plan.refusals
    assert "accept_breaking" in text
