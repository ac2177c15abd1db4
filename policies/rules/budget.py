"""Rules about money: what agreements allow, and whether prices can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from .costs import CURRENCY, BookError, Line, book_of, priced, rates_of, total
from .lab import Lab
from .rule import Complaint, Rule

DEAREST = 3
"""Lines that are named where there is too little money."""
MAX_AGE = 365
CENT = 0.005
"""Less than what is shown: nobody is refused for a rounding."""


@dataclass(frozen=True)
class Budget:
    """What one agreement allows, and what it would be spent on."""

    agreement: str
    covers: tuple[str, ...]
    """Releases that it is about; without any, the whole lab."""
    allowed: float
    """Cost of a month that is allowed today."""
    lines: tuple[Line, ...] = ()
    """What it pays for, dearest first."""
    override: Mapping[str, Any] | None = None
    """Who allows more, why and until when, where somebody does today."""
    ended: Mapping[str, Any] | None = None
    """The same, of an override that has expired."""

    @property
    def spent(self) -> float:
        """Cost of a month of all that it pays for."""
        return total(self.lines)

    def pays_for(self, line: Line) -> bool:
        """Whether a line is about what the agreement covers."""
        return not self.covers or line.release in self.covers

    @property
    def left(self) -> float:
        """What may be added; below zero where it is too much already."""
        return self.allowed - self.spent


def budgets(lab: Lab, lines: tuple[Line, ...] | None = None) -> tuple[Budget, ...]:
    """The budget of each agreement with a clause about cost. Raises BookError.

    `lines` are what the lab costs, where it has been reckoned already.
    """
    costing = [(name, found) for name, found in _agreements(lab) if found.get("cost")]
    if not costing:
        return ()
    known = priced(lab) if lines is None else lines
    return tuple(_budget(name, found, known, lab.today) for name, found in costing)


def day(value: Any) -> date:
    """A day of the settings, as people or Pulumi have written it."""
    return value if isinstance(value, date) else date.fromisoformat(str(value)[:10])


def _budget(
    name: str, agreement: Mapping[str, Any], known: tuple[Line, ...], today: date
) -> Budget:
    clause = agreement["cost"]
    override = clause.get("override")
    holds = override is not None and day(override["until"]) >= today
    found = Budget(
        agreement=name,
        covers=tuple(agreement.get("covers") or ()),
        allowed=float((override if holds else clause)["monthly"]),
        override=override if holds else None,
        ended=None if holds else override,
    )
    return replace(found, lines=tuple(filter(found.pays_for, known)))


def _agreements(lab: Lab) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from lab.group("agreements").items()


def _over(lab: Lab) -> Iterator[Complaint]:
    currency = lab.group("costs").get("currency") or CURRENCY
    try:
        found = budgets(lab)
    except BookError:
        return  # the rule about the book says so
    for budget in found:
        if budget.spent < budget.allowed + CENT:
            continue
        dearest = ", ".join(
            f"{line.what.partition(':')[0]} {line.monthly:.2f}"
            for line in budget.lines[:DEAREST]
        )
        ended = budget.ended
        yield Complaint(
            f"agreements.{budget.agreement}.cost.monthly",
            f"the clause cost of the agreement {budget.agreement!r} allows "
            f"{budget.allowed:.2f} {currency} a month, and it would be "
            f"{budget.spent:.2f}, {-budget.left:.2f} too much (the dearest: {dearest})"
            + (f"; the override by {_by(ended)} ended on that day" if ended else ""),
        )


def _overridden(lab: Lab) -> Iterator[Complaint]:
    for name, agreement in _agreements(lab):
        override = (agreement.get("cost") or {}).get("override")
        if override and day(override["until"]) >= lab.today:
            yield Complaint(
                f"agreements.{name}.cost.override",
                f"{override['monthly']:.2f} a month are allowed instead of "
                f"{agreement['cost']['monthly']:.2f}, by {_by(override)}: "
                f"{override['because']}",
            )


def _old(lab: Lab) -> Iterator[Complaint]:
    try:
        book = book_of(lab)
    except BookError:
        return
    most = int(lab.group("costs").get("max_age_days") or MAX_AGE)
    if (age := book.age(lab.today)) > most:
        yield Complaint(
            "costs.book",
            f"the prices of {book.name!r} are of {book.dated}, {age} days old, and may "
            f"be {most} (`costs.max_age_days`)",
        )


def _unusable(lab: Lab) -> Iterator[Complaint]:
    try:
        rates_of(lab)
    except BookError as error:
        yield Complaint("costs.book", str(error))


def _by(override: Mapping[str, Any]) -> str:
    return f"{override['by']} until {day(override['until'])}"


RULES: tuple[Rule, ...] = (
    Rule(
        name="budget",
        level="mandatory",
        what="What an agreement covers costs no more than its clause `cost` allows.",
        why="Whoever pays learns of it before the money is spent, and not after.",
        fix="take something out (`lab plan` shows where the money goes), or write who "
        "allows more, why and until when: `override` beside `monthly`, with `monthly`, "
        "`by`, `because` and `until`",
        check=_over,
    ),
    Rule(
        name="budget-override",
        level="advisory",
        what="Nobody has to allow more than what was agreed.",
        why="Leave that nobody looks at becomes the budget.",
        fix="before that day, take something out, or agree on another sum",
        check=_overridden,
    ),
    Rule(
        name="price-book",
        level="mandatory",
        what="The lab's price book exists, is in its currency, and has every price.",
        why="A budget that nobody can reckon refuses nothing.",
        fix="until then no budget holds",
        check=_unusable,
    ),
    Rule(
        name="price-book-age",
        level="advisory",
        what="The prices are not older than `costs.max_age_days`.",
        why="Old prices make sums that nobody will be billed.",
        fix="read them again at the place that its `source` names, and write the new "
        "day into `dated`",
        check=_old,
    ),
)
