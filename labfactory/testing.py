"""Run the tests: the unit tests first, then the live story on a cluster of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from labfactory import paths, tools
from labfactory.progress import Progress

FAST = "not live"


def run(*, fast: bool, arguments: Sequence[str]) -> int:
    """Install what the tests import, run pytest, return its exit code."""
    progress = Progress()
    with progress.step("Python packages of the tests", estimate=30) as step:
        groups = ["--group", "dev", "--group", "image"]
        step.run(
            [tools.uv(), "sync", "--frozen", "--no-progress", *groups],
            cwd=paths.PROJECT,
        )
    pytest = [sys.executable, "-m", "pytest", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if fast:
        pytest += ["-m", FAST]
    return subprocess.run(
        pytest, cwd=paths.PROJECT, env=environment, check=False
    ).returncode
