"""What an agreement promises, clause by clause, in words. Pure."""

from __future__ import annotations

from stacks.promises import AgreementConfig, Capacity, CostClause, Objectives
from stacks.schema import LabConfig

CLAUSES = (
    "availability",
    "latency",
    "freshness",
    "quality",
    "cost",
    "retrain_by",
    "review_by",
    "retire_by",
    "capacity",
    "rpo",
    "rto",
    "consumers",
    "owner",
)
"""Names of all clauses, in the order in which they are shown."""
SHARES = ("availability", "latency", "quality")
"""Those that have an error budget."""


def promised(lab: LabConfig, agreement: AgreementConfig) -> dict[str, str]:
    """What is promised by each clause that the agreement has; `lab` has its owner."""
    said, dates = agreement.objectives, agreement.deadlines
    cost, recovery = agreement.cost, agreement.recovery
    found = {
        **_objectives(said),
        "cost": _cost(cost, lab.costs.currency) if cost else None,
        "retrain_by": dates.retrain_by and str(dates.retrain_by),
        "review_by": dates.review_by and str(dates.review_by),
        "retire_by": dates.retire_by and str(dates.retire_by),
        "capacity": _capacity(agreement.capacity) if agreement.capacity else None,
        "rpo": f"at most {recovery.rpo_minutes} min of work lost" if recovery else None,
        "rto": f"back after {recovery.rto_minutes} min at most" if recovery else None,
        "consumers": ", ".join(agreement.consumers),
        "owner": agreement.owner or lab.owner,
    }
    return {clause: text for clause in CLAUSES if (text := found[clause])}


def share(part: float) -> str:
    """`99.9 %`."""
    return f"{100 * part:.7g} %"


def money(sum_: float, currency: str) -> str:
    """`1,200.00 EUR`."""
    return f"{sum_:,.2f} {currency}"


def _objectives(said: Objectives) -> dict[str, str | None]:
    over = f"over {said.window_days} days"
    found: dict[str, str | None] = dict.fromkeys((*SHARES, "freshness"))
    if said.availability is not None:
        text = f"{share(said.availability)} of the requests answered without a fault"
        found["availability"] = f"{text}, {over}"
    if said.latency is not None:
        text = f"{share(said.latency.share)} of the answers within"
        found["latency"] = f"{text} {said.latency.seconds:g} s, {over}"
    if said.quality is not None:
        found["quality"] = f"{share(said.quality)} of the predictions right, {over}"
    if said.freshness_days is not None:
        found["freshness"] = f"a model at most {said.freshness_days} days old"
    return found


def _cost(cost: CostClause, currency: str) -> str:
    text = f"{money(cost.monthly, currency)} a month, alerts from {share(cost.warn_at)}"
    if leave := cost.override:
        text += (
            f"; {money(leave.monthly, currency)} until {leave.until}, by {leave.by}: "
            f"{leave.because}"
        )
    return text


def _capacity(found: Capacity) -> str:
    return ", ".join(f"{key} {value}" for key, value in found if value is not None)
