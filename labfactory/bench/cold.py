"""A whole `lab demo` on a machine that has nothing of it: most of an hour."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from labfactory import paths
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME, Ground
from labfactory.errors import LabError

DEMO = f"from labfactory.demo import run; run({NAME!r})"
AWAY = f"from labfactory import embedded; embedded.down({NAME!r}, purge=True)"
BUILDS = """
from labfactory import labs, tools
from labfactory.progress import Progress
tools.ensure((*labs.NODE, *labs.PULUMI, *labs.IN_IMAGES), Progress())
"""


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Time one demo and the builds of its tools alone, each with an empty cache.

    Once, whatever `runs` says. What the machine's package manager and uv have stays.
    """
    ground.clear()
    folder = paths.data() / "cold"
    try:
        value = _timed(DEMO, folder)
    finally:
        _python(AWAY, folder)
        ground.stack.file.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    try:
        floor = _timed(BUILDS, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [
        Figure(
            "cold `lab demo` on a fresh machine",
            "the tool builds alone",
            "s",
            Aim(1.15),
            (value,),
            (floor,),
        )
    ]


def _timed(program: str, folder: Path) -> float:
    started = time.perf_counter()
    if _python(program, folder) != 0:
        raise LabError("lab bench: a cold start failed; the reason stands above")
    return time.perf_counter() - started


def _python(program: str, folder: Path) -> int:
    return subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=paths.PROJECT,
        env={
            **os.environ,
            "LABFACTORY_CACHE": str(folder / "cache"),
            "LABFACTORY_HOME": str(folder / "home"),
        },
        check=False,
    ).returncode
