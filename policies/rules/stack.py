"""Rules of a stack as a whole: its size, and the settings of the rules themselves."""

from __future__ import annotations

from collections.abc import Iterator

from .lab import Lab
from .rule import Complaint, Rule

MANY = 300
TOO_MANY = 500


def stack_size(lab: Lab) -> Iterator[Complaint]:
    """A stack has so many resources that an update still is one thing."""
    if (count := len(lab.resources)) > TOO_MANY:
        yield Complaint("stack", f"has {count} resources, more than {TOO_MANY}")


def stack_growing(lab: Lab) -> Iterator[Complaint]:
    """A stack that grows too large is told in time."""
    if MANY < (count := len(lab.resources)) <= TOO_MANY:
        yield Complaint("stack", f"has {count} resources, more than {MANY}")


RULES: tuple[Rule, ...] = (
    Rule(
        "stack-size",
        "mandatory",
        f"A stack has at most {TOO_MANY} resources.",
        "Each update reads and writes the state of all of them, under one lock.",
        "split the lab into two",
        stack_size,
    ),
    Rule(
        "stack-growing",
        "advisory",
        f"A stack of more than {MANY} resources grows too large.",
        "Splitting it is easier before it has to be.",
        "plan how to split the lab into two",
        stack_growing,
    ),
)
