"""Run the tests: the unit tests first, then the live story on a cluster of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from labfactory import paths, tools
from labfactory.labs import build_images
from labfactory.progress import Progress


def run(*, fast: bool, arguments: Sequence[str]) -> int:
    """Install what the tests need, run pytest, return its exit code."""
    progress = Progress()
    with progress.step("Python packages of the tests", estimate=30) as step:
        groups = ["--group", "dev", "--group", "image"]
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
    if not fast:
        # Here and not in a fixture: pytest would hide the progress of a long build.
        build_images(progress)
    pytest = [sys.executable, "-m", "pytest", *arguments]
    if fast:
        pytest += ["-m", "not live"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run(
        pytest, cwd=paths.PROJECT, env=environment, check=False
    ).returncode
