"""Importing and evaluating the lab's program, without a cluster."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from labfactory import paths
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import Ground
from labfactory.errors import LabError

SCRIPT = Path(__file__).with_name("evaluate.py")
EXAMPLE = paths.PROJECT / "stacks" / "Pulumi.example.yaml"
TIMES = 5
"""As often per run: one takes half a second."""


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Evaluate the example lab's program and the bare loop in turns."""
    with tempfile.TemporaryDirectory() as folder:
        settings, resources = Path(folder, "settings"), Path(folder, "resources")
        stack = yaml.safe_load(EXAMPLE.read_text())
        lab = json.dumps(stack["config"]["labfactory:lab"], default=str)
        settings.write_text(lab)
        _run("record", settings, resources)
        _run("loop", resources)  # writes the bytecode of what it alone imports
        values, floors = [], []
        for _ in range(runs * TIMES):
            values.append(_run("program", settings))
            floors.append(_run("loop", resources))
        count = len(json.loads(resources.read_text()))
    aim = Aim(1.3)
    floor = "a bare loop that registers the same resources"
    name = "importing and evaluating the program under mocks"
    return [
        Figure(
            f"{name}, processor time",
            floor,
            "s",
            aim,
            tuple(processor for processor, _ in values),
            tuple(processor for processor, _ in floors),
            note=f"{count} resources",
        ),
        Figure(
            f"{name}, wall clock",
            floor,
            "s",
            aim,
            tuple(wall for _, wall in values),
            tuple(wall for _, wall in floors),
        ),
    ]


def _run(what: str, *files: Path) -> tuple[float, float]:
    """Seconds of the processor, and seconds on the wall."""
    before, started = _processor_seconds(), time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-P", SCRIPT, what, *files],
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - started
    if result.returncode != 0:
        raise LabError(f"lab bench: the program fails: {result.stderr.strip()}")
    return _processor_seconds() - before, wall


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
