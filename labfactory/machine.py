"""The facts about this machine that decide whether a lab can live on it."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

import psutil

from labfactory import paths, tools
from labfactory.errors import LabError
from labfactory.tools import download
from labfactory.tools.table import TOOLS

GIB = 1 << 30
CGROUP_V1 = frozenset({"cpu", "cpuset", "memory", "pids"})
"""Hierarchies that the kubelet needs under cgroup v1."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The facts that the findings are made of. Sizes are in bytes."""

    root: bool = True
    system: str = "Linux"
    distribution: str = "Debian GNU/Linux 12 (bookworm)"
    apt: bool = True
    python: tuple[int, ...] = (3, 11, 2)
    cgroups: str = "v2"
    """`v1`, `v2`, or what is missing."""
    overlayfs: bool = True
    network_error: str = ""
    """Why a network namespace with a bridge in it cannot be made; empty if it can."""
    disk: int = 100 * GIB
    memory: int = 16 * GIB
    routes: tuple[IPv4Network, ...] = ()
    uv: str = "/usr/bin/uv"
    present: dict[str, Path] = field(default_factory=dict)
    """Tools that are there already."""
    hosts: frozenset[str] = frozenset()
    """Tools whose official download's host answers."""


def look() -> Machine:
    """Look at this machine; takes a few seconds where release hosts do not answer."""
    present = {name: found for name in TOOLS if (found := tools.find(name))}
    absent = {
        name: tool.download
        for name, tool in TOOLS.items()
        if name not in present and tool.download and download.offered(tool.download)
    }
    download.reachable(absent.values())
    try:
        uv = str(tools.uv())
    except LabError:
        uv = ""
    return Machine(
        root=os.geteuid() == 0,
        system=platform.system(),
        distribution=_distribution(),
        apt=shutil.which("apt-get") is not None,
        python=tuple(sys.version_info[:3]),
        cgroups=cgroups(Path("/proc/self/mounts").read_text()),
        overlayfs=_overlayfs(),
        network_error=_network_error(),
        disk=min(_free(paths.cache()), _free(paths.data())),
        memory=psutil.virtual_memory().total,
        routes=tuple(routes(Path("/proc/net/route").read_text())),
        uv=uv,
        present=present,
        hosts=frozenset(name for name, way in absent.items() if download.answers(way)),
    )


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def cgroups(mounts: str) -> str:
    """Which cgroups /proc/self/mounts shows: `v1`, `v2`, or what is missing."""
    fields = [line.split() for line in mounts.splitlines()]
    options = [set(words[3].split(",")) for words in fields if words[2] == "cgroup"]
    missing = CGROUP_V1 - set().union(*options)
    if options and not missing:
        return "v1"
    if any(words[2] == "cgroup2" for words in fields):
        return "v2"
    return f"not mounted: {', '.join(sorted(missing))}"


def _overlayfs() -> bool:
    known = Path("/proc/filesystems").read_text().split()
    modprobe = shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if "overlay" in known or not modprobe:
        return "overlay" in known
    return _quiet([modprobe, "--dry-run", "overlay"]) == ""


def _network_error() -> str:
    unshare, ip = shutil.which("unshare"), tools.find("ip")
    if not unshare:
        return "no `unshare` to try with"
    if not ip:
        return _quiet([unshare, "--net", "true"])
    script = (
        f"{ip} link add lab0 type veth peer name lab1 && {ip} link add lab2 type bridge"
    )
    return _quiet([unshare, "--net", "sh", "-c", script])


def _quiet(command: Sequence[str]) -> str:
    """Run a command; return why it failed, or nothing."""
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if result.returncode == 0:
        return ""
    return result.stderr.strip() or f"exit code {result.returncode}"


def routes(table: str) -> Iterator[IPv4Network]:
    """The destinations in the text of /proc/net/route."""
    for line in table.splitlines()[1:]:
        words = line.split()
        address, mask = (_dotted(words[1]), _dotted(words[7]))
        yield IPv4Network(f"{address}/{mask}")


def _dotted(word: str) -> str:
    """The kernel writes addresses as one number in the machine's byte order."""
    return socket.inet_ntoa(struct.pack("=I", int(word, 16)))


def _free(path: Path) -> int:
    """Free bytes where `path` is or will be."""
    folder = next(folder for folder in (path, *path.parents) if folder.exists())
    return psutil.disk_usage(str(folder)).free
