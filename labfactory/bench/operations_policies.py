"""What policies cost: of a preview, and without any cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from labfactory import environment, paths
from labfactory.backups import history
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME, Ground
from labfactory.bench.operations_lab import promising
from labfactory.bench.releases_canary import lab
from labfactory.check import checked, pack
from labfactory.errors import LabError
from policies.rules import RULES

SPENT = Path(__file__).with_name("operations_spent.py")
TURNS = 7
PREVIEW = ("pulumi", "preview", "--json", "--show-sames", "--non-interactive")
LONGEST = 30


def previews(ground: Ground, runs: int) -> list[Figure]:
    """Preview the lab as it is with the policies and without them, in turns."""
    promising(ground)
    drill = history.last_drill(ground.stack.settings)
    given = {**os.environ, **environment.variables()}
    plain = (*PREVIEW, "--stack", NAME)
    values, floors = [], []
    with (
        ground.progress.step("previews with and without policies", estimate=120),
        pack.run(given, drill) as run,
    ):
        for _ in range(1 + max(TURNS, runs)):
            values.append(spent([*plain, *run.flags], run.environment))
            floors.append(spent(plain, run.environment))
    # The first of each writes the bytecode of what may have changed.
    return shares(values[1:], floors[1:])


def shares(
    values: Sequence[tuple[float, float]], floors: Sequence[tuple[float, float]]
) -> list[Figure]:
    """The figures of previews with and without policies: seconds, and processor's."""
    return [
        Figure(
            f"`pulumi preview` with the policies, {what}",
            "the same preview without them",
            "s",
            Aim(1.1),
            tuple(each[place] for each in values),
            tuple(each[place] for each in floors),
            note=f"{len(RULES)} rules",
        )
        for place, what in enumerate(("wall clock", "processor time"))
    ]


def spent(command: Sequence[str], given: Mapping[str, str]) -> tuple[float, float]:
    """Seconds that a command takes, and the processor's, of all that it starts too.

    It runs in the environment `given`. Raises LabError when it fails.
    """
    result = subprocess.run(
        [sys.executable, "-P", str(SPENT), *command],
        cwd=paths.PROJECT,
        env=dict(given),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise LabError(
            f"lab bench: {' '.join(command[:2])} fails: {result.stderr.strip()[-2000:]}"
        )
    found = json.loads(result.stdout)
    return found["seconds"], found["processor"]


def check(ground: Ground, runs: int) -> list[Figure]:
    """Run `lab check` on every committed stack; no lab is needed for it."""
    values = []
    for _ in range(runs):
        with ground.progress.step("lab check"):
            began = time.perf_counter()
            lab("check")
            values.append(time.perf_counter() - began)
    stacks = len(checked.committed())
    return [
        Figure(
            "`lab check` of all example stacks, without a cluster",
            "",
            "s",
            Aim(LONGEST, of="value"),
            tuple(values),
            note=f"{len(RULES)} rules, stacks: {stacks}",
        )
    ]
