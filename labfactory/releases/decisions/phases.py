"""A release on its way: rollout, watch after a promotion, steady. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from labfactory.releases.decisions import disagreement, promotion
from labfactory.releases.decisions.broken_rules import Found, Look, limits_on, rules_on
from labfactory.releases.decisions.drift import drifted
from labfactory.releases.decisions.kept import Kept
from labfactory.releases.decisions.observed import Alarm, Counts, Decision, Observed
from labfactory.releases.decisions.reference import Reference
from labfactory.releases.decisions.trial import Trial
from stacks.schema import ReleaseConfig


class Release:
    """One look at a release; `kept` is changed by it."""

    def __init__(
        self,
        settings: ReleaseConfig,
        live: Mapping[str, int],
        seen: Observed,
        kept: Mapping[str, Kept],
    ) -> None:
        """`live` is per cent of the requests by variant."""
        self.settings, self.rules = settings, settings.guard
        self.live, self.seen, self.kept = live, seen, kept

    def decided(self) -> Decision:
        """What is to be done."""
        self._forget()
        disagreeing = disagreement.listen(self.kept, self.settings, self.seen.agreement)
        decision = self._decided({alarm.variant for alarm in disagreeing})
        return replace(decision, alarms=(*decision.alarms, *disagreeing))

    def _decided(self, disagreeing: set[str | None]) -> Decision:
        stable = self.settings.stable()
        candidates = self._in_role("candidate")
        for name in candidates:
            if self.live.get(name) == 100:
                return self._watched(name, stable)
        tried = [
            name
            for name in candidates
            if self.live.get(name, 0) > 0 or self.settings.variants[name].match
        ]
        if tried:
            return self._rolled_out(tried, stable, disagreeing)
        if not self.live.get(stable, 0):
            return Decision("hold", f"{stable} gets no requests, and no candidate does")
        for name in self._in_role("previous"):
            return self._watched(stable, name)
        return self._steady(stable)

    def _rolled_out(
        self, tried: Sequence[str], stable: str, disagreeing: set[str | None]
    ) -> Decision:
        taking = self.live.get(stable, 0) > 0
        look = Look(
            Counts(), self._counts(stable) if taking else None, self._of(stable)
        )
        judged = [
            self._judged(name, stable, look._replace(counts=self._counts(name)))
            for name in tried
        ]
        if taking:
            self._learn(stable)
        if bad := [each for each in judged if each is not None]:
            return _most_urgent(bad)
        growing = [name for name in tried if self.live.get(name, 0) > 0]
        if len(growing) != 1:
            return promotion.of_none(growing, tried)
        [name] = growing
        return promotion.of(
            name,
            self.live[name],
            self.kept[name].trial,
            self.rules,
            ready=bool(self._ready(name)),
            drift=self._drifted(name),
            disagrees=name in disagreeing,
            may_promote=self.seen.may_promote,
        )

    def _watched(self, name: str, before: str) -> Decision:
        """Judge a variant that has all requests by what `before` showed."""
        trial = self.kept[name].trial
        trial.enter(self._key(before), watching=True, step=100)
        if not trial.settled:
            look = Look(self._counts(name), None, self._of(before))
            bad = self._judged(name, before, look, watching=True)
            most = self.rules.watch_seconds
            if bad is not None:
                return bad
            if trial.seconds < most:
                self._learn(name)
                return Decision(
                    "hold",
                    f"{name} has all requests; watched for {trial.seconds:,.0f} of "
                    f"{most:,} s",
                    variant=name,
                )
            trial.settled, trial.cases = True, {}
        return self._steady(name, settled=True)

    def _steady(self, stable: str, *, settled: bool = False) -> Decision:
        """Watch the only variant for decay."""
        kept, on = self.kept[stable], limits_on(self.rules)
        look = Look(self._counts(stable), None, kept.reference)
        broken = kept.own.observe(look, self.rules, on, self.rules.false_alarm, stable)
        self._learn(stable)
        alarms = [
            Alarm(
                "ModelDecayed" if each.rule.metric == "quality" else "ReleaseFailing",
                each.reason,
                stable,
            )
            for each in broken
        ]
        if far := self._drifted(stable):
            alarms.append(Alarm("ModelDecayed", far, stable))
        decayed = any(alarm.name == "ModelDecayed" for alarm in alarms)
        reason = f"settled: {stable} has all requests" if settled else "no candidate"
        if alarms:
            reason = f"{stable}: {alarms[0].summary}"
        return Decision(
            "hold",
            reason,
            alarms=tuple(alarms),
            retrain=decayed and self.settings.retrain is not None,
        )

    def _judged(
        self, name: str, stable: str, look: Look, *, watching: bool = False
    ) -> Decision | None:
        """What follows from the evidence against a variant; None when it may stay."""
        trial, rules = self.kept[name].trial, self.rules
        step = 100 if watching else self.live.get(name, 0)
        trial.enter(self._key(stable), watching=watching, step=step)
        on, chance = rules_on(rules), rules.false_alarm / 2
        broken = trial.observe(look, rules, on, chance, stable)
        trial.last(self.seen.seconds, look.counts, self._ready(name))
        if not step and not look.counts.requests:
            return None  # nobody is sent to it now
        if trial.unready > rules.start_seconds:
            return self._turned(
                name,
                stable,
                f"its pods did not start within {rules.start_seconds} s",
                {"Rule": "start"},
            )
        return self._convicted(name, stable, broken)

    def _convicted(
        self, name: str, stable: str, broken: Iterable[Found]
    ) -> Decision | None:
        futile = None
        for found in broken:
            if not found.stable_is_no_better:
                return self._turned(name, stable, found.reason, found.numbers)
            futile = futile or found
        if futile is None:
            return None
        return Decision(
            "hold",
            f"{futile.reason}, and {stable} is no better",
            variant=name,
            evidence=futile.numbers,
            alarms=(
                Alarm(
                    "ReleaseFailing",
                    f"{name} and {stable}: {futile.reason}, and {stable} is no better",
                    name,
                ),
            ),
        )

    def _turned(
        self, name: str, target: str, reason: str, evidence: Mapping[str, str]
    ) -> Decision:
        if self._ready(target):
            return Decision("roll_back", reason, variant=name, evidence=evidence)
        why = f"{target} is not ready to take the requests of {name}: {reason}"
        return Decision(
            "hold",
            why,
            variant=name,
            evidence=evidence,
            alarms=(Alarm("NowhereToGoBack", why, name),),
        )

    def _drifted(self, name: str) -> str | None:
        """How far a variant's inputs or predictions are off, if they are."""
        rule = self.rules.drift
        if rule is None or not (far := drifted(self.seen.drift.get(name, ()), rule)):
            return None
        columns = ", ".join(f"{each.column} by {each.psi:.2g}" for each in far[:5])
        return f"drifted from the training data: {columns} (where {rule.at_most:g} may)"

    def _forget(self) -> None:
        """Evidence against variants that no longer ask for requests is over."""
        for name, kept in self.kept.items():
            role = self.settings.variants[name].role
            if role not in ("candidate", "stable"):
                kept.trial, kept.own = Trial(), Trial()

    def _learn(self, name: str) -> None:
        reference = self._of(name)
        slowest = reference.slowest(self.rules.latency.quantile)
        reference.add(self._counts(name), self.seen.seconds, slowest)

    def _ready(self, name: str) -> bool | None:
        """Whether a variant can answer; one that did can. None when nobody knows."""
        found = self.seen.ready.get(name)
        counts = self._counts(name)
        return True if found is None and counts.requests > counts.errors else found

    def _counts(self, name: str) -> Counts:
        return self.seen.counts.get(name, Counts())

    def _of(self, name: str) -> Reference:
        return self.kept[name].reference

    def _key(self, name: str) -> str:
        return f"{name} {self.kept[name].model}"

    def _in_role(self, role: str) -> list[str]:
        return [n for n, v in self.settings.variants.items() if v.role == role]


def _most_urgent(decisions: Sequence[Decision]) -> Decision:
    """The first rollback, or else the first hold; with the alarms of all."""
    alarms = tuple(alarm for each in decisions for alarm in each.alarms)
    first = next((d for d in decisions if d.act == "roll_back"), decisions[0])
    return replace(first, alarms=alarms)
