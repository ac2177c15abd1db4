"""Predictions over files: one worker, beside the same model in a bare loop.

Both are processes of their own that load the model, read the same Parquet file from a
local folder and write their predictions there; no store and no cluster is between.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from labfactory import paths
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import Ground
from labfactory.errors import LabError
from model_templates.server.model_server.digest import tree_digest

SERVER = paths.PROJECT / "model_templates" / "server"
SCRIPT = Path(__file__).with_name("batch_floor.py")
ROWS = 1_000_000
TIMES = 8
"""The larger file has so many times the rows."""
WATCH_SECONDS = 0.02


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Predict a file by the worker and by the bare loop in turns; then a larger one."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with ground.progress.step("a model, and files with rows", estimate=30):
            _run(_floor("make", root, ROWS, TIMES))
        model = root / "model"
        worker = [
            *(sys.executable, "-P", "-m", "batch"),
            *("--release", "bench", "--variant", "v1", "--version", "1"),
            *("--digest", str(tree_digest(model)), "--model_dir", str(model)),
        ]
        speeds, floors, small, large = [], [], [], []
        for run in range(runs):
            with ground.progress.step(
                f"{ROWS:,} and {TIMES * ROWS:,} rows", estimate=60
            ):
                output = root / f"out-{run}"
                seconds, peak = _run(
                    [*worker, f"file://{root}/small.parquet", f"file://{output}"]
                )
                speeds.append(ROWS / seconds)
                small.append(peak)
                seconds, _ = _run(_floor("predict", root))
                floors.append(ROWS / seconds)
                _, peak = _run(
                    [*worker, f"file://{root}/large.parquet", f"file://{output}-large"]
                )
                large.append(peak)
    return [
        Figure(
            "batch, one worker, start included",
            "the same model's predict in one Python process over the same file",
            "rows/s",
            Aim(0.8, at_least=True),
            tuple(speeds),
            tuple(floors),
        ),
        Figure(
            f"peak memory of a batch worker, file of {TIMES * ROWS:,} rows",
            f"file of {ROWS:,} rows",
            "MiB",
            Aim(1.1),
            tuple(large),
            tuple(small),
        ),
    ]


def _floor(what: str, *words: object) -> list[str]:
    return [sys.executable, "-P", str(SCRIPT), what, *map(str, words)]


def _run(command: list[str]) -> tuple[float, float]:
    """Run a process to its end; return its seconds, and MiB at its peak."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(SERVER),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        peak = 0
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(WATCH_SECONDS)
        process.wait()
        seconds = time.perf_counter() - started
        if process.returncode != 0:
            said.seek(0)
            raise LabError(f"lab bench: {command[:5]} fails: {said.read()[-800:]}")
    return seconds, peak / 2**20
