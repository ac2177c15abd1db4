"""`lab agreements`: promised beside measured, as tables, as JSON, as one page."""

from __future__ import annotations

import json as writer
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labfactory.agreements import measured as asking
from labfactory.agreements.history import Change, last_changes
from labfactory.agreements.kept import Account, Row, accounts
from labfactory.errors import LabError
from labfactory.stack import Stack

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

WORDS = {True: "kept", False: "broken", None: "unknown"}
COLOURS = {True: "green", False: "red", None: "yellow"}


def show(lab: str, *, json: bool = False, html: Path | None = None) -> None:
    """Print what became of the lab's agreements, or write the page `html`.

    Raises LabError when the lab has no agreements; whoever can't be asked is told in
    the rows that are unknown for it.
    """
    if json and html:
        raise LabError(
            "agreements: --json prints and --html writes a file; choose one of them"
        )
    stack = Stack(lab)
    settings = stack.settings
    if not settings.agreements:
        raise LabError(
            f"lab {lab!r}: has no agreements; write the first into `agreements` of "
            f"{stack.file.name}"
        )
    now = datetime.now(UTC)
    outputs = _outputs(stack)
    found = asking.measured(settings, outputs, costs=_costs(outputs, now))
    told = accounts(settings, found, now=now)
    changes = last_changes(stack.file)
    if json:
        print(writer.dumps(tree(lab, told, changes, now=now), indent=2))
    elif html:
        from labfactory.agreements.page import page

        html.write_text(page(lab, told, changes, now=now), encoding="utf-8")
        print(f"wrote {html}")
    else:
        from rich.console import Console

        Console().print(screen(told, changes))


def _costs(outputs: Mapping[str, Any], now: datetime) -> asking.Costs:
    """Asks what this month is going to cost, by agreement."""
    from labfactory.costs.measured import measure

    def ask() -> dict[str, float]:
        url = outputs.get("monitoring_url")
        if url is None:
            raise LabError("the lab has no Prometheus; add `monitoring` to it")
        return {
            name: each.forecast for name, each in measure(url, now).agreements.items()
        }

    return ask


def tree(
    lab: str,
    found: tuple[Account, ...],
    changes: Mapping[str, Change],
    *,
    now: datetime,
) -> dict[str, Any]:
    """The accounts as JSON's types; `kept` and `measured` are null where unknown."""
    return {
        "lab": lab,
        "at": now.isoformat(timespec="seconds"),
        "agreements": {
            each.agreement: {
                "owner": each.owner,
                "consumers": list(each.consumers),
                "releases": list(each.releases),
                "kept": each.is_kept,
                "changed": asdict(changes[each.agreement])
                if each.agreement in changes
                else None,
                "clauses": [asdict(row) for row in each.rows],
            }
            for each in found
        },
    }


def screen(found: tuple[Account, ...], changes: Mapping[str, Change]) -> RenderableType:
    """A table of each agreement. Pure."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for each in found:
        if parts:
            parts.append("")
        title = Text(each.agreement, style="bold cyan")
        title.append(f"  {about(each)}", style="not bold default")
        parts += [title, _table(each)]
        if change := changes.get(each.agreement):
            parts.append(Text(changed(change), style="dim"))
    return Group(*parts)


def about(account: Account) -> str:
    """Who promised what to whom, in one line."""
    text = f"promised by {account.owner}"
    if account.consumers:
        text += f" to {', '.join(account.consumers)}"
    return f"{text}, of {', '.join(account.releases) or 'the lab'}"


def changed(change: Change) -> str:
    """The last change of an agreement, in one line."""
    return f"changed on {change.day} by {change.by}: {change.subject}"


def left(row: Row) -> str:
    """What is left, in per cent; below zero when more than all is gone."""
    return "" if row.left is None else f"{100 * row.left:.0f} %"


def _table(account: Account) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("clause", "promised", "measured", "left", ""):
        justify: Any = "right" if column == "left" else "left"
        table.add_column(column, overflow="fold", header_style="dim", justify=justify)
    for row in account.rows:
        clause = f"{row.clause} ({row.release})" if row.release else row.clause
        word = Text(WORDS[row.kept], style=COLOURS[row.kept])
        table.add_row(Text(clause), Text(row.promised), _measured(row), left(row), word)
    return table


def _measured(row: Row) -> Text:
    from rich.text import Text

    text = Text(row.measured or "")
    if row.note:
        text.append(f"; {row.note}" if row.measured else row.note, style="dim")
    return text


def _outputs(stack: Stack) -> Mapping[str, Any]:
    """Addresses of what is asked; none of a lab that is not up."""
    try:
        return stack.outputs()
    except (LabError, OSError):
        return {}
