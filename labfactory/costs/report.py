"""What `lab costs` tells: spent, forecast, where it goes, and what is left. Pure."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from labfactory.costs.change import lab_of
from labfactory.costs.measured import Amount, Measured, month
from policies.rules.budget import RULES, Budget, budgets
from policies.rules.costs import Line, book_of, calls, total
from stacks.schema import LabConfig

KEPT = (
    "who allows more than what was agreed stands in the stack file, under "
    "`agreements.NAME.cost.override`, and git keeps every one that there was"
)


def document(
    settings: LabConfig,
    lines: tuple[Line, ...] | None,
    measured: Measured | None,
    now: datetime,
) -> dict[str, Any]:
    """Return what the lab costs, for programs; keys are only ever added.

    `lines` are what is reserved, where nothing is measured: then `spent` is null and
    the forecast is what a whole month of them costs. Sums are in `currency`, for a
    month of 730 hours. Raises BookError.
    """
    lab = lab_of(settings, (), today=now.date())
    book = book_of(lab)
    allowed = budgets(lab, lines or ())
    return {
        "lab": settings.name,
        "currency": settings.costs.currency,
        "month": f"{now:%Y-%m}",
        "passed": round(month(now)[1], 4),
        "measured_since": measured and measured.since.isoformat(timespec="minutes"),
        "total": _money(_total(lines, measured)),
        "rooms": _sums("room", lines, measured and measured.rooms),
        "releases": _sums("release", lines, measured and measured.releases),
        "budgets": [_budget(each, settings, measured) for each in allowed],
        "calls": calls(lab),
        "book": {
            "name": book.name,
            "region": book.region,
            "dated": book.dated.isoformat(),
            "age_days": book.age(now.date()),
            "source": book.source,
            "beside": list(book.beside),
        },
        "notes": [
            rule.told(complaint)
            for rule in RULES
            if rule.level == "advisory"
            for complaint in rule.check(lab)
        ],
        "kept": KEPT,
    }


def _total(lines: tuple[Line, ...] | None, measured: Measured | None) -> Any:
    return measured.total if measured else total(lines or ())


def _sums(label: str, lines: tuple[Line, ...] | None, measured: Any) -> list[Any]:
    found: dict[str, Any] = dict(measured or {})
    if measured is None:
        for line in lines or ():
            if name := getattr(line, label):
                found[name] = found.get(name, 0.0) + line.monthly
    return [{"name": name, **_money(found[name])} for name in sorted(found)]


def _budget(
    budget: Budget, settings: LabConfig, measured: Measured | None
) -> dict[str, Any]:
    own = settings.agreements[budget.agreement].owner
    spent: Amount | float | None = budget.spent
    if measured:
        spent = measured.agreements.get(budget.agreement)
    money = _money(spent)
    left = None if spent is None else round(budget.allowed - money["forecast"], 2)
    return {
        "agreement": budget.agreement,
        "owner": own or settings.owner,
        "covers": list(budget.covers),
        "allowed": budget.allowed,
        **money,
        "left": left,
        "override": budget.override and dict(budget.override),
        "ended": budget.ended and dict(budget.ended),
    }


def _money(found: Amount | float | None) -> dict[str, Any]:
    if isinstance(found, Amount):
        return {key: round(value, 2) for key, value in asdict(found).items()}
    return {"spent": None, "forecast": None if found is None else round(found, 2)}
