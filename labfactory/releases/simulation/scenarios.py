"""What may happen to a release while a candidate grows, for the simulator.

Each function returns a scenario of `traces`: the change that it
makes to each look. Times are seconds since the beginning of the trace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from labfactory.releases.simulation.traces import NORMAL, Scenario, Scene, Service

UNTIL_THE_END = float("inf")


def healthy() -> Scenario:
    """Nothing happens."""
    return lambda scene: None


def step_fault(*, after: float = 60, errors: float = 0.3) -> Scenario:
    """The candidate begins to fail."""

    def change(scene: Scene) -> None:
        if scene.at > after:
            scene.candidate.errors = errors

    return change


def total_failure(*, after: float = 60) -> Scenario:
    """The candidate begins to fail every request."""
    return step_fault(after=after, errors=1.0)


def times_errors(*, factor: float = 2.0, after: float = 0) -> Scenario:
    """The candidate fails so many times as often as is normal."""

    def change(scene: Scene) -> None:
        if scene.at > after:
            scene.candidate.errors *= factor

    return change


def slower(*, factor: float = 1.3, after: float = 0) -> Scenario:
    """Each of the candidate's answers takes so many times as long."""

    def change(scene: Scene) -> None:
        if scene.at > after:
            scene.candidate.slower = factor

    return change


def slow_burn(*, per_minute: float = 0.01) -> Scenario:
    """The candidate fails a little more often with every minute."""

    def change(scene: Scene) -> None:
        scene.candidate.errors += per_minute * scene.at / 60

    return change


def latency_creep(*, per_minute: float = 0.1) -> Scenario:
    """The candidate answers a little slower with every minute."""

    def change(scene: Scene) -> None:
        scene.candidate.slower += per_minute * scene.at / 60

    return change


def traffic_drop(*, after: float = 60, left: float = 0.0) -> Scenario:
    """Callers stay away from both variants."""

    def change(scene: Scene) -> None:
        if scene.at > after:
            scene.per_second *= left

    return change


def flapping(*, period: float = 60, errors: float = 0.2) -> Scenario:
    """The candidate is well for half of each period, and fails in the other half."""

    def change(scene: Scene) -> None:
        if scene.at % period > period / 2:
            scene.candidate.errors = errors

    return change


def noisy(
    *, swing: float = 0.4, bursts: float = 0.02, burst: float = 8.0, sway: float = 0.05
) -> Scenario:
    """What both depend on is unsteady, for both alike.

    `swing` and `sway` are the standard deviations of the logarithm of errors and
    latency; in a share `bursts` of the looks there are `burst` times as many errors,
    and answers take half as long again.
    """

    def change(scene: Scene) -> None:
        errors = float(scene.random.lognormal(0, swing))
        slow = float(scene.random.lognormal(0, sway))
        if scene.random.random() < bursts:
            errors, slow = errors * burst, slow * 1.5
        for condition in scene.both:
            condition.errors = min(1.0, condition.errors * errors)
            condition.slower *= slow

    return change


def wrong(*, share: float = 0.4) -> Scenario:
    """More of the candidate's predictions turn out wrong."""

    def change(scene: Scene) -> None:
        scene.candidate.wrong = share

    return change


def metrics_outage(
    *, after: float = 60, until: float = UNTIL_THE_END, errors: float | None = None
) -> Scenario:
    """Prometheus does not answer for a while; the candidate may fail meanwhile."""

    def change(scene: Scene) -> None:
        if scene.at > after and errors is not None:
            scene.candidate.errors = errors
        if after < scene.at <= until:
            scene.trouble = "Prometheus does not answer"

    return change


def gaps(*, period: float = 30) -> Scenario:
    """At the end of each period, a look finds nothing about the candidate."""

    def change(scene: Scene) -> None:
        if not scene.at % period:
            scene.candidate.seen = 0

    return change


def counter_reset(*, at: float = 60, left: float = 0.3) -> Scenario:
    """The candidate's server restarts: a part of one look's requests is not counted."""

    def change(scene: Scene) -> None:
        if scene.at == at:
            scene.candidate.seen = left

    return change


def clock_jump(*, after: float = 60, seconds: float = -3600) -> Scenario:
    """The clock of the measurements is set."""

    def change(scene: Scene) -> None:
        if scene.at > after:
            scene.jump = seconds

    return change


def both_fail(*, after: float = 60, errors: float = 0.5) -> Scenario:
    """What both depend on breaks."""

    def change(scene: Scene) -> None:
        if scene.at > after:
            for condition in scene.both:
                condition.errors = errors

    return change


def stable_fails(*, after: float = 60, errors: float = 0.3) -> Scenario:
    """The stable variant begins to fail."""

    def change(scene: Scene) -> None:
        if scene.at > after:
            scene.stable.errors = errors

    return change


def never_ready(*, counted: bool = True) -> Scenario:
    """The candidate's pods never start; its requests get no answer, if any come."""

    def change(scene: Scene) -> None:
        scene.candidate.ready = False
        scene.candidate.errors = 1.0
        scene.candidate.seen = float(counted)

    return change


def after_promotion(*, after: float = 60, errors: float = 0.3) -> Scenario:
    """The candidate begins to fail when it has had all requests for a while."""

    def change(scene: Scene) -> None:
        if scene.full > after:
            scene.candidate.errors = errors

    return change


def together(*scenarios: Scenario) -> Scenario:
    """All of them happen."""

    def change(scene: Scene) -> None:
        for scenario in scenarios:
            scenario(scene)

    return change


@dataclass(frozen=True)
class Named:
    """A trace that `lab simulate` knows by name."""

    scenario: Callable[[], Scenario]
    service: Service = NORMAL


BUILT_IN = {
    "healthy": Named(healthy),
    "step-fault": Named(step_fault),
    "total-failure": Named(total_failure),
    "error-doubling": Named(times_errors),
    "latency-30": Named(slower),
    "slow-burn": Named(slow_burn),
    "latency-creep": Named(latency_creep),
    "traffic-drop": Named(traffic_drop),
    "flapping": Named(flapping),
    "noisy-but-healthy": Named(noisy),
    "low-traffic": Named(healthy, Service(per_second=0.5)),
    "label-delay": Named(wrong, Service(wrong=0.1, label_after=60)),
    "metrics-outage": Named(metrics_outage),
    "gaps": Named(gaps),
    "counter-reset": Named(counter_reset),
    "clock-jump": Named(clock_jump),
    "both-fail": Named(both_fail),
    "stable-fails": Named(stable_fails),
    "never-ready": Named(never_ready),
    "after-promotion": Named(after_promotion),
}
"""The made traces, by name."""
