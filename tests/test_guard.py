"""What the guard decides, look by look."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labfactory.releases.decisions import guard
from labfactory.releases.decisions.observed import (
    INFINITE,
    Agreement,
    Counts,
    Decision,
    Drift,
    Observed,
    State,
)
from stacks.schema import ReleaseConfig
from tests import harness


def version(number: int, **said: Any) -> dict[str, Any]:
    """A variant, as settings have it."""
    return {**harness.variant(number), "traffic": 0, **said}


START = 1_767_225_600.0
INTERVAL = 5.0
STABLE = {"v1": version(1, role="stable", traffic=90)}
CANARY = {**STABLE, "v2": version(2, role="candidate", traffic=10)}
ALONE = {"v1": version(1, role="stable", traffic=100)}
PROMOTED = {
    "v1": version(1, role="previous"),
    "v2": version(2, role="stable", traffic=100),
}
FAST, SLOW = {0.1: 100, 0.2: 0, 0.4: 0, INFINITE: 0}, {0.1: 60, 0.4: 40, INFINITE: 0}
GOOD = Counts(requests=900, errors=9)
SHIFTED = (Drift("age", (0.5, 0.5), (1000, 0)),)
"""Far from the training data."""


def release(
    variants: Mapping[str, Any] = CANARY, *, retrain: bool = False, **rules: Any
) -> ReleaseConfig:
    found: dict[str, Any] = {"template": "mlflow", "variants": variants}
    found["guard"] = {"steps": [10, 50], "step_seconds": 20, **rules}
    if retrain:
        found["retrain"] = {"arguments": ["--name", "iris"]}
    return ReleaseConfig.model_validate(found)


class Watched:
    """A release, and the guard's state, which goes through JSON after each look."""

    def __init__(self, config: ReleaseConfig, *, budget: int = 6) -> None:
        self.config, self.budget = config, budget
        self.live = {name: each.traffic for name, each in config.variants.items()}
        self.state = State()
        self.time = START
        self.all_ready = dict.fromkeys(config.variants, True)

    def look(self, **seen: Any) -> Decision:
        """Look once; `seen` are counts by variant, and other parts of `Observed`."""
        self.time += INTERVAL
        seconds = seen.pop("seconds", INTERVAL)
        parts = {
            key: seen.pop(key)
            for key in {"trouble", "drift", "agreement", "may_promote"} & seen.keys()
        }
        at = seen.pop("time", self.time)
        ready = self.all_ready | seen.pop("ready", {})
        found = Observed(at, seconds, counts=seen, ready=ready, **parts)
        decision, state = self.decide(found)
        self.state = State.read(json.loads(json.dumps(state.written())))
        return decision

    def decide(self, seen: Observed) -> tuple[Decision, State]:
        return guard.decide(
            "iris",
            self.config,
            self.live,
            self.state,
            seen,
            now=self.time,
            budget=self.budget,
        )

    def looks(self, count: int, **seen: Any) -> Decision:
        """Look so often at the same; return the last decision."""
        for _ in range(count):
            decision = self.look(**seen)
        return decision

    def until(self, act: str, most: int = 60, **seen: Any) -> tuple[Decision, int]:
        """Look until something is done; return after how many looks."""
        for number in range(1, most + 1):
            decision = self.look(**seen)
            if decision.act == act:
                return decision, number
        raise AssertionError(f"nothing but: {decision}")


def alarms(decision: Decision) -> set[str]:
    return {alarm.name for alarm in decision.alarms}


def candidate(errors: int = 1, requests: int = 100, **other: Any) -> Counts:
    return Counts(requests=requests, errors=errors, **other)


def started(config: ReleaseConfig | None = None, **other: Any) -> Watched:
    """A rollout that is well for 20 looks."""
    watched = Watched(config or release(steps=[]), **other)
    watched.looks(20, v1=GOOD, v2=candidate())
    return watched


def promoted(**rules: Any) -> Watched:
    """A candidate that the guard has just given all requests."""
    watched = started(release(**{"steps": [], **rules}))
    watched.live = {"v1": 0, "v2": 100}
    return watched


def test_25_failures_of_25_requests_are_enough_in_one_look() -> None:
    watched = Watched(release(steps=[]))
    watched.looks(20, v1=Counts(225, 1), v2=Counts(25))

    decision = watched.look(v1=Counts(225, 1), v2=Counts(25, 25))

    assert (decision.act, decision.variant) == ("roll_back", "v2")
    assert "25 of 25 requests failed, against 1 of 225 of v1" in decision.reason
    assert {*decision.evidence} >= {"Rule", "Evidence", "Threshold"}


def test_twice_the_errors_are_taken_back_within_5000_requests() -> None:
    decision, looks = started().until("roll_back", v1=GOOD, v2=candidate(2))

    assert decision.evidence["Rule"] == "errors"
    assert looks <= 50


def test_a_first_look_is_enough_for_a_candidate_that_never_answers() -> None:
    decision = Watched(release()).look(v1=Counts(225, 1), v2=Counts(25, 25))

    assert decision.act == "roll_back"


def test_slower_answers_are_taken_back() -> None:
    fast, slow = Counts(100, latency=FAST), Counts(100, latency=SLOW)
    watched = Watched(release(steps=[], errors={"above_stable": False}))
    watched.looks(20, v1=fast, v2=fast)

    decision, looks = watched.until("roll_back", v1=fast, v2=slow)

    assert looks <= 2
    assert "answers took more than 0.2 s" in decision.reason


def test_latency_within_the_rule_stays() -> None:
    bounds = [0.1 * 1.1**k for k in range(8)]

    def answers(middle: int) -> Counts:
        found = dict.fromkeys(bounds, 0)
        found |= {bounds[middle]: 94, bounds[middle + 1]: 4, bounds[middle + 2]: 2}
        return Counts(100, latency=found)

    watched = Watched(release(steps=[], latency={"above_stable": 0.1}))

    decision = watched.looks(100, v1=answers(2), v2=answers(3))

    assert decision.act == "hold"


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        ({}, {"rejects": 1}, {"rejects": 30}),
        ({"rejects": {"above_stable": False, "at_most": 0.1}}, {}, {"rejects": 40}),
        ({"quality": {}}, {"labelled": 50, "wrong": 5}, {"labelled": 50, "wrong": 25}),
        (
            {"quality": {"above_stable": False, "at_least": 0.9}},
            {"labelled": 50, "wrong": 2},
            {"labelled": 50, "wrong": 25},
        ),
        (
            {"latency": {"above_stable": None, "at_most": 0.2}},
            {"latency": FAST},
            {"latency": SLOW},
        ),
        ({"errors": {"above_stable": False, "at_most": 0.05}}, {}, {"errors": 20}),
    ],
    ids=[
        "rejects",
        "reject limit",
        "quality",
        "quality limit",
        "latency limit",
        "limit",
    ],
)
def test_every_rule_takes_a_candidate_back(
    rules: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]
) -> None:
    watched = Watched(release(steps=[], **rules))
    watched.looks(20, v1=Counts(100, **good), v2=Counts(100, **good))

    _, looks = watched.until("roll_back", v1=Counts(100, **good), v2=Counts(100, **bad))

    assert looks <= 15


def test_a_rule_that_is_off_takes_nothing_back() -> None:
    off = release(
        steps=[],
        errors={"at_most": None, "above_stable": False},
        rejects={"above_stable": False},
        latency={"above_stable": None},
    )

    bad = Counts(100, 100, 100, SLOW)

    assert Watched(off).looks(50, v1=GOOD, v2=bad).act == "hold"


def test_what_troubles_both_takes_nothing_back() -> None:
    watched = started()

    both = watched.looks(30, v1=Counts(900, 450), v2=candidate(51))

    assert both.act == "hold"
    assert alarms(both) == {"ReleaseFailing"}


def test_a_limit_sends_no_request_to_a_worse_variant() -> None:
    watched = started(release(steps=[], errors={"above_stable": False}))

    decision = watched.looks(30, v1=Counts(900, 630), v2=candidate(40))

    assert decision.act == "hold"
    assert alarms(decision) == {"ReleaseFailing"}
    assert decision.evidence["Rule"] == "errors <= 0.05"


def test_nobody_goes_back_to_a_variant_that_is_not_ready() -> None:
    watched = started()

    bad = watched.look(v1=GOOD, v2=candidate(100), ready={"v1": False})
    later = watched.look(v1=GOOD, v2=candidate(100))

    assert (bad.act, alarms(bad)) == ("hold", {"NowhereToGoBack"})
    assert later.act == "roll_back"


def test_pods_that_never_start_are_given_up_after_observed_time() -> None:
    watched = Watched(release(start_seconds=30))
    nothing: dict[str, Any] = {"v1": GOOD, "ready": {"v2": False}}
    watched.looks(3, **nothing)
    watched.looks(20, trouble="Prometheus does not answer")
    waiting = watched.looks(3, **nothing)

    decision = watched.look(**nothing)

    assert waiting.reason == "v2 is not ready"
    assert decision.act == "roll_back"
    assert decision.reason == "its pods did not start within 30 s"


def test_errors_count_while_pods_start() -> None:
    watched = started()

    decision = watched.look(v1=GOOD, v2=candidate(100), ready={"v2": False})

    assert decision.act == "roll_back"


def test_one_request_of_a_quiet_service_is_compared_with_those_before_it() -> None:
    watched = Watched(release(steps=[]))
    watched.looks(40, v1=Counts(20))

    def failure() -> Decision:
        watched.looks(4, v1=Counts(3))
        return watched.look(v2=Counts(1, 1), v1=Counts(3))

    decisions = [failure().act for _ in range(8)]

    assert decisions[0] == "hold"
    assert "roll_back" in decisions


def test_the_first_of_two_bad_candidates_goes_back_and_the_other_next() -> None:
    three = {
        "v1": version(1, role="stable", traffic=80),
        "v2": version(2, role="candidate", traffic=10),
        "v3": version(3, role="candidate", traffic=10),
    }
    watched = Watched(release(three))
    held = watched.looks(20, v1=GOOD, v2=candidate(), v3=candidate())

    first = watched.look(v1=GOOD, v2=candidate(99), v3=candidate(99))
    watched.live = {"v1": 90, "v2": 0, "v3": 10}
    second = watched.look(v1=GOOD, v3=candidate(99))

    assert held.reason == (
        "2 candidates have requests (v2, v3); promotion is up to people"
    )
    assert (first.act, first.variant) == ("roll_back", "v2")
    assert (second.act, second.variant) == ("roll_back", "v3")


def test_a_candidate_for_matching_requests_is_judged_and_never_promoted() -> None:
    match = {"header": "x-beta", "value": "yes"}
    beta = {**ALONE, "v2": version(2, role="candidate", traffic=0, match=match)}
    watched = Watched(release(beta))

    held = watched.looks(20, v1=GOOD, v2=candidate(requests=1000, errors=9))
    bad = watched.look(v1=GOOD, v2=candidate(100))

    assert held.reason == (
        "v2 gets only requests that match; promotion is up to people"
    )
    assert bad.act == "roll_back"


def test_a_candidate_without_requests_is_let_be() -> None:
    watched = Watched(release())
    watched.live = {"v1": 100, "v2": 0}

    decision = watched.looks(20, v1=GOOD, v2=candidate(100))

    assert (decision.act, decision.reason) == ("hold", "no candidate")


def test_a_step_takes_its_time_and_its_requests() -> None:
    watched = Watched(release(step_requests=300))

    decisions = [watched.look(v1=GOOD, v2=candidate()) for _ in range(4)]

    assert [each.act for each in decisions] == ["hold", "hold", "hold", "promote"]
    assert (decisions[-1].variant, decisions[-1].traffic) == ("v2", 50)
    assert decisions[0].reason == (
        "v2 has 10 per cent: observed 5 of 20 s, 99 of 300 answers"
    )


def test_too_few_requests_hold_for_ever() -> None:
    watched = Watched(release(step_requests=500))

    assert watched.looks(100, v1=Counts(30), v2=Counts(3)).act == "hold"


def test_no_step_is_taken_while_the_error_budget_is_used_up() -> None:
    watched = Watched(release(steps=[10, 50], step_seconds=20, step_requests=100))

    held = watched.looks(20, v1=GOOD, v2=candidate(), may_promote=False)
    then = watched.look(v1=GOOD, v2=candidate())

    assert (held.act, held.variant) == ("hold", "v2")
    assert "the error budget of the agreement is used up" in held.reason
    assert (then.act, then.traffic) == ("promote", 50)


def test_a_used_up_error_budget_stops_no_rollback() -> None:
    watched = Watched(release(steps=[10, 50], step_seconds=20))
    watched.looks(20, v1=GOOD, v2=candidate(), may_promote=False)

    decision = watched.look(v1=GOOD, v2=candidate(errors=60), may_promote=False)

    assert (decision.act, decision.variant) == ("roll_back", "v2")


def test_a_used_up_error_budget_does_not_end_the_watch_after_a_promotion() -> None:
    watched = promoted()

    calm = watched.look(v2=candidate(), may_promote=False)
    decision, _ = watched.until("roll_back", v2=candidate(90), may_promote=False)

    assert "watched for" in calm.reason
    assert decision.variant == "v2"


def test_after_the_last_step_come_all_requests() -> None:
    watched = Watched(release(step_requests=1))
    watched.live = {"v1": 50, "v2": 50}

    decision, _ = watched.until("promote", v1=GOOD, v2=candidate())

    assert decision.traffic == 100


def test_a_changed_weight_begins_the_step_anew_and_keeps_the_evidence() -> None:
    watched = Watched(release(step_requests=1, errors={"at_most": None}))
    watched.looks(3, v1=GOOD, v2=candidate(3))
    before = watched.state.trials["v2"]["trial"]["cases"]["errors"]

    watched.live = {"v1": 80, "v2": 20}
    decision = watched.look(v1=GOOD)
    after = watched.state.trials["v2"]["trial"]

    assert "observed 0 of 20 s" in decision.reason
    assert after["cases"]["errors"][:3] == before[:3]


def test_unobserved_time_does_not_pass() -> None:
    watched = Watched(release(step_requests=1))
    watched.looks(3, v1=GOOD, v2=candidate())
    watched.looks(100, trouble="Prometheus does not answer")

    decision = watched.look(seconds=4, v1=GOOD, v2=candidate())

    assert "observed 19 of 20 s" in decision.reason


def test_a_suspicion_is_waited_for() -> None:
    watched = started()
    suspicious = next(
        decision
        for _ in range(50)
        if "looks worse" in (decision := watched.look(v1=GOOD, v2=candidate(3))).reason
    )

    assert suspicious.act == "hold"
    assert suspicious.reason == "v2 looks worse (errors), waiting for certainty"


def test_a_candidate_whose_readiness_nobody_knows_gets_no_more() -> None:
    watched = Watched(release(step_requests=1, step_seconds=1))
    watched.all_ready = {"v1": True}

    silent = watched.look(v1=GOOD)
    answering = watched.look(v1=GOOD, v2=candidate())

    assert silent.reason == "v2 is not ready"
    assert answering.act == "promote"


def test_without_steps_people_promote() -> None:
    decision = Watched(release(steps=[])).looks(10, v1=GOOD, v2=candidate())

    assert decision.reason == (
        "nothing is proven against v2; promotion is up to people"
    )


def test_a_drifted_candidate_gets_no_more() -> None:
    watched = Watched(release(step_requests=1, drift={}))

    decision = watched.looks(20, v1=GOOD, v2=candidate(), drift={"v2": SHIFTED})

    assert decision.act == "hold"
    assert alarms(decision) == {"VariantDrifted"}
    assert "age by" in decision.reason


def test_a_candidate_that_disagreed_as_a_shadow_gets_no_more() -> None:
    shadow = {**ALONE, "v2": version(2, role="shadow", mirror=100)}
    watched = Watched(release(shadow, agreement={}))
    watched.looks(5, v1=GOOD, agreement={"v2": Agreement(100, 50)})
    watched.config = release(agreement={}, step_requests=1)
    watched.live = {"v1": 90, "v2": 10}

    decision = watched.looks(20, v1=GOOD, v2=candidate())

    assert decision.reason == ("v2 says something else than the variant it shadowed")
    assert alarms(decision) == {"ShadowDisagrees"}


@pytest.mark.parametrize("variants", [CANARY, PROMOTED], ids=["route", "settings"])
def test_a_fault_after_the_promotion_is_taken_back(variants: dict[str, Any]) -> None:
    watched = promoted()
    watched.config = release(variants, steps=[])
    well = watched.looks(20, v2=Counts(1000, 10))

    decision, looks = watched.until("roll_back", v2=Counts(1000, 300))

    assert well.reason == "v2 has all requests; watched for 100 of 3,600 s"
    assert (decision.variant, looks <= 5) == ("v2", True)
    assert "of v1 before" in decision.reason


def test_a_total_failure_after_the_promotion_is_taken_back_at_once() -> None:
    watched = promoted()
    watched.looks(20, v2=Counts(1000, 10))

    assert watched.look(v2=Counts(1000, 900)).act == "roll_back"


def test_slower_answers_after_the_promotion_are_taken_back() -> None:
    fast, slow = Counts(1000, latency=FAST), Counts(1000, latency=SLOW)
    watched = Watched(release(steps=[]))
    watched.looks(30, v1=fast, v2=fast)
    watched.live = {"v1": 0, "v2": 100}
    watched.looks(10, v2=fast)

    decision, looks = watched.until("roll_back", v2=slow)

    assert decision.evidence["Rule"] == "latency 0.95 +0.1"
    assert looks <= 6


def test_one_bad_look_alone_is_waited_for() -> None:
    watched = promoted()
    watched.looks(20, v2=Counts(1000, 10))

    decisions = [watched.look(v2=Counts(1000, k)).act for k in (300, 10, 10, 10)]

    assert decisions == ["hold"] * 4


def test_the_watch_ends_after_observed_time() -> None:
    watched = promoted(watch_seconds=60)
    watched.looks(11, v2=Counts(1000, 10))
    watched.looks(50, trouble="Prometheus does not answer")

    settled = watched.look(v2=Counts(1000, 10))
    later = watched.looks(30, v2=Counts(1000, 300))

    assert settled.reason == "settled: v2 has all requests"
    assert later.act == "hold"
    assert alarms(later) == {"ReleaseFailing"}


def test_the_commit_of_a_promotion_does_not_begin_the_watch_anew() -> None:
    watched = promoted(watch_seconds=60)
    watched.looks(8, v2=Counts(1000, 10))
    watched.config = release(PROMOTED, steps=[], watch_seconds=60)

    assert watched.looks(4, v2=Counts(1000, 10)).reason.startswith("settled")


def test_a_promotion_by_hand_is_held_against_earlier_looks() -> None:
    watched = Watched(release(ALONE))
    watched.looks(30, v1=Counts(1000, 5))
    watched.config = release(PROMOTED, errors={"at_most": None})
    watched.live, watched.all_ready = {"v2": 100}, {"v1": True, "v2": True}

    decision, looks = watched.until("roll_back", v2=Counts(1000, 50))

    assert (decision.variant, looks <= 10) == ("v2", True)


def test_without_earlier_looks_only_the_limits_count() -> None:
    watched = Watched(release(PROMOTED))

    worse = watched.looks(50, v2=Counts(1000, 40))
    decision, _ = watched.until("roll_back", v2=Counts(1000, 100))

    assert worse.act == "hold"
    assert decision.evidence["Rule"] == "errors <= 0.05"


def test_nobody_goes_back_to_a_previous_variant_that_was_no_better() -> None:
    watched = Watched(release(steps=[], errors={"above_stable": False}))
    watched.looks(30, v1=Counts(900, 270), v2=candidate(0))
    watched.live = {"v1": 0, "v2": 100}

    decision = watched.looks(50, v2=Counts(1000, 250))

    assert (decision.act, alarms(decision)) == ("hold", {"ReleaseFailing"})


def test_a_previous_variant_without_pods_is_nowhere_to_go_back() -> None:
    watched = promoted()

    decision = watched.looks(5, v2=Counts(1000, 1000), ready={"v1": False})

    assert alarms(decision) == {"NowhereToGoBack"}


def test_what_was_turned_back_is_not_turned_again() -> None:
    watched = promoted()
    watched.config = release(PROMOTED, steps=[])
    watched.until("roll_back", v2=Counts(1000, 900))
    watched.live = {"v1": 100, "v2": 0}

    decision = watched.look(v1=Counts(1000, 10), v2=Counts(3, 3))

    assert decision.act == "hold"
    assert decision.reason == "v2 gets no requests, and no candidate does"


@pytest.mark.parametrize("retrain", [True, False], ids=["retrain", "tell"])
def test_a_stable_variant_that_is_often_wrong_has_decayed(retrain: bool) -> None:
    watched = Watched(release(ALONE, retrain=retrain, quality={"at_least": 0.9}))
    well = watched.looks(20, v1=Counts(100, labelled=50, wrong=4))

    decision = watched.looks(20, v1=Counts(100, labelled=50, wrong=20))

    assert (well.reason, well.alarms, well.retrain) == ("no candidate", (), False)
    assert (decision.act, alarms(decision)) == ("hold", {"ModelDecayed"})
    assert decision.retrain is retrain


def test_a_stable_variant_with_other_inputs_has_decayed() -> None:
    watched = Watched(release(ALONE, retrain=True, drift={}))

    decision = watched.look(v1=GOOD, drift={"v1": SHIFTED})

    assert (decision.act, alarms(decision)) == ("hold", {"ModelDecayed"})
    assert decision.retrain


@pytest.mark.parametrize(
    ("good", "bad", "rules"),
    [
        ({"errors": 1}, {"errors": 20}, {}),
        ({"latency": FAST}, {"latency": SLOW}, {"latency": {"at_most": 0.2}}),
    ],
    ids=["errors", "latency"],
)
def test_a_failing_release_is_told_until_it_is_over(
    good: dict[str, Any], bad: dict[str, Any], rules: dict[str, Any]
) -> None:
    watched = Watched(release(ALONE, **rules))
    watched.looks(20, v1=Counts(100, **good))

    failing = watched.looks(200, v1=Counts(100, **bad))
    over = watched.looks(60, v1=Counts(100, **good))

    assert (failing.act, alarms(failing)) == ("hold", {"ReleaseFailing"})
    assert not over.alarms


def test_a_shadow_that_disagrees_is_told() -> None:
    shadow = {**ALONE, "v2": version(2, role="shadow", mirror=100)}
    watched = Watched(release(shadow, agreement={"at_least": 0.9}))
    agreeing = watched.looks(20, v1=GOOD, agreement={"v2": Agreement(50, 46)})

    decision = watched.looks(10, v1=GOOD, agreement={"v2": Agreement(50, 30)})

    assert not agreeing.alarms
    assert (decision.act, alarms(decision)) == ("hold", {"ShadowDisagrees"})


def test_without_measurements_the_guard_says_so_and_learns_nothing() -> None:
    watched = started()
    before = watched.state

    decision = watched.look(
        trouble="Prometheus does not answer", v1=GOOD, v2=candidate(100)
    )

    assert (decision.act, alarms(decision)) == ("hold", {"GuardBlind"})
    assert decision.reason == "no measurements: Prometheus does not answer"
    assert watched.state == before


def test_no_new_measurement_is_told_after_three_intervals() -> None:
    watched = started()

    decisions = [watched.look(seconds=0, v2=candidate(100)) for _ in range(4)]

    assert [alarms(each) for each in decisions] == [set(), set(), set(), {"GuardBlind"}]
    assert decisions[0].reason == "no new measurement"
    assert decisions[3].reason == "no measurements: nothing was measured for 20 s"


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -5.0, 0.0])
def test_time_that_is_no_time_is_not_counted(seconds: float) -> None:
    watched = started()
    before = watched.state

    decision = watched.look(seconds=seconds, v1=GOOD, v2=candidate(100))

    assert decision.reason == "no new measurement"
    assert watched.state == before


@pytest.mark.parametrize("back", [0.0, 5.0, 600.0])
def test_an_old_measurement_is_not_counted_twice(back: float) -> None:
    watched = started()
    before = watched.state

    decision = watched.look(time=watched.time - back, v1=GOOD, v2=candidate(100))

    assert decision.reason == "no new measurement"
    assert watched.state == before


def test_a_clock_that_was_put_back_is_believed_from_the_next_look_on() -> None:
    watched = started()
    watched.time -= 7200

    first = watched.look(v1=GOOD, v2=candidate(100))
    second = watched.look(v1=GOOD, v2=candidate(100))

    assert first.reason == "the clock was put back by 7,195 s"
    assert second.act == "roll_back"


def test_a_clock_that_jumps_ahead_gives_no_time() -> None:
    watched = Watched(release(step_requests=1))
    watched.look(v1=GOOD, v2=candidate())
    watched.time += 86400

    assert "observed 10 of 20 s" in watched.look(v1=GOOD, v2=candidate()).reason


def test_without_actions_left_the_guard_holds_and_tells() -> None:
    watched = started(budget=0)

    decision = watched.look(v1=GOOD, v2=candidate(100))

    assert (decision.act, alarms(decision)) == ("hold", {"GuardHasNoActionsLeft"})
    assert decision.reason.startswith(
        "no actions are left this hour; it would take v2 of iris back: errors: "
    )
    watched.budget = 1
    assert watched.look(v1=GOOD, v2=candidate(100)).act == "roll_back"


def test_advice_names_what_would_be_done() -> None:
    watched = Watched(release(mode="advise", step_requests=1))
    for _ in range(4):
        decision = watched.look(v1=GOOD, v2=candidate())

    assert (decision.act, alarms(decision)) == ("hold", {"GuardAdvises"})
    assert "it would give v2 of iris 50 per cent" in decision.reason


def test_a_guard_that_is_off_does_nothing() -> None:
    decision = Watched(release(mode="off")).looks(20, v1=GOOD, v2=candidate(100))

    assert (decision.act, decision.reason) == ("hold", "its rules switch the guard off")


@pytest.mark.parametrize(
    "trials",
    [
        {"v1": 3, "v2": None},
        {"v1": {"version": 0}, "v2": {"version": 1}},
        {"v2": {"version": 1, "model": "", "trial": {"step": "ten"}}},
        [],
    ],
    ids=["numbers", "older", "incomplete", "a list"],
)
def test_a_state_that_cannot_be_read_begins_anew(trials: Any) -> None:
    watched = Watched(release())
    watched.state = State(last=1.0, trials=trials)

    decision = watched.look(v1=GOOD, v2=candidate())

    assert "observed 5 of 20 s" in decision.reason


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damage_to_a_state_is_survived(data: st.DataObject) -> None:
    watched = DAMAGED
    written = json.loads(json.dumps(watched.state.written()))
    place: Any = written["trials"]
    while isinstance(place, dict | list) and place:
        keys = [*place] if isinstance(place, dict) else [*range(len(place))]
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()):
            break
        holder, place = place, place[key]
    if isinstance(place, dict | list) and place:
        holder = place
    junk = st.sampled_from([None, "x", -1, float("nan"), [], {}, [1], {"a": 1}])
    holder[key] = data.draw(junk)

    decision, state = guard.decide(
        "iris",
        watched.config,
        watched.live,
        State.read(written),
        Observed(
            watched.time + 5, 5, {"v1": GOOD, "v2": candidate()}, watched.all_ready
        ),
        now=watched.time + 5,
        budget=6,
    )

    assert decision.act in ("hold", "promote", "roll_back")
    assert "NaN" not in json.dumps(state.written())


def test_variants_that_are_gone_are_forgotten() -> None:
    watched = started()
    assert {*watched.state.trials} == {"v1", "v2"}

    watched.config, watched.live = release(ALONE), {"v1": 100}
    watched.look(v1=GOOD)

    assert {*watched.state.trials} == {"v1"}


def test_another_model_of_the_same_name_begins_with_nothing() -> None:
    watched = started(release())
    again = {**STABLE, "v2": version(3, role="candidate", traffic=10)}
    watched.config = release(again)

    assert "observed 5 of 20 s" in watched.look(v1=GOOD, v2=candidate()).reason


def test_a_relaxed_limit_does_not_inherit_evidence() -> None:
    strict = {"above_stable": False, "at_most": 0.01}
    watched = started(release(steps=[], errors=strict), budget=0)
    bad = watched.looks(10, v1=GOOD, v2=candidate(8))
    watched.config = release(steps=[], errors={**strict, "at_most": 0.1})

    assert "GuardHasNoActionsLeft" in alarms(bad)
    assert not watched.look(v1=GOOD, v2=candidate(8)).alarms


def test_a_look_does_not_change_the_state_it_was_given() -> None:
    watched = started()
    before = json.dumps(watched.state.written())
    seen = Observed(
        watched.time + 5, 5, {"v1": GOOD, "v2": candidate(100)}, watched.all_ready
    )

    first = watched.decide(seen)
    second = watched.decide(seen)

    assert first == second
    assert json.dumps(watched.state.written()) == before


def histogram(draw: np.random.Generator, answers: int) -> dict[float, int]:
    """Answers in the model server's buckets."""
    bounds = [round(0.001 * 1.1**k, 9) for k in range(98)]
    places = np.searchsorted(bounds, draw.lognormal(-2.4, 0.5, answers))
    counts = np.bincount(places, minlength=99).tolist()
    return dict(zip([*bounds, INFINITE], counts, strict=True))


def everything(draw: np.random.Generator) -> Watched:
    """A release with all rules, in the middle of a rollout."""
    watched = Watched(
        release(
            steps=[],
            errors={"at_most": 0.05},
            latency={"at_most": 2.0},
            rejects={"at_most": 0.1},
            quality={"at_least": 0.8},
            agreement={},
            drift={},
        )
    )
    for _ in range(30):
        counts = {
            name: Counts(n, n // 100, n // 50, histogram(draw, n), n // 10, n // 80)
            for name, n in (("v1", 900), ("v2", 100))
        }
        watched.look(**counts, agreement={"v2": Agreement(90, 88)})
    return watched


def test_the_state_stays_small() -> None:
    watched = everything(np.random.default_rng(1))

    assert len(json.dumps(watched.state.written())) < 4096


def test_a_thousand_releases_are_decided_within_a_second() -> None:
    draw = np.random.default_rng(2)
    watched = Watched(release())
    counts = {"v1": 900, "v2": 100}
    for _ in range(10):
        found = {
            k: Counts(n, n // 100, 0, histogram(draw, n)) for k, n in counts.items()
        }
        watched.look(**found)
    seen = Observed(watched.time + 5, 5, found, watched.all_ready)

    began = time.process_time()
    for _ in range(1000):
        watched.decide(seen)

    assert time.process_time() - began < 1


def rollout(
    draw: np.random.Generator, looks: int, alpha: float, *, group: int, unsteady: bool
) -> bool:
    """Whether a candidate like the stable variant is taken back."""
    watched = Watched(
        release(steps=[], false_alarm=alpha, latency={"above_stable": None})
    )

    def counts(requests: int, share: float) -> Counts:
        failures = group * draw.poisson(requests * share / group)
        return Counts(requests, min(requests, int(failures)))

    def shares() -> Iterable[float]:
        while True:
            yield min(0.5, 0.02 * (draw.lognormal(0, 0.5) if unsteady else 1))

    watched.live = {"v1": 100, "v2": 0}
    for _, share in zip(range(40), shares(), strict=False):
        watched.look(v1=counts(400, share))
    watched.live = {"v1": 80, "v2": 20}
    for _, share in zip(range(looks), shares(), strict=False):
        seen = {"v1": counts(320, share), "v2": counts(80, share)}
        if watched.look(**seen).act == "roll_back":
            return True
    return False


@pytest.mark.parametrize(
    ("group", "unsteady"),
    [(1, False), (1, True), (5, False)],
    ids=["steady", "unsteady", "in groups"],
)
def test_a_candidate_like_the_stable_variant_stays(group: int, unsteady: bool) -> None:
    draw = np.random.default_rng(3)

    taken_back = sum(
        rollout(draw, 20, 0.1, group=group, unsteady=unsteady) for _ in range(60)
    )

    assert taken_back <= 6


DAMAGED = started(release(errors={"at_most": 0.05}))


def test_the_labels_of_a_day_say_it_in_one_look() -> None:
    watched = Watched(release(ALONE, quality={"at_least": 0.9}))
    watched.looks(3, v1=GOOD)

    decision = watched.look(v1=Counts(900, 9, labelled=60, wrong=50))

    assert alarms(decision) == {"ModelDecayed"}
    assert "50 of 60 predictions were wrong" in decision.alarms[0].summary
