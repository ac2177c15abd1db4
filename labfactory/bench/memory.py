"""Memory of everything that a cluster runs."""

from __future__ import annotations

import time
from pathlib import Path

from labfactory import paths
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME, Ground
from labfactory.embedded import machine
from labfactory.errors import LabError

IDLE_SECONDS = 20.0


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Add up the cluster's processes: empty, then with a lab of two releases."""
    ground.empty_cluster()
    floors = [_when_idle() for _ in range(runs)]
    ground.lab()
    values = [_when_idle() for _ in range(runs)]
    return [
        Figure(
            "memory of the idle lab with two releases, all processes and pods",
            "Kubernetes alone",
            "MiB",
            Aim(3072, of="value"),
            tuple(values),
            tuple(floors),
        )
    ]


def _when_idle() -> float:
    time.sleep(IDLE_SECONDS)
    supervisor = machine.supervisor(paths.cluster(NAME))
    if supervisor is None:
        raise LabError(f"lab bench: cluster {NAME!r} ended meanwhile")
    tree = [supervisor, *supervisor.children(recursive=True)]
    return sum(proportional_kib(process.pid) for process in tree) / 1024


def proportional_kib(pid: int) -> int:
    """KiB that a process has for itself, and its share of what it shares (PSS)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0  # it ended meanwhile, or belongs to the kernel
    [line] = [line for line in text.splitlines() if line.startswith("Pss:")]
    return int(line.split()[1])
