"""The inventory as one page that needs nothing else, and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from functools import partial
from html import escape
from pathlib import Path
from string import Template

from labfactory.inventory.things import Cell, Inventory, Section, told

HERE = Path(__file__).parent
PAGE = Template((HERE / "page.html").read_text(encoding="utf-8"))
SCRIPT = (HERE / "page.js").read_text(encoding="utf-8")
"""Hides the rows that do not have the words that are searched for."""
SHORT = 11
"""Letters of a cell that is never broken: so many fit into each of eight columns."""


def html(found: Inventory) -> str:
    """Return the inventory as one page; every text in it is escaped."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return PAGE.substitute(
        title=escape(f"{found.lab}: inventory"),
        allowed=f"sha256-{digest}",
        lab=escape(found.lab),
        at=f"{found.at:%Y-%m-%d %H:%M} UTC",
        links=" ".join(
            f'<a href="#{_id(each)}">{escape(each.name)}</a>' for each in found.sections
        ),
        sections="\n".join(_section(each, found.at) for each in found.sections),
        script=SCRIPT,
    )


def _section(section: Section, now: datetime) -> str:
    title = f"{escape(section.name.capitalize())} <small>{len(section.rows)}</small>"
    parts = [f"<h2>{title}</h2>"]
    if section.rows:
        parts.append(_table(section, now))
    elif not section.unknown:
        parts.append("<p class=none>none</p>")
    parts += [f"<p class=unknown>Unknown: {escape(e)}</p>" for e in section.unknown]
    return f"<section id={_id(section)}>{chr(10).join(parts)}</section>"


def _table(section: Section, now: datetime) -> str:
    numbers = [
        any(map(_is_number, cells)) and all(c is None or _is_number(c) for c in cells)
        for cells in zip(*section.rows, strict=True)
    ]
    head = "".join(
        f'<th scope="col"{" class=number" if number else ""}>{escape(column)}</th>'
        for column, number in zip(section.columns, numbers, strict=True)
    )
    lines = [
        "".join(map(partial(_cell, now), section.columns, row)) for row in section.rows
    ]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _cell(now: datetime, column: str, cell: Cell) -> str:
    text = told(column, cell, now)
    kinds = {
        "number": _is_number(cell),
        "short": len(text) <= SHORT,
        "empty": cell is None or cell == "",
    }
    classes = " ".join(kind for kind, is_one in kinds.items() if is_one)
    return f'<td data-column="{escape(column)}" class="{classes}">{escape(text)}</td>'


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _id(section: Section) -> str:
    return section.name.replace(" ", "-")
