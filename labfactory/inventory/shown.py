"""`lab inventory`: everything that a lab has, as tables, JSON, CSV and one page."""

from __future__ import annotations

import csv
import io
import json as json_
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from labfactory.errors import LabError
from labfactory.inventory.collect import inventory
from labfactory.inventory.page import html as page
from labfactory.inventory.things import Cell, Inventory, Section, told

if TYPE_CHECKING:
    from rich.console import RenderableType

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Beginnings that a spreadsheet takes for a formula."""


def show(
    lab: str, *, json: bool = False, csv: Path | None = None, html: Path | None = None
) -> None:
    """Print what the lab has, or write it to the files that are named; LabError.

    What could not be asked is said in its section.
    """
    found = inventory(lab, now=datetime.now(UTC).replace(microsecond=0))
    for path, text in ((csv, as_csv), (html, page)):
        if path:
            _write(path, text(found))
    if json:
        print(json_.dumps(found.document(), indent=2, ensure_ascii=False))
    elif not (csv or html):
        from rich.console import Console

        Console().print(screen(found))


def as_csv(found: Inventory) -> str:
    """One table of every section: `section`, then every column that one of them has."""
    columns = list(dict.fromkeys(c for each in found.sections for c in each.columns))
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(("section", *columns, "unknown"))
    for each in found.sections:
        for row in each.objects():
            cells = (row.get(column) for column in columns)
            writer.writerow((each.name, *map(defused, cells), ""))
        for sentence in each.unknown:
            writer.writerow((each.name, *("" for _ in columns), defused(sentence)))
    return file.getvalue()


def defused(cell: Cell) -> str:
    """A cell as text that no spreadsheet takes for a formula."""
    if cell is None:
        return ""
    text = str(cell)
    if isinstance(cell, str) and text.lstrip(" ").startswith(FORMULA):
        return f"'{text}"
    return text


def screen(found: Inventory) -> RenderableType:
    """The inventory for a terminal. Pure."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(f"Lab {found.lab}", style="bold")]
    for each in found.sections:
        parts += ["", Text(f"{each.name} ({len(each.rows)})", style="bold cyan")]
        if each.rows:
            parts.append(_table(each, found.at))
        parts += [Text(f"unknown: {text}", style="yellow") for text in each.unknown]
    return Group(*parts)


def _table(section: Section, now: datetime) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(section.columns):
        counted = all(isinstance(row[number], int | float) for row in section.rows)
        side: Literal["left", "right"] = "right" if counted else "left"
        table.add_column(column, overflow="fold", header_style="dim", justify=side)
    for row in section.rows:
        cells = zip(section.columns, row, strict=True)
        table.add_row(*(Text(told(column, cell, now)) for column, cell in cells))
    return table


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise LabError(
            f"{path}: cannot be written ({error.strerror}); name another file"
        ) from None
