"""What is to be done about a release: promote a step, hold, or roll back. Pure.

Each candidate has a case against it for each rule, whose evidence is an e-process
(`sequential`, with the sources): of the two-sample kind while the stable variant
answers at the same time, of the one-sample kind for absolute limits. A variant is taken
back when the evidence for one rule passes m / alpha, of m rules (Bonferroni, by Ville's
inequality at all looks together), where alpha is one half of `false_alarm` for the
rollout and the other half for the watch that follows. So a variant that is as good as
the stable one is taken back with a chance of at most `false_alarm`, however often and
however long it is looked at.

While a variant has all requests, nothing is measured beside it: it is held against what
the old stable one showed last, taken at the upper end of what it may have been, and
several looks have to agree. That bound holds as long as the world stays as it was.

Time that was not observed does not pass, and without a measurement nothing is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from labfactory.releases.decisions import kept as memory
from labfactory.releases.decisions.observed import Alarm, Decision, Observed, State
from labfactory.releases.decisions.phases import Release
from stacks.schema import ReleaseConfig
from stacks.watching import GuardRules

BACK = 900.0
"""Seconds: a measurement that is older than the last one by more means that the clock
was put back."""
NOTHING_NEW = "no new measurement"
"""Reason of a look that shows nothing."""
INTERVALS = 3
"""Without a measurement for so many the guard is blind."""


def decide(
    release: str,
    settings: ReleaseConfig,
    live: Mapping[str, int],
    state: State,
    seen: Observed,
    *,
    now: float,
    budget: int,
) -> tuple[Decision, State]:
    """Take in one look at `release`; return the decision and what to remember.

    `live` is per cent of the requests by variant as the route has it, `now` a Unix
    time in seconds, `budget` how many actions are left this hour.
    """
    rules = settings.guard
    if rules.mode == "off":
        return Decision("hold", "its rules switch the guard off"), state
    if seen.trouble:
        return _blind(release, seen.trouble), state
    back = state.last - seen.time
    if not 0 < seen.seconds < inf or not (back < 0 or back > BACK):
        silent = now - state.heard
        if 0 < state.interval * INTERVALS < silent:
            return _blind(release, f"nothing was measured for {silent:,.0f} s"), state
        return Decision("hold", NOTHING_NEW), state
    heard = replace(state, last=seen.time, heard=now, interval=seen.seconds)
    if back > BACK:
        return Decision("hold", f"the clock was put back by {back:,.0f} s"), heard
    kept = memory.read(state, settings)
    decision = Release(settings, live, seen, kept).decided()
    return (
        _allowed(decision, release, rules, budget),
        replace(heard, trials=memory.written(kept)),
    )


def _blind(release: str, why: str) -> Decision:
    alarm = Alarm("GuardBlind", f"{release} is not watched: {why}")
    return Decision("hold", f"no measurements: {why}", alarms=(alarm,))


def _allowed(
    decision: Decision, release: str, rules: GuardRules, budget: int
) -> Decision:
    """The decision, or to hold when the guard may not act."""
    if decision.act == "hold" or (rules.mode == "act" and budget > 0):
        return decision
    what = f"take {decision.variant} of {release} back"
    if decision.act == "promote":
        what = f"give {decision.variant} of {release} {decision.traffic} per cent"
    name, why = "GuardHasNoActionsLeft", "no actions are left this hour"
    if rules.mode == "advise":
        name, why = "GuardAdvises", "the rules let the guard only advise"
    alarm = Alarm(name, f"it would {what}: {decision.reason}", decision.variant)
    return Decision(
        "hold",
        f"{why}; it would {what}: {decision.reason}",
        variant=decision.variant,
        evidence=decision.evidence,
        alarms=(*decision.alarms, alarm),
    )
