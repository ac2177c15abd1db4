"""The rules about counts that a release has, and how each is asked of a look. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, inf
from typing import NamedTuple

from labfactory.releases.decisions.case import Case
from labfactory.releases.decisions.observed import Counts
from labfactory.releases.decisions.reference import (
    Bounds,
    Metric,
    Reference,
    Spread,
    counted,
    edge,
    slower,
)
from labfactory.releases.decisions.sequential import Sample, upper_bound
from stacks.watching import GuardRules

VERBS: dict[Metric, str] = {
    "errors": "requests failed",
    "latency": "answers took more than {:.3g} s",
    "rejects": "requests were refused by the model",
    "quality": "predictions were wrong",
}


class Rule(NamedTuple):
    """One way in which a variant may be worse than allowed."""

    metric: Metric
    name: str
    """What the rule is called in states and sentences; with its numbers, because
    evidence for one limit is none for another."""
    limit: float | None = None
    """Share of bad ones that is allowed; None for as many as the stable variant has."""


def rules_on(rules: GuardRules) -> tuple[Rule, ...]:
    """The rules about counts that a release has."""
    found = []
    if rules.errors.above_stable:
        found.append(Rule("errors", "errors"))
    if rules.latency.above_stable is not None:
        quantile, part = rules.latency.quantile, rules.latency.above_stable
        found.append(Rule("latency", f"latency {quantile:g} +{part:g}"))
    if rules.rejects.above_stable:
        found.append(Rule("rejects", "rejects"))
    if rules.quality and rules.quality.above_stable:
        found.append(Rule("quality", "quality"))
    return (*found, *limits_on(rules))


def limits_on(rules: GuardRules) -> tuple[Rule, ...]:
    """Those of them that do not ask what the stable variant does."""
    found = []
    if (most := rules.errors.at_most) is not None:
        found.append(Rule("errors", f"errors <= {most:g}", most))
    if (most := rules.latency.at_most) is not None:
        quantile = rules.latency.quantile
        found.append(Rule("latency", f"latency {quantile:g} <= {most:g}", 1 - quantile))
    if (most := rules.rejects.at_most) is not None:
        found.append(Rule("rejects", f"rejects <= {most:g}", most))
    if rules.quality and (least := rules.quality.at_least) is not None:
        found.append(Rule("quality", f"quality >= {least:g}", 1 - least))
    return tuple(found)


class Look(NamedTuple):
    """What one look tells of a variant, and what there is to compare it with."""

    counts: Counts
    beside: Counts | None
    """Of the stable variant at the same time; None when it gets no requests."""
    reference: Reference
    """What the stable variant showed before."""


class Found(NamedTuple):
    """A rule that is broken."""

    rule: Rule
    reason: str
    numbers: Mapping[str, str]
    stable_is_no_better: bool
    """Whether going back would not help: the stable variant breaks the rule too."""


class Question:
    """One rule, asked of one look."""

    def __init__(self, rule: Rule, look: Look, rules: GuardRules) -> None:
        """Count what the rule is about."""
        self.rule, self.look = rule, look
        beside = look.beside or Counts()
        self.bounds: Bounds | None = None

        def edges() -> set[float]:
            return {*look.reference.latency, *look.counts.latency, *beside.latency}

        if rule.metric == "latency" and rule.limit is None:
            bound = look.reference.slowest(rules.latency.quantile)
            if bound is not None:
                least = (1 + (rules.latency.above_stable or 0.0)) * bound
                self.bounds = Bounds(bound, edge(edges(), least))
        elif rule.metric == "latency":
            bound = edge(edges(), rules.latency.at_most or inf)
            self.bounds = Bounds(bound, bound)
        bounds = self.bounds or Bounds(inf, inf)
        self.a = counted(rule.metric, look.counts, bounds.candidate)
        self.b = counted(rule.metric, beside, bounds.stable)

    def put(self, case: Case, need: float) -> None:
        """Let the case take in the look."""
        metric, reference = self.rule.metric, self.look.reference
        if metric == "latency" and not self.bounds:
            return
        sudden = metric == "errors"
        spread = reference.spreads.get(metric, Spread())
        if self.rule.limit is not None and metric == "quality":
            # Labels come when somebody posts them: those of a day in one look, which
            # says as much of a day as many looks would.
            case.alone(self.a, self.b, self.rule.limit, 1.0, need, at_once=True)
        elif self.rule.limit is not None:
            factor = spread.factor()
            case.alone(self.a, self.b, self.rule.limit, factor, need, sudden=sudden)
        elif self.look.beside is not None:
            share = reference.share(metric, self.bounds)
            case.beside(self.a, self.b, spread, share, need)
        elif self._before()[0]:
            factor = spread.factor()
            case.alone(self.a, (0, 0), self._most(), factor, need, sudden=sudden)

    def _before(self) -> Sample:
        return self.look.reference.sample(self.rule.metric, self.bounds)

    def _most(self) -> float:
        """What the stable variant's share was at most, when it had requests."""
        n, k = self._before()
        factor = self.look.reference.dispersion(self.rule.metric)
        return upper_bound(n / factor, k / factor)

    def found(self, case: Case, need: float, name: str) -> Found:
        """Why the rule is broken, in numbers."""
        rule, (n, k, n_b, k_b) = self.rule, case.since
        bounds = self.bounds or Bounds(inf, inf)
        verb = VERBS[rule.metric].format(bounds.candidate)
        shown = f"{k:,.0f} of {n:,.0f} {verb}"
        if rule.limit is not None:
            beside = f"where {100 * rule.limit:.3g} % may"
        elif self.look.beside is not None:
            beside = f"against {k_b:,.0f} of {n_b:,.0f} of {name}"
            if rule.metric == "latency":
                beside += f" that took more than {bounds.stable:.3g} s"
        else:
            beside = f"against {100 * self._most():.3g} % at most of {name} before"
        said, threshold = f"{exp(case.evidence):.2g}", f"{exp(need):.2g}"
        return Found(
            rule=rule,
            reason=f"{rule.metric}: {shown}, {beside}; evidence {said} against a "
            f"threshold of {threshold}",
            numbers={
                "Rule": rule.name,
                "Candidate": shown,
                "Beside": beside,
                "Evidence": said,
                "Threshold": threshold,
            },
            stable_is_no_better=self._is_no_better(case),
        )

    def _is_no_better(self, case: Case) -> bool:
        limit, (n, k, n_b, k_b) = self.rule.limit, case.since
        if limit is None:
            return False
        if not n_b:
            latency = self.look.reference.latency
            bound = self.bounds.stable if self.bounds else inf
            of_latency = self.rule.metric == "latency"
            n_b, k_b = slower(latency, bound) if of_latency else self._before()
        if not n_b:
            return False
        here, there = k / max(1.0, n), k_b / n_b
        return there >= here or (there > limit and 2 * there > here)
