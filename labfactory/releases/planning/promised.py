"""What a change means for what was promised: costs, agreements, drills, policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from labfactory.agreements.clauses import Clause, touched
from labfactory.costs import change as costs
from labfactory.costs.change import CostChange
from labfactory.releases.planning.meaning import Changes
from policies.rules import RULES, budget
from policies.rules.judge import findings
from stacks.schema import LabConfig

ASKED = (*(rule.name for rule in budget.RULES), "drill-fresh")
"""Rules that a plan asks itself, whatever the policy pack has said."""


@dataclass(frozen=True)
class Promised:
    """What a plan says besides the releases."""

    costs: CostChange | None
    """None where nobody can reckon them; a refusal says why."""
    clauses: tuple[Clause, ...]
    """What of the agreements the change touches."""
    refusals: tuple[str, ...]
    notes: tuple[str, ...]
    """What should be known and refuses nothing: sentences."""


def look(
    changes: Changes,
    settings: LabConfig,
    before: LabConfig | None,
    today: date,
    *,
    drill: Mapping[str, Any] | None = None,
    policies: Iterable[Mapping[str, str]] = (),
) -> Promised:
    """What the change from the settings `before` means. Pure.

    `before` are the settings that were applied last; None when there are none. `drill`
    is the last drill as it was recorded, and `policies` what the policy pack has found
    in the preview: `rule`, `level` and `told` of each breach.
    """
    reckoned = costs.reckon(changes, settings, today)
    lab = costs.lab_of(settings, costs.resources(changes)[1], today=today)
    found = findings(replace(lab, drill=drill), [RULES[name] for name in ASKED])
    told = [
        *((each.level, each.told) for each in found),
        *((each["level"], each["told"]) for each in policies),
    ]

    def at(level: str) -> tuple[str, ...]:
        # What both the pack and the plan have found is said once.
        return tuple(dict.fromkeys(text for weight, text in told if weight == level))

    return Promised(
        costs=reckoned,
        clauses=touched(before, settings, reckoned.agreements if reckoned else {}),
        refusals=at("mandatory"),
        notes=at("advisory"),
    )
