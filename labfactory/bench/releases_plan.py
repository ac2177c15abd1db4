"""What a change of the settings touches, and how long a plan of many releases takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME
from labfactory.bench.release import MODEL
from labfactory.bench.releases_canary import NEW, Canary, Tree, lab, pinned
from labfactory.demo.story import only
from labfactory.releases import changes
from labfactory.releases.models.registry import ModelVersion
from labfactory.releases.planning.objects import OPERATIONS
from labfactory.releases.planning.plan import CHANGED

RELEASES = 100
COUNTS = (1, 10, RELEASES)
PLAN = ("plan", NAME)


def objects(canary: Canary, runs: int) -> list[Figure]:
    """Preview a version bump and a weight change; once, whatever `runs` says."""
    stack = canary.ground.stack
    canary.apply(canary.alone)
    with canary.tried(lambda tree: only(tree, MODEL, canary.new)):
        bump = stack.changes()
    canary.apply(canary.candidate(10))
    with canary.tried(lambda tree: changes.weigh(tree, MODEL, {NEW: 20})):
        weight = stack.changes()
    return [
        touched("objects changed by a version bump", bump, 3),
        touched("objects changed by a weight change", weight, 1),
        Figure(
            "objects replaced by either",
            "",
            "objects",
            Aim(0, of="value"),
            (replaced(bump) + replaced(weight),),
        ),
    ]


def touched(name: str, found: Mapping[str, int], limit: int) -> Figure:
    """The figure of a preview's changes, with the operations as a note."""
    told = ", ".join(f"{count} {operation}" for operation, count in found.items())
    value = sum(found.values())
    return Figure(name, "", "objects", Aim(limit, of="value"), (value,), note=told)


def replaced(found: Mapping[str, int]) -> int:
    """How many of a preview's changes are replacements."""
    return sum(n for op, n in found.items() if OPERATIONS.get(op) == "replace")


def plan(canary: Canary, runs: int) -> list[Figure]:
    """Run `lab plan` and `pulumi preview` of the same 100 releases, in turns."""
    there = len(canary.ground.stack.settings.releases)
    values, floors = [], []
    with (
        canary.tried(partial(filled, found=canary.old, more=RELEASES - there)),
        canary.ground.progress.step(f"plan of {RELEASES} releases"),
    ):
        _preview(canary)  # writes the bytecode of what may have changed
        for _ in range(runs):
            began = time.perf_counter()
            lab(*PLAN, codes=(CHANGED,))
            values.append(time.perf_counter() - began)
            floors.append(_preview(canary))
    return [
        Figure(
            f"`lab plan` with {RELEASES} releases",
            "`pulumi preview` alone",
            "s",
            Aim(1.1),
            tuple(values),
            tuple(floors),
            note=f"{RELEASES - there} of them new",
        )
    ]


def preview(canary: Canary, runs: int) -> list[Figure]:
    """Preview 1, 10 and 100 more releases than there are, in turns."""
    seconds: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(runs):
        for count in COUNTS:
            with canary.tried(partial(filled, found=canary.old, more=count)):
                seconds[count].append(_preview(canary))
    return [per_release(seconds)]


def per_release(seconds: Mapping[int, Sequence[float]]) -> Figure:
    """The figure of a preview's slope, between the fewest and the most releases."""
    few, some, many = sorted(seconds)
    medians = {count: median(found) for count, found in seconds.items()}
    first = (medians[some] - medians[few]) / (some - few)
    whole = (medians[many] - medians[few]) / (many - few)
    told = ", ".join(f"{medians[count]:.2f} s for {count}" for count in sorted(seconds))
    return Figure(
        "`pulumi preview`, for each release",
        "",
        "ms",
        Aim(60, of="value"),
        tuple(
            1000 * (most - least) / (many - few)
            for least, most in zip(seconds[few], seconds[many], strict=True)
        ),
        note=f"{told}; up to {many} it grows {whole / first:.2f} x as fast as up to "
        f"{some}",
    )


def filled(tree: Tree, found: ModelVersion, more: int) -> dict[str, Any]:
    """The settings with so many releases more, each of the same version."""
    new: dict[str, Any] = {**tree}
    for number in range(more):
        name = f"copy-{number:03}"
        new = changes.add(new, name, f"v{found.version}", pinned(found))
    return new


def _preview(canary: Canary) -> float:
    """Run `pulumi preview` as a plan does; return how many seconds it took."""
    began = time.perf_counter()
    canary.ground.pulumi("preview", "--json", "--show-sames", "--stack", NAME)
    return time.perf_counter() - began
