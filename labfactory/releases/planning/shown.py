"""A plan as people read it: at a terminal, and in a pull request."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from labfactory.releases.planning import shown_costs
from labfactory.releases.planning.document import document
from labfactory.releases.planning.plan import NOTHING, Plan, plan

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Form = Literal["terminal", "markdown", "json"]
MIB = 2**20
COLUMNS = ("variant", "model", "traffic", "replicas", "memory", "contract")
REASONS = 3
"""Differing properties of an object that are named; of more, how many there are."""


def markdown(plan: Plan) -> str:
    """Return the plan for a pull request, as GitHub writes Markdown."""
    shown = document(plan)
    lines = [f"## Plan of the lab `{plan.lab}`", "", f"**{verdict(plan)}**", ""]
    if plan.refusals:
        lines += [*(f"- ❌ {' '.join(text.split())}" for text in plan.refusals), ""]
    for release in shown["releases"]:
        lines += [
            f"### Release `{release['name']}` ({release['change']})",
            "",
            _line(COLUMNS),
            _line("---" for _ in COLUMNS),
            *(_line(_cells(variant)) for variant in release["variants"]),
            _line(_total(release)),
            "",
            f"**Way back:** {_way_back(release, plan.no_way_back)}",
            "",
            *(f"- {text}" for text in _actions(release["objects"])),
            "",
        ]
    if shown["others"]:
        lines += ["### Other objects", ""]
        lines += [*(f"- {text}" for text in _actions(shown["others"])), ""]
    if shown["costs"]:
        title, *rows = shown_costs.table(shown["costs"])
        lines += ["### Cost of a month", "", _line(title)]
        lines += [_line("---" for _ in title), *map(_line, rows), ""]
        lines += [*(f"- {text}" for text in shown_costs.budgets(shown["costs"])), ""]
    if told := [*shown_costs.touched(shown), *shown["notes"]]:
        lines += [*(f"- {' '.join(text.split())}" for text in told), ""]
    return "\n".join(lines)


def terminal(plan: Plan) -> RenderableType:
    """Return the plan for whoever is on call, to be printed by a rich Console."""
    from rich.console import Group
    from rich.text import Text

    found = document(plan)
    parts: list[RenderableType] = []
    for release in found["releases"]:
        back = release["way_back"]
        style = ("green" if back["open"] else "red") if back else ""
        told = _way_back(release, plan.no_way_back)
        parts += [
            Text(f"release {release['name']}: {release['change']}", "bold"),
            _table(release),
            Text("way back: ").append(told, style),
            *(Text(f"  {text}") for text in _actions(release["objects"])),
            Text(),
        ]
    if found["others"]:
        parts.append(Text("other objects", "bold"))
        parts += [Text(f"  {text}") for text in _actions(found["others"])]
        parts.append(Text())
    if found["costs"]:
        parts += [Text("cost of a month", "bold"), shown_costs.rich(found["costs"])]
        parts += [Text(f"  {text}") for text in shown_costs.budgets(found["costs"])]
        parts.append(Text())
    parts += [Text(text) for text in shown_costs.touched(found)]
    parts += [Text("note: ", "bold yellow").append(text) for text in plan.notes]
    for text in plan.refusals:
        parts.append(Text("refused: ", "bold red").append(text, "red"))
    parts.append(Text(verdict(plan), "bold red" if plan.refusals else "bold"))
    return Group(*parts)


def show(
    lab: str,
    *,
    form: Form = "terminal",
    lose: Collection[str] = (),
    no_way_back: str | None = None,
) -> int:
    """Print the plan of a lab; return its exit code. Raises LabError as `plan` does."""
    found = plan(lab, lose=lose, no_way_back=no_way_back)
    match form:
        case "json":
            print(json.dumps(document(found), indent=2))
        case "markdown":
            print(markdown(found))
        case "terminal":
            from rich.console import Console

            Console().print(terminal(found))
    return found.exit_code


def _table(release: Mapping[str, Any]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False)
    for variant in release["variants"]:
        style = "bold" if _differs(variant["traffic"]) else ""
        table.add_row(*map(Text, _cells(variant)), style=style)
    table.add_section()
    table.add_row(*map(Text, _total(release)))
    return table


def verdict(plan: Plan) -> str:
    """Return what follows from the plan, in a few words."""
    if plan.refusals:
        count = len(plan.refusals)
        return f"refused, for {count} reason{'s' if count > 1 else ''}"
    if plan.exit_code == NOTHING:
        return "nothing to do"
    objects = len(plan.others) + sum(len(r.change.changed) for r in plan.releases)
    return (
        f"{objects} object{'s' if objects != 1 else ''} would change; "
        f"`lab up {plan.lab}` applies it"
    )


def _cells(variant: Mapping[str, Any]) -> list[str]:
    contract = variant["contract"]
    told = [contract["kind"], "; ".join(contract["columns"])] if contract else []
    return [
        _title(variant),
        _arrow(variant["version"], lambda version: f"version {version}") or "external",
        _traffic(variant),
        _arrow(variant["replicas"], str),
        _arrow(variant["memory"], _mebibytes),
        ": ".join(text for text in told if text),
    ]


def _title(variant: Mapping[str, Any]) -> str:
    """The variant's name, and what becomes of it."""
    was, is_ = variant["stable"]["before"], variant["stable"]["after"]
    roles = {
        (True, True): "stable",
        (True, False): "was stable",
        (False, True): "now stable",
        (None, True): "new, stable",
        (None, False): "new",
        (True, None): "removed, was stable",
        (False, None): "removed",
    }
    role = roles.get((was, is_))
    return f"{variant['name']} ({role})" if role else str(variant["name"])


def _traffic(variant: Mapping[str, Any]) -> str:
    """Weights before and after, then matches and copies where there are any."""
    told = [_arrow(variant["traffic"], lambda percent: f"{percent} %")]
    before, after = (variant["matches"][side] or [] for side in ("before", "after"))
    told += [f"no more {match}" for match in before if match not in after]
    told += [match if match in before else f"now {match}" for match in after]
    if any(variant["mirror"].values()):
        told.append(_arrow(variant["mirror"], lambda percent: f"copies of {percent} %"))
    return ", ".join(told)


def _total(release: Mapping[str, Any]) -> list[str]:
    replicas = _arrow(release["replicas"], str)
    return ["all", "", "", replicas, _arrow(release["memory"], _mebibytes), ""]


def _arrow(both: Mapping[str, Any], told: Any) -> str:
    """Before and after; one of them where there is no other, or the same."""
    values = [both[side] for side in ("before", "after") if both[side] is not None]
    return " → ".join(dict.fromkeys(map(told, values)))


def _differs(both: Mapping[str, Any]) -> bool:
    return bool(both["before"] != both["after"])


def _mebibytes(size: int) -> str:
    return f"{size / MIB:.0f} MiB"


def _way_back(release: Mapping[str, Any], accepted: str | None) -> str:
    back = release["way_back"]
    if back is None:
        stays = release["change"] == "changed"
        return "the stable variant stays" if stays else "there is nothing to go back to"
    if not back["open"]:
        told = f"none to {back['target']}: {'; '.join(back['obstacles'])}"
        return f"{told} (accepted: {accepted})" if accepted else told
    if back["warm"]:
        return f"{back['target']} stays warm; a rollback starts no pod"
    return f"{back['target']} can be started again; a rollback waits for its pods"


def _actions(objects: list[dict[str, Any]]) -> Iterator[str]:
    for each in objects:
        told = f"{each['operation']} {each['object']}"
        # Which of many rules of a route differ is for programs to read.
        reasons = list(dict.fromkeys(path.split("[")[0] for path in each["because"]))
        more = len(reasons) - REASONS
        if reasons:
            listed = ", ".join(reasons[:REASONS])
            told += f" ({listed} and {more} more)" if more > 0 else f" ({listed})"
        if each["restarts"]:
            told += ", which restarts its pods"
        if each["loses_data"]:
            told += ", and loses what it holds"
        yield told


def _line(cells: Iterable[str]) -> str:
    safe = (" ".join(cell.split()).replace("|", "&#124;") for cell in cells)
    return f"| {' | '.join(safe)} |"
