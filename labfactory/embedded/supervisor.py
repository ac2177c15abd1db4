"""PID 1 of a cluster's node: sets its namespaces up, keeps its processes running.

Runs as a plain script (`python -I -S supervisor.py FOLDER`) with the standard library
alone: it lives as long as the cluster does, so it must stay small. What to do is in
`FOLDER/node/node.json` (see `labfactory.embedded.plan`); how it goes is written to
`FOLDER/state.json`: `{pid, plan, started, error, processes: {name: {pid, ready,
restarts}}}`, pid being the supervisor's on the machine, the others the node's own.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

LOG_BYTES = 10 * 2**20
FIRST_DELAY, LONGEST_DELAY, STEADY = 1.0, 30.0, 60.0
"""Seconds: first and longest wait before a restart; a run this long resets it."""
STOP_SECONDS = 10.0


class Process:
    """One program that should run: when it may start, and when it is ready."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Take `{name, argv, env, after, ready_when, drain}`; output goes to a log."""
        self.name: str = spec["name"]
        self.argv: list[str] = spec["argv"]
        self.env: dict[str, str] = spec["env"]
        self.after: list[str] = spec["after"]
        self.ready_when: dict[str, str] = spec["ready_when"]
        self.drain: bool = spec["drain"]
        self.log = Path("logs", f"{self.name}.log")
        self.pid, self.ready, self.restarts = 0, False, -1
        self.started, self.delay, self.retry_at = 0.0, FIRST_DELAY, 0.0

    def start(self) -> None:
        """Start the program; one that cannot be started counts as ended at once."""
        self.restarts += 1
        self.started, self.ready = time.monotonic(), False
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        output = (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o600)
        try:
            self.pid = os.posix_spawn(
                self.argv[0],
                self.argv,
                self.env,
                file_actions=[output, (os.POSIX_SPAWN_DUP2, 1, 2)],
                setpgroup=0,
            )
        except OSError as error:
            with self.log.open("a") as log:
                log.write(f"cannot start {self.argv[0]}: {error}\n")
            self.ended()

    def ended(self) -> None:
        """Plan the restart of a program that ended."""
        now = time.monotonic()
        if now - self.started > STEADY:
            self.delay = FIRST_DELAY
        self.pid, self.ready, self.retry_at = 0, False, now + self.delay
        self.delay = min(2 * self.delay, LONGEST_DELAY)

    def answers(self) -> bool:
        """Whether the program is ready: its address answers (a URL: with 200)."""
        address = self.ready_when.get("address", "")
        if not address:
            return True
        try:
            if "://" in address:
                with urlopen(address, timeout=1.0, context=self.tls()) as answer:
                    return bool(answer.status == 200)
            unix = address.startswith("/")
            host, _, port = address.rpartition(":")
            with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as client:
                client.settimeout(1.0)
                client.connect(address if unix else (host, int(port)))
        except OSError:  # of a URL that says 503, too
            return False
        return True

    def tls(self) -> ssl.SSLContext | None:
        """What to trust and show when asking; None for a plain address."""
        if "ca" not in self.ready_when:
            return None
        context = ssl.create_default_context(cafile=self.ready_when["ca"])
        context.load_cert_chain(self.ready_when["cert"], self.ready_when["key"])
        return context


class Supervisor:
    """Starts the processes in order, restarts what ends, stops in reverse order."""

    def __init__(self, plan: dict[str, Any], pid: int) -> None:
        """Supervise what `plan` says; `pid` is how the machine knows this process."""
        self.processes = [Process(spec) for spec in plan["processes"]]
        self.state = {"pid": pid, "plan": plan["digest"], "started": time.time()}
        self.told = ""
        self.stopping = False
        self.wakeup, end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_soon)

    def run(self) -> None:
        """Keep everything running until a SIGTERM, then stop it."""
        while not self.stopping:
            self.reap()
            now = time.monotonic()
            ready = {process.name for process in self.processes if process.ready}
            for process in self.processes:
                due = not process.pid and now >= process.retry_at
                if due and ready.issuperset(process.after):
                    process.start()
                elif process.pid and not process.ready:
                    process.ready = process.answers()
            self.trim()
            self.tell()
            self.sleep(1.0 if len(ready) == len(self.processes) else 0.1)
        for process in reversed(self.processes):
            if process.drain and os.getpid() == 1:
                self.end(pods(), STOP_SECONDS)
            self.end([process.pid] if process.pid else [], STOP_SECONDS)
            self.tell()

    def end(self, pids: list[int], seconds: float) -> None:
        """Ask `pids` to end, then kill what is left after `seconds`."""
        for number, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, 2.0)):
            deadline = time.monotonic() + limit
            for pid in filter(alive, pids):
                os.kill(pid, number)
            while any(map(alive, pids)) and time.monotonic() < deadline:
                self.sleep(0.1)
                self.reap()

    def reap(self) -> None:
        """Collect every child that ended; orphans of the node are children too."""
        for pid in iter(next_ended, 0):
            for process in self.processes:
                if process.pid == pid:
                    process.ended()

    def trim(self) -> None:
        """Keep each log and one older part of it, none larger than LOG_BYTES."""
        for log in (process.log for process in self.processes):
            if log.exists() and log.stat().st_size > LOG_BYTES:
                shutil.copyfile(log, f"{log}.1")
                os.truncate(log, 0)

    def tell(self, error: str | None = None) -> None:
        """Write the state where the machine can read it, when it changed."""
        processes = {
            p.name: {"pid": p.pid, "ready": p.ready, "restarts": max(0, p.restarts)}
            for p in self.processes
        }
        text = json.dumps({**self.state, "error": error, "processes": processes})
        if text != self.told:
            self.told = text
            try:
                Path("state.json.new").write_text(text)
                os.replace("state.json.new", "state.json")
            except OSError as failure:  # a full disk must not end the node
                print(f"cannot write the state: {failure}", flush=True)

    def sleep(self, seconds: float) -> None:
        """Wait for a signal, at most `seconds`."""
        if select.select([self.wakeup], [], [], seconds)[0]:
            os.read(self.wakeup, 4096)

    def await_interface(self, name: str) -> None:
        """Wait until the machine has put an end of its cable into this namespace."""
        while not self.stopping and name not in dict(socket.if_nameindex()).values():
            self.sleep(0.05)

    def _stop_soon(self, *_: object) -> None:
        self.stopping = True


def next_ended() -> int:
    """The pid of a child that ended and was not collected yet; 0 when there is none."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
        return 0


def alive(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except OSError:
        return False


def pods() -> list[int]:
    """The first process of every container: PID 1 of a namespace inside this one."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            [line] = [x for x in status.open() if x.startswith("NSpid:")]
        except (OSError, ValueError):
            continue  # it ended meanwhile
        if len(line.split()) > 2 and line.split()[-1] == "1":
            found.append(int(status.parent.name))
    return found


def main(folder: Path) -> None:
    """Set the node up and supervise it."""
    pid = int(os.readlink("/proc/self"))  # before /proc shows the node's own numbers
    os.chdir(folder)  # stays valid when something else is mounted over its path
    plan = json.loads(Path("node", "node.json").read_text())
    supervisor = Supervisor(plan, pid)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        for cgroup in plan["cgroups"]:
            Path(cgroup, "cgroup.procs").write_text("0")
        for step in plan["setup"]:
            if "interface" in step:
                supervisor.tell()  # the machine connects the cable when it reads this
                supervisor.await_interface(step["interface"])
            elif "write" in step:
                Path(step["write"]).write_text(step["text"])
            elif "kernel" in step:  # a kernel without IPv6, say, lacks some
                if Path("/proc/sys", step["kernel"]).exists():
                    Path("/proc/sys", step["kernel"]).write_text(step["text"])
            else:
                subprocess.run(step["run"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", None) or ""
        supervisor.tell(f"{error} {output}".strip())
        raise
    supervisor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
