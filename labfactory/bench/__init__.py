"""`lab bench`: speed and size, each beside a floor that is measured in the same run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from rich.console import Console

from labfactory import paths
from labfactory.bench import (
    batch,
    cold,
    first,
    guard,
    memory,
    node,
    operations,
    program,
    release,
    releases,
    report,
    server,
    steady,
)
from labfactory.bench.figure import Figure
from labfactory.bench.ground import Ground, own_ground
from labfactory.errors import LabError
from labfactory.progress import Progress

RUNS = 3

Measure = Callable[[Ground, int], list[Figure]]
FIGURES: dict[str, Measure] = {
    "cold": cold.measure,
    "program": program.measure,
    "node": node.measure,
    "memory": memory.measure,
    "steady": steady.measure,
    "release": release.measure,
    "server": server.measure,
    "releases": releases.measure,
    "batch": batch.measure,
    "guard": guard.measure,
    # It takes the lab of those above away; those below make one of their own.
    "first": first.measure,
    **operations.PARTS,
}
"""What can be measured, by the name that `lab bench` takes, in a good order."""
GROUPS = tuple(dict.fromkeys(n.partition("-")[0] for n in FIGURES if "-" in n))
"""Names that stand for all figures that begin so."""
ONLY_BY_NAME = ("cold",)
"""Builds everything twice, which takes most of an hour."""


def chosen(names: Sequence[str]) -> list[str]:
    """The figures to measure, in order; raises LabError for one that is not there."""
    if unknown := sorted({*names} - {*FIGURES, *GROUPS}):
        there = ", ".join((*FIGURES, *GROUPS))
        raise LabError(f"lab bench: no figure {', '.join(unknown)}; there is: {there}")
    if not names:
        return [name for name in FIGURES if name not in ONLY_BY_NAME]
    return [name for name in FIGURES if {name, name.partition("-")[0]} & {*names}]


def run(figures: Sequence[str], *, runs: int = RUNS) -> None:
    """Measure the figures (all but `cold` unless named), print and save them.

    Each is saved, and put into docs/performance.md, as soon as it is there. Works in a
    lab of its own, which is removed at the end.
    """
    wanted = chosen(figures)
    file = paths.data() / "bench" / "figures.json"
    load = os.getloadavg()[0]
    caption = report.described(report.machine(), load)
    progress = Progress()
    found: list[Figure] = []
    with own_ground(progress) as ground:
        for name in wanted:
            progress.say(f"measuring {name}")
            measured = FIGURES[name](ground, runs)
            found += measured
            everything = report.save(file, measured, load)
            section = report.markdown(everything, caption)
            report.PAGE.write_text(report.put(report.PAGE.read_text(), section))
    Console().print(report.table(found, caption))
    Console().print(f"saved: {file}")
