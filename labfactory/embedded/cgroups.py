"""The cluster's control groups: one folder of its own in every hierarchy there is.

They are for accounting and limits alone; ending processes is the PID namespace's part.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from labfactory import paths
from labfactory.errors import LabError

CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")
EMPTY_SECONDS, REMOVAL_SECONDS = 60.0, 5.0


def hierarchies(mountinfo: str) -> dict[Path, str]:
    """Mount point -> file system type (`cgroup` or `cgroup2`) of every hierarchy."""
    found = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind = after.split()[0]
        if kind in ("cgroup", "cgroup2"):
            found[Path(before.split()[4])] = kind
    return found


def group(cluster: str) -> str:
    """Name of the cluster's folders.

    Clusters of two data folders may share a name; sharing a folder, each kubelet would
    end the other's pods.
    """
    where = hashlib.sha256(str(paths.cluster(cluster)).encode()).hexdigest()
    return f"labfactory-{cluster}-{where[:6]}"


def folders(cluster: str) -> list[Path]:
    """The cluster's folder in every hierarchy of this machine."""
    mounts = hierarchies(Path("/proc/self/mountinfo").read_text())
    return [mount / group(cluster) for mount in mounts]


def create(cluster: str) -> list[Path]:
    """Make the cluster's folders with a leaf `node` for the processes of the node.

    Raises LabError when the machine does not allow it.
    """
    made = folders(cluster)
    if not made:
        raise LabError(
            "control groups: none are mounted under /sys/fs/cgroup; "
            "a machine with systemd has them, a container needs them passed in"
        )
    for folder in made:
        try:
            (folder / "node").mkdir(parents=True, exist_ok=True)
            if (folder / "cpuset.cpus").exists() and _is_v1(folder.parent):
                for path in (folder, folder / "node"):
                    _inherit_cpuset(path)
            elif (folder / "cgroup.subtree_control").exists():
                _pass_on_controllers(folder)
        except OSError as error:
            raise LabError(
                f"control groups: cannot prepare {folder} ({error.strerror}); the "
                f"embedded cluster needs a machine, or a container that owns its groups"
            ) from None
    return made


def members(cluster: str) -> set[int]:
    """Pids of every process in the cluster's folders."""
    found: set[int] = set()
    for folder in folders(cluster):
        for file in folder.rglob("cgroup.procs"):
            with suppress(OSError):  # a group may vanish while it is read
                found.update(map(int, file.read_text().split()))
    return found


def await_empty(cluster: str) -> None:
    """Wait for the end of processes that were killed: a store needs its files alone.

    Raises LabError when some do not end.
    """
    deadline = time.monotonic() + EMPTY_SECONDS
    while left := members(cluster):
        if time.monotonic() > deadline:
            raise LabError(
                f"cluster {cluster!r}: processes of an earlier run do not end "
                f"({', '.join(map(str, sorted(left)))}); end them, then try again"
            )
        time.sleep(0.05)


def remove(cluster: str) -> None:
    """Remove the cluster's folders; what was killed may take a moment to be gone."""
    deadline = time.monotonic() + REMOVAL_SECONDS
    while True:
        for folder in folders(cluster):
            for path in _deepest_first(folder):
                with suppress(OSError):
                    path.rmdir()
        if not any(f.exists() for f in folders(cluster)) or time.monotonic() > deadline:
            return
        time.sleep(0.1)


def _deepest_first(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for child in folder.iterdir():
            if child.is_dir():
                yield from _deepest_first(child)
        yield folder


def _is_v1(mount: Path) -> bool:
    return not (mount / "cgroup.controllers").exists()


def _inherit_cpuset(folder: Path) -> None:
    # A group of version 1 without CPUs and memory nodes of its own takes no process.
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not (folder / file).read_text().strip():
            (folder / file).write_text((folder.parent / file).read_text())


def _pass_on_controllers(folder: Path) -> None:
    # Version 2: a parent decides which controllers its children have. The processes sit
    # in the leaf `node`, so the folder itself may pass controllers on to the pods.
    for parent in (folder.parent, folder):
        there = (parent / "cgroup.controllers").read_text().split()
        wanted = [f"+{name}" for name in CONTROLLERS if name in there]
        (parent / "cgroup.subtree_control").write_text(" ".join(wanted))
