"""What a cluster has on the machine outside its folder; nothing once it is down."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from labfactory.embedded import cgroups, machine, network


def find(name: str, folder: Path) -> list[str]:
    """Every process, namespace, mount, interface, route and control group left.

    Each as a line for a person; empty when the machine is clean.
    """
    groups = [group for group in cgroups.folders(name) if group.is_dir()]
    supervisor = machine.supervisor(folder)
    pids = cgroups.members(name)
    if supervisor:
        pids |= {supervisor.pid, *(c.pid for c in supervisor.children(recursive=True))}
    interfaces = network.interfaces(folder)
    return [
        *(f"process {pid} ({_command(pid)})" for pid in sorted(pids)),
        *sorted(_namespaces(pids)),
        *(f"mount {target}" for target in _mounts_now(folder)),
        *(f"interface {interface}" for interface in interfaces),
        *(
            f"route to {target} over {interface}"
            for target, interface in network.used().items()
            if interface in interfaces
        ),
        *(f"control group {group}" for group in groups),
    ]


def mounts(mountinfo: str, folder: Path) -> list[str]:
    """Mount points in or of `folder`, from the text of a mountinfo file."""
    found = []
    for line in mountinfo.splitlines():
        root, target = (_unescaped(word) for word in line.split()[3:5])
        if any(Path(path).is_relative_to(folder) for path in (root, target)):
            found.append(target)
    return found


def _mounts_now(folder: Path) -> Iterable[str]:
    return mounts(Path("/proc/self/mountinfo").read_text(), folder)


def _unescaped(word: str) -> str:
    # The kernel writes blanks and backslashes as octal numbers.
    return word.encode().decode("unicode_escape").encode("latin-1").decode()


def _namespaces(pids: Iterable[int]) -> set[str]:
    found = set()
    for pid in pids:
        for kind in ("net", "mnt", "pid"):
            try:
                own = os.readlink(f"/proc/{pid}/ns/{kind}")
                if own != os.readlink(f"/proc/self/ns/{kind}"):
                    found.add(f"namespace {own}")
            except OSError:
                continue  # it ended meanwhile
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "ended meanwhile"
