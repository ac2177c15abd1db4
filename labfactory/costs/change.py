"""What a change costs: the monthly cost before and after it, and the budgets. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from labfactory.releases.planning.meaning import Changes
from labfactory.releases.planning.objects import Object
from policies.rules import budget
from policies.rules.budget import Budget
from policies.rules.costs import (
    Book,
    BookError,
    Line,
    book_of,
    calls,
    lines,
    rates_of,
    total,
)
from policies.rules.lab import Lab, Resource
from stacks.schema import LabConfig


@dataclass(frozen=True)
class CostChange:
    """The monthly cost of a lab on both sides of a change."""

    book: Book
    before: tuple[Line, ...]
    after: tuple[Line, ...]
    budgets: tuple[Budget, ...]
    """What agreements allow, and what of it is left after the change."""
    calls: Mapping[str, float]
    """Price of a call of each external endpoint, which is in no sum."""

    def by(self, key: Callable[[Line], str | None]) -> dict[str, tuple[float, float]]:
        """Sums before and after by room, release, or whatever `key` says of a line."""
        names = {found for line in (*self.before, *self.after) if (found := key(line))}
        return {
            name: (
                total(line for line in self.before if key(line) == name),
                total(line for line in self.after if key(line) == name),
            )
            for name in sorted(names)
        }

    @property
    def agreements(self) -> dict[str, tuple[float, float]]:
        """Cost of a month before and after, by agreement with a clause about it."""
        return {
            each.agreement: (total(filter(each.pays_for, self.before)), each.spent)
            for each in self.budgets
        }

    @property
    def sums(self) -> tuple[float, float]:
        """Cost of a month before and after."""
        return total(self.before), total(self.after)


def tree(settings: LabConfig) -> dict[str, Any]:
    """Settings as the policy rules see them: as they were written, days as text."""
    return settings.model_dump(mode="json", exclude_unset=True)


def lab_of(settings: LabConfig, manifests: Iterable[Resource], *, today: date) -> Lab:
    """A lab for the policy rules, of settings and of what the program declares."""
    return Lab(tree(settings), tuple(manifests), today)


def resources(changes: Changes) -> tuple[list[Resource], list[Resource]]:
    """What the stack has before the change, and after it."""
    found = changes.objects
    before = [_resource(each, each.before) for each in found if each.before]
    after = [_resource(each, each.after) for each in found if each.after]
    return before, after


def reckon(changes: Changes, settings: LabConfig, today: date) -> CostChange | None:
    """What the change costs; None when the lab's price book cannot be used."""
    before, after = (lab_of(settings, side, today=today) for side in resources(changes))
    try:
        rates = rates_of(after)
        book = book_of(after)
    except BookError:
        return None  # the rule about price books says why
    reckoned = lines(after, rates)
    return CostChange(
        book=book,
        before=lines(before, rates),
        after=reckoned,
        budgets=budget.budgets(after, reckoned),
        calls=calls(after),
    )


def _resource(found: Object, manifest: Mapping[str, Any]) -> Resource:
    return Resource(found.type, found.logical, manifest, found.parent)
