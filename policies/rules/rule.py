"""One rule: what it wants, why, how to mend a breach, and how it finds one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from .lab import Lab

Level = Literal["mandatory", "advisory"]


class Complaint(NamedTuple):
    """A breach of a rule."""

    where: str
    """Logical name of a resource, or path of a setting."""
    text: str
    """The facts, as a sentence without a full stop."""


@dataclass(frozen=True)
class Rule:
    """A policy; pure: the same lab, the same complaints."""

    name: str
    """In kebab-case; settings and reports name it so."""
    level: Level
    """`mandatory` refuses, `advisory` warns."""
    what: str
    """What has to hold."""
    why: str
    """What it protects from."""
    fix: str
    """How to mend a breach."""
    check: Callable[[Lab], Iterator[Complaint]]
    """Finds every breach."""
    strict_when: Callable[[Mapping[str, Any]], bool] = lambda settings: False
    """Whether the settings make an advisory rule a mandatory one."""

    def told(self, complaint: Complaint) -> str:
        """A breach as one sentence: where, what is wrong, what to do."""
        return f"{complaint.where}: {complaint.text}; {self.fix}"
