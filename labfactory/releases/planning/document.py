"""A plan as plain data: what programs read, and what the other forms show."""

from __future__ import annotations

from typing import Any

from labfactory.costs.change import CostChange
from labfactory.releases.planning.meaning import ReleaseChange, State
from labfactory.releases.planning.objects import Object
from labfactory.releases.planning.plan import Plan, ReleasePlan
from labfactory.releases.planning.way_back import Difference, WayBack


def document(plan: Plan) -> dict[str, Any]:
    """Return the plan for programs; keys are only ever added.

    `lab`, `exit_code` (0 nothing to do, 1 refused, 2 changes), `refusals` (sentences),
    `no_way_back` (the reason given, or null), `releases` and `others`, `costs` (of a
    month of 730 hours, or null where nobody can reckon them), `clauses` of agreements
    that are touched, `notes` (sentences). What changes is `{"before": …, "after": …}`,
    with null where there is nothing; traffic and mirror are per cent, memory is in
    bytes, for all predictors of a variant together.
    """
    return {
        "lab": plan.lab,
        "exit_code": plan.exit_code,
        "refusals": list(plan.refusals),
        "no_way_back": plan.no_way_back,
        "releases": [_release(release) for release in plan.releases],
        "others": [_object(found) for found in plan.others],
        "costs": plan.costs and _costs(plan.costs),
        "clauses": [
            {"agreement": each.agreement, "clause": each.clause, "text": each.text}
            for each in plan.clauses
        ],
        "notes": list(plan.notes),
    }


def _costs(costs: CostChange) -> dict[str, Any]:
    def sums(found: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
        return [{"name": name, **_money(both)} for name, both in found.items()]

    return {
        "currency": costs.book.currency,
        "book": costs.book.name,
        "dated": costs.book.dated.isoformat(),
        "total": _money(costs.sums),
        "rooms": sums(costs.by(lambda line: line.room)),
        "releases": sums(costs.by(lambda line: line.release)),
        "budgets": [
            {
                "agreement": budget.agreement,
                "covers": list(budget.covers),
                "allowed": budget.allowed,
                "spent": round(budget.spent, 2),
                "left": round(budget.left, 2),
                "override": budget.override and dict(budget.override),
            }
            for budget in costs.budgets
        ],
        "calls": dict(costs.calls),
    }


def _money(both: tuple[float, float]) -> dict[str, float]:
    return {"before": round(both[0], 2), "after": round(both[1], 2)}


def _release(release: ReleasePlan) -> dict[str, Any]:
    change = release.change
    names = [
        name for side in (change.before, change.after) if side for name in side.variants
    ]
    return {
        "name": change.name,
        "change": _kind(change),
        "variants": [
            _variant(change, name, release.contracts.get(name))
            for name in dict.fromkeys(names)
        ],
        "replicas": _both(change, lambda side: side.replicas),
        "memory": _both(change, lambda side: round(side.needs.memory)),
        "way_back": release.way_back and _back(release.way_back),
        "objects": [_object(found) for found in change.changed],
    }


def _kind(change: ReleaseChange) -> str:
    if change.before is None:
        return "new"
    return "removed" if change.after is None else "changed"


def _variant(
    change: ReleaseChange, name: str, contract: Difference | None
) -> dict[str, Any]:
    there = _both(change, lambda side: name in side.variants or None)

    def both(value: Any) -> dict[str, Any]:
        found = _both(change, lambda side: value(side) if there else None)
        return {key: found[key] if there[key] else None for key in found}

    return {
        "name": name,
        "version": both(lambda side: _of(side, name, "version")),
        "digest": both(lambda side: _of(side, name, "digest")),
        "traffic": both(lambda side: side.traffic.weights.get(name, 0)),
        "mirror": both(lambda side: side.traffic.mirrors.get(name, 0)),
        "matches": both(lambda side: list(side.traffic.matches.get(name, ()))),
        "stable": both(lambda side: side.traffic.stable == name),
        "replicas": both(lambda side: _of(side, name, "replicas")),
        "memory": both(lambda side: _memory(side, name)),
        "contract": contract
        and {"kind": contract.kind, "columns": list(contract.columns)},
    }


def _of(side: State, name: str, what: str) -> Any:
    return getattr(side.variants.get(name), what, None)


def _memory(side: State, name: str) -> int | None:
    variant = side.variants.get(name)
    return round(variant.needs.memory) if variant else None


def _both(change: ReleaseChange, value: Any) -> dict[str, Any]:
    return {
        "before": change.before and value(change.before),
        "after": change.after and value(change.after),
    }


def _back(back: WayBack) -> dict[str, Any]:
    return {
        "target": back.target,
        "warm": back.warm,
        "open": back.open,
        "obstacles": list(back.obstacles),
    }


def _object(found: Object) -> dict[str, Any]:
    return {
        "object": found.ref,
        "operation": found.op,
        "because": list(found.because),
        "restarts": found.restarts,
        "loses_data": found.loses_data,
    }
