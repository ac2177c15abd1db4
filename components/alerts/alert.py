"""One alert, and what everybody who gets it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

PAGE: Literal["page"] = "page"
TICKET: Literal["ticket"] = "ticket"
NONE: Literal["none"] = "none"


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A condition, how long it has to hold, and what it means."""

    name: str
    expr: str
    hold: str = "0s"
    """Time for which `expr` has to have results."""
    severity: Literal["page", "ticket", "none"]
    """`page` wants somebody now, `ticket` somebody this week, `none` nobody."""
    summary: str
    """What is wrong, and where."""
    why: str
    """What it means for those who use the lab."""
    do: str
    """The way out: where to look, what to run."""

    def rule(self, lab: str) -> dict[str, Any]:
        """The alert as a rule of Prometheus."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.hold,
            "labels": {"severity": self.severity, "lab": lab},
            "annotations": {
                "summary": self.summary,
                "description": self.why,
                "do": self.do.replace("NAMESPACE", lab),
            },
        }
