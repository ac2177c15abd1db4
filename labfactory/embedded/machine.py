"""The node as the machine sees it: its supervisor and its processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from labfactory.embedded import plan, settings
from labfactory.errors import LabError

SUPERVISOR = Path(__file__).with_name("supervisor.py")
NAMESPACES = ("unshare", "--fork", "--pid", "--mount", "--net")
MODULES = ("overlay", "br_netfilter", "veth")
START_SECONDS = 10.0
STOP_SECONDS = 60.0


def supervisor(folder: Path) -> psutil.Process | None:
    """The supervisor of the cluster in `folder`, found by what it runs.

    Without a pid file there is none that could be wrong. Another checkout may have
    started it, from its own copy of the program.
    """
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if len(words) < 2 or words[-1] != str(folder):
            continue
        ours = Path(words[-2]).parts[-3:] == SUPERVISOR.parts[-3:]
        if ours and Path(words[0]).name not in ("setsid", NAMESPACES[0]):
            return process
    return None


def check_permissions(folder: Path) -> None:
    """Raise LabError when this machine does not allow what a node needs."""
    if os.geteuid() != 0:
        raise LabError(
            "embedded cluster: it needs root (namespaces, mounts, control groups); "
            "run as root, or let the settings point at an existing cluster"
        )
    # Loaded by nothing else on a stock machine; built in on others, hence no check.
    modprobe = shutil.which("modprobe")
    if modprobe:
        subprocess.run(
            [modprobe, "--all", "--quiet", *MODULES], check=False, capture_output=True
        )
    if not Path("/proc/sys/net/bridge").exists():
        raise LabError(
            "embedded cluster: the kernel lacks br_netfilter, without which no pod "
            "reaches a Service; `modprobe br_netfilter` says why"
        )
    probe = folder / "probe"
    for part in ("lower", "upper", "work", "merged"):
        (probe / part).mkdir(parents=True, exist_ok=True)
    layers = f"lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work"
    try:
        for reason, command in (
            ("namespaces", ["true"]),
            ("overlay file systems in its data folder", _mount_overlay(probe, layers)),
        ):
            result = subprocess.run(
                [*NAMESPACES, *command], check=False, capture_output=True, text=True
            )
            if result.returncode != 0:
                raise LabError(
                    f"embedded cluster: this machine does not allow {reason} "
                    f"({result.stderr.strip()}); use a real or virtual machine, or let "
                    f"the settings point at an existing cluster"
                )
    finally:
        subprocess.run(["rm", "-rf", str(probe)], check=False)


def _mount_overlay(probe: Path, layers: str) -> list[str]:
    target = str(probe / "merged")
    return ["mount", "-t", "overlay", "overlay", "-o", layers, target]


def start(folder: Path) -> int:
    """Start the supervisor; return its pid once it lives in its own namespaces.

    Raises LabError when it ended instead.
    """
    log = folder / "logs" / "supervisor.log"
    (folder / "state.json").unlink(missing_ok=True)
    python = [sys.executable, "-I", "-S", str(SUPERVISOR), str(folder)]
    with log.open("w") as output:
        subprocess.run(
            ["setsid", "--fork", *NAMESPACES, *python],
            check=True,
            cwd="/",
            env={"PATH": plan.SEARCH_PATH},  # no secret of the caller gets in there
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        told = state(folder)
        if told.get("error"):
            raise LabError(
                f"embedded cluster: its node cannot be set up ({told['error']}); use a "
                f"real or virtual machine, or let the settings point at an existing "
                f"cluster"
            )
        if told:
            return int(told["pid"])
        time.sleep(0.02)
    raise LabError(
        f"embedded cluster: its supervisor did not start "
        f"({log.read_text().strip() or 'no output'}); log: {log}"
    )


def stop(folder: Path) -> None:
    """Ask the supervisor to stop the node in order; kill it when that takes long.

    Returns when every process of the node is gone.
    """
    process = supervisor(folder)
    if process is None:
        return
    for number, seconds in (
        (signal.SIGTERM, STOP_SECONDS),
        (signal.SIGKILL, STOP_SECONDS),
    ):
        try:
            process.send_signal(number)
            # The kernel lets PID 1 of a namespace go after everything in it has gone.
            wait_gone(process, seconds)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            continue
        return
    raise LabError(
        f"embedded cluster: process {process.pid} cannot be killed (it waits for the "
        f"kernel, usually for a disk); see `dmesg`"
    )


def wait_gone(process: psutil.Process, seconds: float) -> None:
    """Wait for the end of a process; a zombie has ended.

    Raises psutil.TimeoutExpired.
    """
    deadline = time.monotonic() + seconds
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            raise psutil.TimeoutExpired(seconds, process.pid)
        time.sleep(0.05)


def state(folder: Path) -> dict[str, Any]:
    """What the supervisor last wrote; empty when there is nothing to read."""
    try:
        told: dict[str, Any] = json.loads((folder / "state.json").read_text())
    except (OSError, ValueError):
        return {}
    return told


def socket(pid: int) -> Path:
    """containerd's socket as the machine reaches it."""
    return Path(f"/proc/{pid}/root{settings.SOCKET}")


def processes(folder: Path) -> dict[str, int]:
    """Name -> pid on the machine: `etcd`, …, and `NAMESPACE/POD/CONTAINER` for pods."""
    process = supervisor(folder)
    if process is None:
        return {}
    numbers = _numbers([process, *process.children(recursive=True)])
    found = {"supervisor": process.pid}
    for name, told in state(folder).get("processes", {}).items():
        if told["pid"] in numbers:
            found[name] = numbers[told["pid"]]
    tasks = Path("/proc", str(process.pid), "root", "run", "containerd")
    for pid_file in tasks.glob("io.containerd.runtime.v2.task/k8s.io/*/init.pid"):
        try:
            inner = int(pid_file.read_text())
            config = json.loads(pid_file.with_name("config.json").read_text())
        except (OSError, ValueError):
            continue  # it ended meanwhile
        labels = config["annotations"]
        kind = labels.get("io.kubernetes.cri.container-type")
        if kind == "container" and inner in numbers:
            words = ("sandbox-namespace", "sandbox-name", "container-name")
            key = "/".join(labels[f"io.kubernetes.cri.{word}"] for word in words)
            found[key] = numbers[inner]
    return found


def _numbers(found: Iterable[psutil.Process]) -> dict[int, int]:
    """Pid inside the node -> pid on the machine."""
    numbers = {}
    for process in found:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        [line] = [x for x in status.splitlines() if x.startswith("NSpid:")]
        inner = line.split()[2:]
        if inner:
            numbers[int(inner[0])] = process.pid
    return numbers
