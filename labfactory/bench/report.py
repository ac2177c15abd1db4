"""Show figures, keep them, and put them into the page about performance."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from labfactory import paths
from labfactory.bench.figure import Aim, Figure

COLUMNS = ("figure", "value", "floor", "ratio", "aim", "spread: value, floor", "runs")
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
NONE = "–"
"""Stands in the table where there is no floor."""
PAGE = paths.PROJECT / "docs" / "performance.md"


def machine() -> dict[str, Any]:
    """This machine: what decides how fast a lab is on it."""
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "kernel": platform.release(),
        "system": system,
        "python": platform.python_version(),
    }


def described(machine: Mapping[str, Any], load: float) -> str:
    """The machine in a sentence; `load` is the load average before the run."""
    busy = "; other work ran on it at the same time" if load > 0.5 else ""
    return (
        f"{machine['cores']} cores, {machine['memory_gib']} GiB of memory, "
        f"{machine['system']}, kernel {machine['kernel']}, Python {machine['python']}; "
        f"load average before the run {load:.1f}{busy}."
    )


def amount(number: float, unit: str) -> str:
    """A number with its unit, in three digits; what was counted is whole."""
    counted = isinstance(number, int)
    digits = 0 if counted else max(0, 3 - len(str(int(abs(number)))))
    return f"{number:.{digits}f} {unit}"


def wanted(aim: Aim, unit: str) -> str:
    """An aim as the table writes it: `≤ 1.3 x`, `≤ 15 s`."""
    sign = "≥" if aim.at_least else "≤"
    return f"{sign} {aim.limit:g} {'x' if aim.of == 'ratio' else unit}"


def row(figure: Figure) -> list[str]:
    """The cells of a figure, in the order of COLUMNS."""
    unit = figure.unit
    spread = ", ".join(
        f"{amount(min(runs), unit).removesuffix(f' {unit}')}-{amount(max(runs), unit)}"
        for runs in (figure.values, figure.floors)
        if runs
    )
    floor, ratio = NONE, NONE
    if figure.floor is not None and figure.ratio is not None:
        floor = f"{amount(figure.floor, unit)}: {figure.floor_name}"
        ratio = f"{figure.ratio:.2f} x"
    what = f"{figure.name} ({figure.note})" if figure.note else figure.name
    return [
        what,
        amount(figure.value, unit),
        floor,
        ratio,
        f"{wanted(figure.aim, unit)}: {'met' if figure.met else 'missed'}",
        spread,
        str(len(figure.values)),
    ]


def table(figures: Iterable[Figure], caption: str) -> Table:
    """The figures for a terminal."""
    found = Table(*COLUMNS, title="lab bench", caption=caption, show_lines=True)
    for figure in figures:
        found.add_row(*row(figure), style="" if figure.met else "bold")
    return found


def markdown(figures: Iterable[Figure], caption: str) -> str:
    """The figures for the page."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(row, figures)]
    days = sorted({figure.measured for figure in figures})
    return (
        "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        + f"\n\nMedians. Measured on {', '.join(days)}: {caption}\n"
    )


def merged(before: Sequence[Figure], after: Sequence[Figure]) -> list[Figure]:
    """`before` with the figures that were measured again replaced by `after`."""
    newer = {figure.name: figure for figure in after}
    kept = [newer.pop(figure.name, figure) for figure in before]
    return [*kept, *newer.values()]


def put(page: str, section: str) -> str:
    """`page` with `section` between its marks; ValueError when a mark is missing."""
    start = page.index(BEGIN) + len(BEGIN)
    return f"{page[:start]}\n{section}{page[page.index(END, start) :]}"


def save(file: Path, figures: Sequence[Figure], load: float) -> list[Figure]:
    """Keep the figures beside earlier ones of this machine; return all of them."""
    here = machine()
    saved = json.loads(file.read_text()) if file.exists() else {}
    before = saved.get("figures", []) if saved.get("machine") == here else []
    today = date.today().isoformat()
    new = [Figure.from_json({**f.as_json(), "measured": today}) for f in figures]
    found = merged([Figure.from_json(figure) for figure in before], new)
    content = {
        "machine": here,
        "load": load,
        "figures": [figure.as_json() for figure in found],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n")
    return found
