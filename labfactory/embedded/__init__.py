"""A real single-node Kubernetes in one tree of processes, for a machine without one.

Everything of a cluster lives in namespaces of its supervisor (`supervisor.py`): when
that ends, however it ends, the kernel ends every process of the node, and its mounts
and its network vanish. The data stays in the cluster's folder.
"""

from __future__ import annotations

import re
import shutil
from contextlib import closing

from labfactory import paths
from labfactory.embedded import lock, machine, remains
from labfactory.embedded.bringup import Bringup, LoadImages, clean
from labfactory.errors import LabError
from labfactory.progress import Progress

__all__ = [
    "LoadImages",
    "clusters",
    "down",
    "leftovers",
    "processes",
    "running",
    "up",
]

NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


def up(
    name: str,
    progress: Progress | None = None,
    load_images: LoadImages | None = None,
) -> None:
    """Bring the cluster up, with the data it had; at once when it is up already.

    `load_images` is called with containerd's socket, also when nothing was started. A
    call while another `up` or `down` of the cluster works waits for that one. Raises
    LabError.
    """
    progress = progress or Progress()
    _check(name)
    with lock.held(name, progress):
        bringup = Bringup(name, progress, load_images)
        with closing(bringup.api):
            bringup.run()


def down(name: str, purge: bool = False, progress: Progress | None = None) -> None:
    """Stop the cluster and leave nothing of it but its folder; `purge` that as well.

    A cluster that is down, or never was, is fine. Raises LabError when something of it
    cannot be removed.
    """
    progress = progress or Progress()
    _check(name)
    folder = paths.cluster(name)
    with lock.held(name, progress):
        if machine.supervisor(folder):
            with progress.step(f"Stop cluster {name}", estimate=8):
                machine.stop(folder)
        clean(name, folder)
        left = leftovers(name)
        if left:
            raise LabError(
                f"cluster {name!r}: stopped, but this is left: {', '.join(left)}; "
                f"run `lab down` again"
            )
        if purge and folder.exists():
            with progress.step(f"Delete the data of cluster {name}"):
                shutil.rmtree(folder)


def running(name: str) -> bool:
    """Whether the cluster's supervisor runs."""
    return machine.supervisor(paths.cluster(name)) is not None


def processes(name: str) -> dict[str, int]:
    """Pids on the machine: `etcd`, `kubelet`, …; `NAMESPACE/POD/CONTAINER` of pods."""
    return machine.processes(paths.cluster(name))


def clusters() -> list[str]:
    """Names of the embedded clusters that exist, running or not."""
    found = paths.cluster("x").parent.glob("*/cluster.json")
    return sorted(file.parent.name for file in found)


def leftovers(name: str) -> list[str]:
    """What the cluster has on the machine outside its folder; empty when it is down."""
    return remains.find(name, paths.cluster(name))


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise LabError(
            f"cluster {name!r}: not a usable name; take 1 to 40 lower-case letters, "
            f"digits and dashes, a letter first"
        )
