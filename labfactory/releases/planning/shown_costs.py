"""What a plan says about money and agreements, as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Costs = Mapping[str, Any]
"""`costs` of the plan's document."""


def table(costs: Costs) -> list[list[str]]:
    """The sums before and after, title first: rooms, releases, all together."""
    title = [f"{costs['currency']} a month", "before", "after", "difference"]
    rows = [
        *(_row(f"room {each['name']}", each) for each in costs["rooms"]),
        *(_row(f"release {each['name']}", each) for each in costs["releases"]),
        _row("all", costs["total"]),
    ]
    return [title, *rows]


def rich(costs: Costs) -> Table:
    """The same table for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title, *rows = table(costs)
    found = Table(title[0], box=box.SIMPLE_HEAD, pad_edge=False)
    for name in title[1:]:
        found.add_column(name, justify="right")
    for row in rows[:-1]:
        found.add_row(*map(Text, row), style="bold" if row[-1] else "")
    found.add_section()
    found.add_row(*map(Text, rows[-1]), style="bold")
    return found


def budgets(costs: Costs) -> Iterator[str]:
    """What agreements allow and what is left, what calls cost, and whose prices."""
    currency = costs["currency"]
    for each in costs["budgets"]:
        over = each["override"]
        until = f" (until {over['until']}, by {over['by']})" if over else ""
        yield (
            f"agreement {each['agreement']}: {each['left']:.2f} of "
            f"{each['allowed']:.2f} {currency} left{until}"
        )
    for name, price in costs["calls"].items():
        yield f"{name}: {price:g} {currency} a call, in none of these sums"
    yield f"prices: book {costs['book']} of {costs['dated']}"


def touched(shown: Mapping[str, Any]) -> Iterator[str]:
    """The clauses of agreements that the change touches."""
    for each in shown["clauses"]:
        yield (
            f"touches: agreement {each['agreement']}, clause {each['clause']}: "
            f"{each['text']}"
        )


def _row(name: str, both: Mapping[str, float]) -> list[str]:
    difference = round(both["after"] - both["before"], 2)
    told = f"{difference:+.2f}" if difference else ""
    return [name, f"{both['before']:.2f}", f"{both['after']:.2f}", told]
