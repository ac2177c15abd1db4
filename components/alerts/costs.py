"""What the lab costs as it runs, and alerts about its budgets. Pure.

What pods and volumes have reserved comes from Kubernetes, its price from the book.
Every month counts as 730 hours, however long it is, as in the agreements; of the hours
of a month that were not measured, those that were are taken to be typical.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time, timedelta

from components.alerts.alert import PAGE, TICKET, Alert
from policies.rules.costs import GIB, HOURS
from stacks.promises import AgreementConfig, CostClause
from stacks.schema import LabConfig

OBJECT = "object:cost_per_hour:sum"
"""Cost of an hour of each pod and volume, with its release where it has one."""
ROOM = "lab:cost_per_hour:sum"
"""The same by room, in the lab's currency."""
AGREEMENT = "agreement:cost_per_hour:sum"
MONTH, SHARE = "lab:month:number", "lab:month:share"
"""The month, 1 to 12, and how much of it is over, 0 to 1; in UTC."""
SPENT, FORECAST = "agreement:cost_spent:month", "agreement:cost_forecast:month"
BUDGET = "lab:budget_monthly"
"""What each agreement allows for a month, on this day."""
ROOMS = {
    "serving": ".+-predictor-.+|batch-.+",
    "storage": "minio-.+",
    "tracking": "mlflow-.+|postgres-.+",
    "monitoring": "prometheus-.+|alertmanager-.+|state-metrics-.+",
    "guard": "guard-.+",
    "feedback": "feedback-.+",
    "backups": "backup-.+|check-.+|restore-.+|keeper-staging",
}
"""Names of each room's pods and volumes in the lab's own namespace."""
BATCH = "batch-(.+?)-([0-9]{8}|[0-9a-f]{10})(-[0-9]+)?-[^-]+"
"""Names of the pods of batch runs: release, run, worker."""


def recorded(lab: LabConfig, rates: Mapping[str, float]) -> dict[str, str]:
    """The series that are worked out, by name, in the order in which they need it.

    `rates` are what `policies.rules.costs.rates` returns: prices by name.
    """
    found = {
        OBJECT: _objects(_namespaces(lab), rates),
        ROOM: _rooms(lab),
        MONTH: "month()",
        SHARE: "(day_of_month() - 1 + (hour() + minute() / 60) / 24) / days_in_month()",
    }
    costing = _costing(lab)
    if not costing:
        return found
    # What the month has cost so far, and its rest at what an hour costs now.
    this_month = f"{AGREEMENT} and on () month() == on () ({MONTH} @ end())"
    return {
        **found,
        AGREEMENT: _any(_agreement(lab, name) for name in costing),
        BUDGET: _any(_allowed(name, cost) for name, (_, cost) in costing.items()),
        SPENT: f"{HOURS} * scalar({SHARE}) * avg_over_time(({this_month})[31d:15m])",
        FORECAST: f"{SPENT}\n  + {HOURS} * (1 - scalar({SHARE})) * {AGREEMENT}",
    }


def alerts(lab: LabConfig) -> list[Alert]:
    """The alerts about the budgets of the lab's agreements."""
    found = []
    for name, (agreement, cost) in _costing(lab).items():
        of = f'{{agreement="{name}"}}'
        team = agreement.owner or lab.owner
        common = {
            "hold": "1h",
            "do": f"`lab costs {lab.name}` shows where it goes; take something out, or "
            f"see `agreements.{name}.cost.override`.",
        }
        found += [
            Alert(
                name="BudgetForecast",
                expr=f"{FORECAST}{of}\n  > on (agreement) group_left ()"
                f" {cost.warn_at:g} * {BUDGET}{of}",
                severity=TICKET,
                summary=f"{team}: this month is going to cost {{{{ $value | "
                f'printf "%.2f" }}}} {lab.costs.currency} (agreement {name})',
                why=f"The budget of the agreement is nearly used up: more than "
                f"{cost.warn_at:.0%} of it.",
                **common,
            ),
            Alert(
                name="BudgetSpent",
                expr=f"{SPENT}{of}\n  > on (agreement) group_left () {BUDGET}{of}",
                severity=PAGE,
                summary=f"{team}: this month has cost {{{{ $value | "
                f'printf "%.2f" }}}} {lab.costs.currency} (agreement {name})',
                why="That is more than the agreement allows for the whole month.",
                **common,
            ),
        ]
    return found


def _costing(lab: LabConfig) -> dict[str, tuple[AgreementConfig, CostClause]]:
    found = lab.agreements.items()
    return {name: (each, each.cost) for name, each in found if each.cost}


def _namespaces(lab: LabConfig) -> list[str]:
    """The lab's own namespace, and those in which its backups are and are tried."""
    more = ("backups", "drill") if lab.backups else ()
    return [lab.name, *(f"{lab.name}-{each}" for each in more)]


def _objects(namespaces: list[str], rates: Mapping[str, float]) -> str:
    where = f'namespace=~"{"|".join(namespaces)}"'
    asked = f"kube_pod_container_resource_requests{{{where},resource="
    pods = (
        "sum by (namespace, release, pod) (\n"
        f'  {asked}"cpu"}} * {rates["cpu_hour"]:.6g}\n'
        f'  or {asked}"memory"}} * {rates["gib_hour"] / GIB:.6g}\n'
        f'  or {asked}"nvidia_com_gpu"}} * {rates["gpu_hour"]:.6g}\n'
        ") and on (namespace, pod)"
        f' kube_pod_status_phase{{{where},phase="Running"}} == 1'
    )
    pods = f'label_replace({pods}, "release", "$1", "pod", "{BATCH}")'
    volumes = (
        "sum by (namespace, persistentvolumeclaim) (\n"
        f"  kube_persistentvolumeclaim_resource_requests_storage_bytes{{{where}}}\n"
        f") * {rates['gib_month'] / GIB / HOURS:.6g}"
    )
    both = ((pods, "pod"), (volumes, "persistentvolumeclaim"))
    named = (
        f'label_replace({expr}, "object", "$1", "{label}", "(.+)")'
        for expr, label in both
    )
    return f"sum by (namespace, release, object) (\n{_any(named)}\n)"


def _rooms(lab: LabConfig) -> str:
    """Each room's sum; what is in none of the known rooms is `other`."""
    own = f'namespace="{lab.name}"'
    rooms = {name: f'{own},object=~"{names}"' for name, names in ROOMS.items()}
    rooms["other"] = f'{own},object!~"{"|".join(ROOMS.values())}"'
    sums = {name: f"{OBJECT}{{{of}}}" for name, of in rooms.items()}
    if others := _namespaces(lab)[1:]:
        sums["backups"] += f' or {OBJECT}{{namespace=~"{"|".join(others)}"}}'
    return _any(
        f'label_replace(sum({of}), "room", "{name}", "", "")'
        for name, of in sums.items()
    )


def _agreement(lab: LabConfig, name: str) -> str:
    agreement = lab.agreements[name]
    covers = "|".join(agreement.covers)
    of = f'{{release=~"{covers}"}}' if covers else ""
    team = agreement.owner or lab.owner
    named = f'label_replace(sum({OBJECT}{of}), "agreement", "{name}", "", "")'
    return f'label_replace({named}, "owner", "{team}", "", "")'


def _allowed(name: str, cost: CostClause) -> str:
    """What is allowed on the day on which Prometheus asks."""
    found = f"vector({cost.monthly:.2f})"
    if over := cost.override:
        end = datetime.combine(over.until + timedelta(1), time(), UTC).timestamp()
        holds = f"vector({over.monthly:.2f}) and vector(time()) < {end:.0f}"
        found = f"({holds}) or {found}"
    return f'label_replace({found}, "agreement", "{name}", "", "")'


def _any(expressions: Iterable[str]) -> str:
    return "\nor ".join(expressions)
