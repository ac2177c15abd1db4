"""From nothing running to a node that is ready for a lab."""

from __future__ import annotations

import time
from contextlib import closing

from labfactory import embedded
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME, Ground, until
from labfactory.embedded import network
from labfactory.embedded.bringup import Bringup

FLOOR = ("containerd", "etcd", "kube-apiserver")


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Start the node of an empty cluster, and those of its processes in FLOOR."""
    ground.empty_cluster()
    values, floors = [], []
    for _ in range(runs):
        embedded.down(NAME, progress=ground.progress)
        started = time.perf_counter()
        embedded.up(NAME, ground.progress)
        values.append(time.perf_counter() - started)
        embedded.down(NAME, progress=ground.progress)
        floors.append(_floor(ground))
    embedded.down(NAME, progress=ground.progress)
    embedded.up(NAME, ground.progress)
    return [
        Figure(
            "node ready from nothing running",
            "containerd, etcd and kube-apiserver alone",
            "s",
            Aim(15, of="value"),
            tuple(values),
            tuple(floors),
            note="with DNS and volumes",
        )
    ]


def _floor(ground: Ground) -> float:
    bringup = Bringup(NAME, ground.progress, None)
    with closing(bringup.api):
        bringup.plan["processes"] = [
            each for each in bringup.plan["processes"] if each["name"] in FLOOR
        ]
        started = time.perf_counter()
        # The same start as a whole node's, which has no door of its own.
        pid = bringup._start()
        network.connect(bringup.addresses, bringup.folder, pid)
        until("containerd", bringup._has_containerd)
        until("the API server", bringup.api.ready)
        return time.perf_counter() - started
