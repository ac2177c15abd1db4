"""The guard's engine in a closed loop with traces: what becomes of each release."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from labfactory.bench import guard_rules
from labfactory.errors import LabError
from labfactory.releases.decisions.observed import Observed
from labfactory.releases.simulation import simulate_compare, trace_files
from labfactory.releases.simulation.scenarios import (
    BUILT_IN,
    after_promotion,
    both_fail,
    clock_jump,
    counter_reset,
    flapping,
    gaps,
    healthy,
    latency_creep,
    metrics_outage,
    never_ready,
    noisy,
    slow_burn,
    slower,
    stable_fails,
    step_fault,
    times_errors,
    together,
    total_failure,
    traffic_drop,
    wrong,
)
from labfactory.releases.simulation.simulate import Log, show, simulate
from labfactory.releases.simulation.simulate_compare import Row, compare, rollout
from labfactory.releases.simulation.simulate_shown import clock
from labfactory.releases.simulation.simulate_sources import EXAMPLE, variants
from labfactory.releases.simulation.traces import NORMAL, Made, Scenario, Service
from stacks.schema import ReleaseConfig

GOLDEN = Path(__file__).parent / "golden" / "simulate"
INTERVAL = 5.0
BUDGET = 6
WATCH = 300
FAULT = 60 // 5
"""Looks before most faults begin."""


def settings(**rules: Any) -> ReleaseConfig:
    """The example's, with a shorter watch, and other rules."""
    found = EXAMPLE.model_dump(mode="json", exclude_defaults=True)
    found["guard"] |= {"watch_seconds": WATCH, **rules}
    return ReleaseConfig.model_validate_json(json.dumps(found))


@dataclass(frozen=True)
class Case:
    """A trace, and what has to become of the release."""

    name: str
    scenario: Callable[[], Scenario]
    ended: Literal["settled", "rolled back", "trace over"]
    within: int | None = None
    """Looks after which it has ended, at most."""
    weight: int | None = None
    """Per cent that the candidate has at the end."""
    most: int = 100
    """Per cent that the candidate had at any time, at most."""
    seeds: int = 1
    service: Service = NORMAL
    rules: Mapping[str, Any] = field(default_factory=dict)
    looks: int = 160


LABELLED = Service(wrong=0.1, label_after=24)
CASES = (
    Case("healthy", healthy, "settled", weight=100, seeds=6),
    Case("noisy", noisy, "settled", weight=100, seeds=8),
    Case("violent", partial(noisy, swing=0.8, bursts=0.05), "settled", seeds=3),
    Case("slower-within-tolerance", partial(slower, factor=1.05), "settled", seeds=3),
    Case("gaps", gaps, "settled", seeds=2),
    Case("counter-reset", counter_reset, "settled", seeds=2),
    Case("clock-back", clock_jump, "settled", seeds=2),
    Case("clock-ahead", partial(clock_jump, seconds=86_400), "settled", seeds=2),
    Case("labels-agree", partial(wrong, share=0.1), "settled", seeds=2,
         service=LABELLED, rules={"quality": {}}),
    Case("outage-that-ends", partial(metrics_outage, until=180), "settled", seeds=2),
    Case("total-failure", total_failure, "rolled back", FAULT + 2, 0, 10, seeds=5),
    Case("half-fails", partial(step_fault, errors=0.5), "rolled back", FAULT + 3, 0,
         10, seeds=3),
    Case("step-fault", step_fault, "rolled back", FAULT + 4, 0, 10, seeds=4),
    Case("step-fault-of-a-tenth", partial(step_fault, errors=0.1), "rolled back",
         FAULT + 12, 0, 10, seeds=3),
    Case("fails-at-once", partial(total_failure, after=0), "rolled back", 2, 0, 10,
         seeds=3),
    Case("fails-late", partial(step_fault, after=200), "rolled back", 40 + 4, 0, 25,
         seeds=2),
    Case("error-doubling", times_errors, "rolled back", seeds=4),
    Case("errors-threefold", partial(times_errors, factor=3), "rolled back", 60, 0, 25,
         seeds=3),
    Case("noisy-and-failing", lambda: together(noisy(), step_fault(errors=0.2)),
         "rolled back", FAULT + 12, 0, 10, seeds=3),
    Case("latency-30", slower, "rolled back", 60, 0, 25, seeds=4),
    Case("latency-50", partial(slower, factor=1.5), "rolled back", 24, 0, 10, seeds=3),
    Case("latency-double", partial(slower, factor=2), "rolled back", 12, 0, 10,
         seeds=2),
    Case("slow-burn", slow_burn, "rolled back", 72, 0, 50, seeds=3),
    Case("latency-creep", latency_creep, "rolled back", 72, 0, 50, seeds=3),
    Case("flapping", flapping, "rolled back", 12, 0, 10, seeds=3),
    Case("labels-come-late", wrong, "rolled back", 36, 0, 25, seeds=3,
         service=LABELLED, rules={"quality": {}}),
    Case("after-promotion", after_promotion, "rolled back", 96, 0, seeds=4),
    Case("after-promotion-totally", partial(after_promotion, errors=1.0),
         "rolled back", 90, 0, seeds=2),
    Case("never-ready", never_ready, "rolled back", 2, 0, 10, seeds=2),
    Case("never-ready-and-never-asked", partial(never_ready, counted=False),
         "rolled back", 36 + 1, 0, 10, seeds=2),
    Case("stable-fails", stable_fails, "settled", seeds=2),
    Case("both-fail", both_fail, "trace over", weight=10, most=10, seeds=3),
    Case("failing-in-an-outage", partial(metrics_outage, until=180, errors=0.3),
         "rolled back", 36 + 4, 0, 10, seeds=2),
    Case("traffic-drop", traffic_drop, "trace over", weight=10, most=10, seeds=2),
    Case("traffic-drop-at-once", partial(traffic_drop, after=10), "trace over",
         weight=10, most=10, seeds=2),
    Case("traffic-nearly-gone", partial(traffic_drop, after=10, left=0.001),
         "trace over", weight=10, most=10),
    Case("low-traffic", healthy, "trace over", weight=10, most=10, seeds=2,
         service=Service(per_second=0.5)),
    Case("low-traffic-that-fails", partial(total_failure, after=0), "rolled back",
         100, 0, 10, seeds=2, service=Service(per_second=2.0)),
    Case("outage", metrics_outage, "trace over", weight=10, most=10, seeds=2),
    Case("failing-unseen", partial(metrics_outage, errors=1.0), "trace over",
         weight=10, most=10),
    Case("advice-alone", step_fault, "trace over", weight=10, most=10,
         rules={"mode": "advise"}, looks=60),
    Case("off", step_fault, "trace over", weight=10, most=10, rules={"mode": "off"},
         looks=60),
)  # fmt: skip
RUNS = [(case, seed) for case in CASES for seed in range(case.seeds)]


def simulated(case: Case, seed: int, *, budget: int = BUDGET) -> Log:
    trace = Made(case.scenario(), seed, case.looks, INTERVAL, service=case.service)
    return simulate(
        "example", settings(**case.rules), trace, interval=INTERVAL, budget=budget
    )


@pytest.mark.parametrize(
    ("case", "seed"), RUNS, ids=[f"{case.name}-{seed}" for case, seed in RUNS]
)
def test_what_becomes_of_a_release(case: Case, seed: int) -> None:
    log = simulated(case, seed)

    told = [(line.after, line.decision.act, line.decision.reason) for line in log.lines]
    assert log.ended == case.ended, told
    if case.within is not None:
        assert log.looks <= case.within, told
    if case.weight is not None:
        assert log.live["v2"] == case.weight, told
    assert max([10, *(line.live["v2"] for line in log.lines)]) <= case.most, told


def test_there_are_traces_enough() -> None:
    assert len({case.name for case in CASES}) >= 40
    assert len(RUNS) >= 60


def test_a_late_fault_is_noticed_in_two_looks_wherever_the_candidate_is() -> None:
    for at in (100, 220, 340):
        case = Case("late", partial(step_fault, after=at), "rolled back")

        assert simulated(case, 1).looks <= at / INTERVAL + 2


def test_no_more_is_done_than_the_budget_allows() -> None:
    case = Case("healthy", healthy, "trace over", looks=100)

    log = simulated(case, 0, budget=2)

    acts = [line.decision.act for line in log.lines]
    assert acts.count("promote") == 2
    assert log.live["v2"] == 50
    assert "no actions are left this hour" in log.lines[-1].decision.reason


def test_after_a_promotion_the_stable_variant_is_watched() -> None:
    roles = settings().model_dump(mode="json", exclude_defaults=True)
    roles["variants"]["v1"] |= {"role": "previous", "traffic": 0}
    roles["variants"]["v2"] |= {"role": "stable", "traffic": 100}
    promoted = ReleaseConfig.model_validate_json(json.dumps(roles))

    pair = variants("example", promoted)
    trace = Made(total_failure(), 1, 100, INTERVAL, pair=pair)
    log = simulate("example", promoted, trace, interval=INTERVAL, budget=BUDGET)

    assert pair == ("v1", "v2")
    assert log.ended == "rolled back"
    assert log.live == {"v1": 100, "v2": 0}


def test_a_release_without_a_candidate_has_nothing_to_decide() -> None:
    roles = settings().model_dump(mode="json", exclude_defaults=True)
    del roles["variants"]["v2"]
    roles["variants"]["v1"]["traffic"] = 100

    with pytest.raises(LabError, match="has no candidate to decide about"):
        variants("example", ReleaseConfig.model_validate_json(json.dumps(roles)))


def shown(capsys: pytest.CaptureFixture[str], trace: str, **more: Any) -> str:
    chosen = {"seed": 1, "json": False, "table": False, **more}
    show(None, "example", trace=trace, **chosen)
    return capsys.readouterr().out


def same_as_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if not path.exists():
        path.write_text(text)
        pytest.fail(f"wrote {name}; read it, and run the test again")
    assert text == path.read_text()


@pytest.mark.parametrize("name", ["step-fault", "flapping", "metrics-outage"])
def test_the_log_is_the_one_reviewed_to_the_byte(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = shown(capsys, name)

    same_as_golden(f"{name}.txt", log)
    assert shown(capsys, name) == log


def test_there_is_nothing_to_record_from_without_a_lab(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(LabError, match="name a lab with --lab"):
        shown(capsys, "today.jsonl", record=1)


def test_the_log_as_json_has_a_decision_in_each_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = shown(capsys, "latency-30", json=True)

    same_as_golden("latency-30.jsonl", told)
    lines = [json.loads(line) for line in told.splitlines()]
    assert lines[-2]["act"] == "roll_back"
    assert lines[-2]["evidence"]
    assert lines[-1]["ended"] == "rolled back"


def test_another_seed_is_another_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "slow-burn") != shown(capsys, "slow-burn", seed=2)


def test_a_recorded_trace_is_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = BUILT_IN["step-fault"]
    made = Made(known.scenario(), 1, 60, INTERVAL)
    seen = [made.look(number, {"v1": 90, "v2": 10}) for number in range(60)]
    trace_files.write(tmp_path / "trace", [look for look in seen if look])

    replayed = shown(capsys, str(tmp_path / "trace"))

    assert replayed == shown(capsys, "step-fault")


def test_a_trace_that_is_not_there_is_told() -> None:
    with pytest.raises(LabError, match="no such file, and no made trace of that name"):
        show(None, "example", trace="step-fualt", seed=1, json=False, table=False)


def test_a_trace_of_another_release_is_told(tmp_path: Path) -> None:
    trace_files.write(tmp_path / "trace", [Observed(1, 5, ready={"blue": True})])

    trace = str(tmp_path / "trace")
    with pytest.raises(LabError, match="has the variants blue, and release 'example'"):
        show(None, "example", trace=trace, seed=1, json=False, table=False)


def test_time_is_told_in_hours_minutes_and_seconds() -> None:
    assert [clock(seconds) for seconds in (5, 65, 3_725)] == [
        "0:00:05",
        "0:01:05",
        "1:02:05",
    ]


def test_delays_are_quantiles_of_what_was_noticed() -> None:
    row = Row("guard", 10, 0.0, 5, 0.2, (10.0, 20.0, 30.0, 40.0))

    assert row.delay(0.5) == 30
    assert row.delay(0.95) == 40
    assert Row("guard", 10, 0.0, 5, 1.0, ()).delay(0.5) is None


@pytest.mark.parametrize("regression", [0, 1], ids=["errors", "latency"])
def test_the_guard_notices_what_documented_rules_do_not(regression: int) -> None:
    guard = rollout("guard", regression, 5)

    assert guard.taken_back
    assert guard.delay < 900
    assert not rollout("Argo Rollouts", regression, 5).taken_back
    assert not rollout("guard", None, 5).taken_back


def test_the_comparison_is_the_same_however_many_work_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulate_compare, "TUNED", {})

    one, two = (compare(2, 1, workers=workers) for workers in (1, 2))

    assert one == two
    assert [row.rule for row in one] == ["guard", "Flagger", "Argo Rollouts"]
    assert (one[0].healthy, one[0].regressions) == (2, 2)


def test_the_table_names_every_rule(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Row("guard", 10, 0.001, 5, 0.2, (10.0, 20.0, 30.0, 40.0))
    none = Row("Flagger", 10, 0.0, 5, 1.0, ())
    monkeypatch.setattr(simulate_compare, "compare", lambda runs, seed: [row, none])

    show(None, "example", trace="", seed=1, json=False, table=True)

    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "rule",
        "guard",
        "Flagger",
    ]
    show(None, "example", trace="", seed=1, json=True, table=True)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["missed"] for each in told] == [0.2, 1.0]
    assert [each["delay_p95"] for each in told] == [40.0, None]


def test_figures_are_beside_the_documented_rules_and_the_delay_beside_the_tuned() -> (
    None
):
    rows = [
        Row("guard", 10_000, 0.0, 4_000, 0.0, (100.0, 200.0)),
        Row("Flagger", 10_000, 0.01, 4_000, 0.5, (50.0,)),
        Row("Argo Rollouts", 10_000, 0.0, 4_000, 1.0, ()),
        Row("Flagger, tuned", 10_000, 0.0, 4_000, 0.0, (800.0,)),
    ]

    found = guard_rules.figures(rows)

    assert [figure.met for figure in found] == [True] * 5
    assert [figure.floor for figure in found] == [0.0, None, 50.0, None, 800.0]
    assert "Flagger, tuned: 0.00 %" in found[2].note


def test_a_guard_that_is_no_better_misses_the_aims() -> None:
    rows = [
        Row("guard", 1_000, 0.002, 1_000, 0.5, (900.0,)),
        Row("Flagger", 1_000, 0.001, 1_000, 0.5, ()),
        Row("Flagger, tuned", 1_000, 0.0, 1_000, 0.0, (800.0,)),
    ]

    assert [figure.met for figure in guard_rules.figures(rows)] == [False] * 5
