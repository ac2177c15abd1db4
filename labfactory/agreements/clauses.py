"""Which clauses of which agreements a change of the settings touches. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from labfactory.agreements.promised import CLAUSES, SHARES, money, promised
from labfactory.agreements.touching import (
    Touch,
    of_backups,
    of_release,
    of_volumes,
    removed,
    reserved,
)
from stacks.promises import AgreementConfig
from stacks.schema import LabConfig


@dataclass(frozen=True)
class Clause:
    """A clause that a change touches."""

    agreement: str
    """Name of the agreement."""
    clause: str
    """One of `CLAUSES`."""
    text: str
    """What changes, and how much: one line without a full stop."""


def touched(
    before: LabConfig | None,
    after: LabConfig,
    costs: Mapping[str, tuple[float, float]] = {},
) -> tuple[Clause, ...]:
    """What the change from `before`, if there was a lab, to `after` touches.

    `costs` is the cost of a month before and after, by agreement. A clause that an
    agreement does not have is not touched. In the order of the agreements, and in them
    of `CLAUSES`.
    """
    old = before.agreements if before else {}
    found = []
    for name in dict.fromkeys((*after.agreements, *old)):
        touches = [*_agreement(name, before, after)]
        if before and name in old and name in after.agreements:
            touches += _lab(name, before, after)
            touches += _cost(after.agreements[name], after, costs.get(name))
        found += [
            Clause(name, clause, text)
            for clause in CLAUSES
            for about, text in dict.fromkeys(touches)
            if about == clause
        ]
    return tuple(found)


def _agreement(
    name: str, before: LabConfig | None, after: LabConfig
) -> Iterator[Touch]:
    """What changes in the agreement itself."""
    old = before.agreements.get(name) if before else None
    new = after.agreements.get(name)
    was = promised(before, old) if before and old else {}
    now = promised(after, new) if new else {}
    for clause in CLAUSES:
        if clause not in was and clause in now:
            yield clause, f"promised anew: {now[clause]}"
        elif clause in was and clause not in now:
            yield clause, f"promised no more; it was: {was[clause]}"
        elif was.get(clause) != now.get(clause):
            yield clause, f"promised: {now[clause]}; it was: {was[clause]}"
    if old and new and old.guard_may_trade != new.guard_may_trade:
        may = "may spend" if new.guard_may_trade else "may no longer spend"
        for clause in SHARES:
            yield clause, f"the guard {may} what failures are left on candidates"


def _lab(name: str, before: LabConfig, after: LabConfig) -> Iterator[Touch]:
    """What changes in what the agreement is about; only clauses it keeps."""
    has = promised(after, after.agreements[name])
    for clause, text in _changes(name, before, after):
        if clause in has:
            yield clause, text


def _changes(name: str, before: LabConfig, after: LabConfig) -> Iterator[Touch]:
    for release in dict.fromkeys((*before.releases, *after.releases)):
        old, new = before.releases.get(release), after.releases.get(release)
        was = old if _is_under(before, release, name) else None
        now = new if _is_under(after, release, name) else None
        if was and now:
            yield from of_release(release, was, now)
        elif now:
            come = "comes under the agreement" if old else "is added"
            for clause in (*SHARES, "freshness", "cost"):
                yield clause, f"{release} {come}"
        elif was:
            yield from removed(release, is_kept=new is not None)
    if after.agreements[name].covers:
        return
    yield from reserved(before, after)
    yield from of_volumes(before, after)
    yield from of_backups(before.backups, after.backups)


def _cost(
    agreement: AgreementConfig, lab: LabConfig, sums: tuple[float, float] | None
) -> Iterator[Touch]:
    """The sum that a change makes of the budget."""
    cost, currency = agreement.cost, lab.costs.currency
    if cost is None or sums is None or round(sums[0], 2) == round(sums[1], 2):
        return
    was, now = (money(each, currency) for each in sums)
    yield (
        "cost",
        f"{now} a month instead of {was}, of {money(cost.monthly, currency)}",
    )


def _is_under(lab: LabConfig, release: str, name: str) -> bool:
    if release not in lab.releases:
        return False
    found = lab.agreement_of(release)
    return found is not None and found[0] == name
