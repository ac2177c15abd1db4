"""Whether a candidate is given more requests now. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from labfactory.releases.decisions.observed import Alarm, Decision
from labfactory.releases.decisions.trial import Trial
from stacks.watching import GuardRules


def of(
    name: str,
    live: int,
    trial: Trial,
    rules: GuardRules,
    *,
    ready: bool,
    drift: str | None,
    disagrees: bool,
    may_promote: bool,
) -> Decision:
    """What is to be done about a candidate that nothing is proven against.

    `live` is per cent of the requests, `drift` says how far it has drifted, if it has,
    and `may_promote` whether the agreement leaves failures that it may cost.
    """
    if drift is not None:
        alarm = Alarm("VariantDrifted", f"{name} has {drift}", name)
        return Decision("hold", f"{name} has {drift}", variant=name, alarms=(alarm,))
    if reason := _unwelcome(name, live, trial, rules, ready, disagrees):
        return Decision("hold", reason, variant=name)
    if not may_promote:
        return Decision(
            "hold",
            f"{name} stays at {live} per cent: the error budget of the agreement is "
            "used up, or is not the guard's to spend",
            variant=name,
        )
    step = next((step for step in rules.steps if step > live), 100)
    return Decision(
        "promote",
        f"{name} is as good as the stable variant by {trial.answered:,.0f} answers in "
        f"{trial.seconds:,.0f} s at {live} per cent",
        variant=name,
        traffic=step,
        evidence={
            "Answers": f"{trial.answered:,.0f}",
            "Seconds": f"{trial.seconds:,.0f}",
        },
    )


def of_none(growing: Sequence[str], tried: Sequence[str]) -> Decision:
    """Hold when no candidate, or more than one, has a share of all requests."""
    if growing:
        names = ", ".join(growing)
        return Decision(
            "hold",
            f"{len(growing)} candidates have requests ({names}); promotion is up to "
            "people",
        )
    names = ", ".join(tried)
    return Decision(
        "hold",
        f"{names} gets only requests that match; promotion is up to people",
    )


def _unwelcome(
    name: str,
    live: int,
    trial: Trial,
    rules: GuardRules,
    ready: bool,
    disagrees: bool,
) -> str | None:
    """Why a candidate gets no more now, if it does not."""
    if not ready:
        return f"{name} is not ready"
    if rule := trial.suspicious(rules.false_alarm / 2):
        return f"{name} looks worse ({rule}), waiting for certainty"
    if disagrees:
        return f"{name} says something else than the variant it shadowed"
    if not rules.steps:
        return f"nothing is proven against {name}; promotion is up to people"
    seconds, answered = trial.seconds, trial.answered
    if seconds < rules.step_seconds or answered < rules.step_requests:
        return (
            f"{name} has {live} per cent: observed {seconds:,.0f} of "
            f"{rules.step_seconds:,} s, {answered:,.0f} of {rules.step_requests:,} "
            "answers"
        )
    return None
