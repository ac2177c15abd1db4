"""Run the tests: the unit tests first, then the live stories on one cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from labfactory import paths, tools
from labfactory.labs import build_images
from labfactory.progress import Progress

NONE_CHOSEN = 5
"""pytest's exit code when the arguments choose no test of a kind."""

CHECKERS = ("promtool", "amtool", "chromium")
"""What the tests of rules, alerts and pages ask; no lab needs them."""


def run(*, fast: bool, arguments: Sequence[str]) -> int:
    """Install what the tests need, run pytest, return its exit code."""
    progress = Progress()
    with progress.step("Python packages of the tests", estimate=30) as step:
        groups = ["--group", "dev", "--group", "image", "--group", "guard"]
        step.run(
            [
                tools.uv(),
                "sync",
                "--frozen",
                "--inexact",
                *groups,
            ],
            cwd=paths.PROJECT,
        )
    tools.ensure(CHECKERS, progress)
    if not fast:
        # Here and not in a fixture: pytest would hide the progress of a long build.
        build_images(progress)
    # Unit tests share the processors by file; the live ones share a cluster.
    units = _pytest("-m", "not live", "-n", "auto", "--dist", "loadfile", *arguments)
    if fast:
        return units
    live = _pytest("-m", "live", *arguments)
    ran = [code for code in (units, live) if code != NONE_CHOSEN]
    return max(ran, default=NONE_CHOSEN)


def _pytest(*words: str) -> int:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=paths.PROJECT,
        env=environment,
        check=False,
    ).returncode
