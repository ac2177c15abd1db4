"""The rules of the policy pack; pure, and free of Pulumi."""

from __future__ import annotations

from collections.abc import Mapping

from . import (
    aws,
    aws_data,
    budget,
    needs,
    network,
    objects,
    pods,
    promises,
    releases,
    secrets,
    stack,
    traps,
)
from .judge import exist
from .rule import Rule

_GATHERED: tuple[Rule, ...] = (
    *pods.RULES,
    *needs.RULES,
    *objects.RULES,
    *secrets.RULES,
    *releases.RULES,
    *traps.RULES,
    *promises.RULES,
    *budget.RULES,
    *network.RULES,
    *stack.RULES,
    *aws_data.RULES,
    *aws.RULES,
)
RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (*_GATHERED, exist(frozenset(rule.name for rule in _GATHERED)))
}
"""Every rule, by its name."""
