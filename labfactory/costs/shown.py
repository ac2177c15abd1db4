"""`lab costs`: what a lab costs, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labfactory.costs import change, report
from labfactory.costs.measured import Measured, NotMeasured, measure
from labfactory.errors import LabError
from policies.rules.costs import BookError, Line, priced

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from labfactory.stack import Stack


def show(lab: str, *, as_json: bool = False) -> None:
    """Print what a lab costs. Raises LabError: not applied, no prices, no answer."""
    from labfactory import labs
    from labfactory.stack import Stack

    stack = Stack(lab)
    settings, now = stack.settings, datetime.now(UTC)
    url = labs.outputs(stack).get("monitoring_url")
    try:
        measured = _measured(url, now)
        lines = None if measured else reserved(stack)
        found = report.document(settings, lines, measured, now)
    except BookError as error:
        raise LabError(f"lab {lab!r}: {error}") from None
    if as_json:
        print(json.dumps(found, indent=2))
        return
    from rich.console import Console

    Console().print(screen(found))


def _measured(url: str | None, now: datetime) -> Measured | None:
    try:
        return measure(url, now) if url else None
    except NotMeasured:
        return None


def reserved(stack: Stack) -> tuple[Line, ...]:
    """What the objects cost that the stack has now. Raises LabError, BookError."""
    from labfactory.releases.planning import meaning

    before, _ = change.resources(meaning.read(stack.preview(judged=False)))
    today = datetime.now(UTC).date()
    return priced(change.lab_of(stack.settings, before, today=today))


def screen(found: Mapping[str, Any]) -> RenderableType:
    """The document of `lab costs` for people, to be printed by a rich Console."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [
        Text(f"Lab {found['lab']}, {found['month']}", style="bold"),
        _table(found),
    ]
    if found["budgets"]:
        parts.append(_budgets(found))
    parts += [Text(text) for text in told(found)]
    return Group(*parts)


def told(found: Mapping[str, Any]) -> Iterator[str]:
    """What the sums are made of, and what is not in them: sentences."""
    book, currency = found["book"], found["currency"]
    if since := found["measured_since"]:
        yield (
            f"measured since {since}; of this month's other hours these are taken to "
            "be typical, and of those to come the newest; what is outside the lab's "
            "namespaces is not measured"
        )
    else:
        yield (
            "nothing is measured (there is no `monitoring`, or it is new); the "
            "forecast is what is reserved, for a whole month"
        )
    for name, price in found["calls"].items():
        yield f"{name}: {price:g} {currency} a call, in none of these sums"
    yield f"prices: book {book['name']} of {book['dated']}, {book['age_days']} days old"
    yield from (f"not counted: {each}" for each in book["beside"])
    if any(each["override"] or each["ended"] for each in found["budgets"]):
        yield found["kept"]
    yield from (f"note: {each}" for each in found["notes"])


def _table(found: Mapping[str, Any]) -> Table:
    table = _columns(f"{found['currency']} a month", "spent", "forecast")
    for kind in ("room", "release"):
        for each in found[f"{kind}s"]:
            table.add_row(f"{kind} {each['name']}", *_sums(each))
    table.add_section()
    table.add_row("all", *_sums(found["total"]), style="bold")
    return table


def _budgets(found: Mapping[str, Any]) -> Table:
    from rich.text import Text

    table = _columns("agreement", "spent", "forecast", "allowed", "left")
    table.add_column("override")
    for each in found["budgets"]:
        over = each["override"] or each["ended"]
        verb = "until" if each["override"] else "ended"
        table.add_row(
            f"{each['agreement']} ({each['owner']})",
            *_sums(each),
            _money(each["allowed"]),
            _money(each["left"]),
            Text(f"{verb} {over['until']}, {over['by']}" if over else ""),
            style="red" if (each["left"] or 0) < 0 else "",
        )
    return table


def _columns(first: str, *numbers: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(first, box=box.SIMPLE_HEAD, pad_edge=False)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _sums(each: Mapping[str, Any]) -> tuple[str, str]:
    return _money(each["spent"]), _money(each["forecast"])


def _money(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
