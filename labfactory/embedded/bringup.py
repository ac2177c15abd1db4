"""The steps from nothing to a cluster that is ready for a lab; each may be repeated."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil

import images
from labfactory import paths, tools
from labfactory.embedded import (
    addons,
    cgroups,
    machine,
    network,
    pki,
    plan,
    prepare,
    settings,
)
from labfactory.embedded.api import Api
from labfactory.errors import LabError
from labfactory.progress import Progress

LoadImages = Callable[[Path], None]
"""Puts the lab's images into the node; gets the path of containerd's socket."""

READY_SECONDS, HEAL_SECONDS, PODS_SECONDS = 180.0, 45.0, 90.0
TOO_MANY_RESTARTS = 5
FREE_BYTES = 2**30


class Bringup:
    """Brings one cluster up."""

    def __init__(
        self, name: str, progress: Progress, load_images: LoadImages | None
    ) -> None:
        """Make addresses, certificates and kubeconfig; nothing is started yet."""
        self.name = name
        self.progress = progress
        self.load_images = load_images or (lambda socket: None)
        self.folder = paths.cluster(name)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.addresses = prepare.addresses(self.folder)
        pki.ensure(self.folder / "pki", pki.leaves(name, self.addresses))
        prepare.write_kubeconfig(name, self.addresses)
        self.api = Api(self.addresses, self.folder / "pki")
        found = prepare.tools_of_a_node()
        pause = images.reference("pause")
        self.settings = settings.files(
            name, self.addresses, found, pause=pause, group=cgroups.group(name)
        )
        groups = cgroups.folders(name)
        self.plan = plan.node(
            name, self.addresses, self.folder, groups, found, self.settings
        )
        self.addons = addons.render(
            self.addresses,
            {
                "coredns": images.reference("coredns"),
                "local-path-provisioner": images.reference("local-path-provisioner"),
                "helper": images.reference("postgres"),
            },
        )

    def run(self) -> None:
        """Do what is missing. Raises LabError."""
        supervisor = machine.supervisor(self.folder)
        if supervisor:
            reason = self._reason_to_restart()
            healthy = not reason and self._healthy()
            if healthy and self._has_addons():
                return self.load_images(machine.socket(supervisor.pid))
            if not reason:
                what = "its add-ons changed" if healthy else "not well: healing it"
                self.progress.say(f"  cluster {self.name} runs, {what}")
                try:
                    return self._finish(supervisor.pid, HEAL_SECONDS)
                except LabError as error:
                    reason = str(error)
            self.progress.say(f"  restarting the node: {reason}")
            machine.stop(self.folder)
        with self.progress.step(f"Start cluster {self.name}", estimate=2):
            pid = self._start()
        self._finish(pid, READY_SECONDS)

    def _start(self) -> int:
        network.check(self.addresses, self.folder)
        machine.check_permissions(self.folder)
        free = shutil.disk_usage(self.folder).free
        if free < FREE_BYTES:
            raise LabError(
                f"embedded cluster: only {free / 2**20:.0f} MiB are free in "
                f"{self.folder}; make room for at least {FREE_BYTES / 2**20:.0f} MiB"
            )
        clean(self.name, self.folder)
        cgroups.create(self.name)
        shutil.rmtree(self.folder / "node", ignore_errors=True)
        for part in ("node/cni", "logs", "etcd", "kubelet", "volumes", "pod-logs"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "etcd").chmod(0o700)
        for path, text in self.settings.items():
            (self.folder / "node" / path).write_text(text)
        (self.folder / "node" / "node.json").write_text(json.dumps(self.plan))
        return machine.start(self.folder)

    def _finish(self, pid: int, seconds: float) -> None:
        """From a supervisor that runs to add-ons that serve."""
        network.connect(self.addresses, self.folder, pid)
        with ThreadPoolExecutor(max_workers=1) as pool:
            with self.progress.step("API server", estimate=5):
                self._wait("containerd", self._has_containerd, seconds)
                loading = pool.submit(self.load_images, machine.socket(pid))
                self._wait("API server", self.api.ready, seconds)
            loading.result()
        with self.progress.step("Node and add-ons", estimate=8):
            self._apply_addons()
            since = self._since()
            self._wait("node", partial(self.api.node_ready, self.name, since), seconds)
            for namespace, deployment in addons.DEPLOYMENTS:
                self._wait(
                    deployment,
                    partial(self.api.available, namespace, deployment),
                    seconds,
                )

        self._await_pods(since)

    def _await_pods(self, since: str) -> None:
        """Wait for the pods of an earlier run; those that fail have their own cure."""
        if not self.api.pods_not_back(since):
            return
        with self.progress.step("Pods come back", estimate=20) as step:
            deadline = time.monotonic() + PODS_SECONDS
            while (missing := self.api.pods_not_back(since)) and (
                time.monotonic() < deadline
            ):
                time.sleep(0.2)
            if missing:
                step.note = f"not ready yet: {', '.join(missing)}"

    def _since(self) -> str:
        """When the node was started, as Kubernetes writes times (RFC 3339)."""
        started = datetime.fromtimestamp(machine.state(self.folder)["started"], UTC)
        return started.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _reason_to_restart(self) -> str:
        """Why the node that runs cannot be kept; empty when it can."""
        told = machine.state(self.folder)
        if not told:
            return "its start was interrupted"
        if told["plan"] != self.plan["digest"]:
            return "its settings or its tools changed"
        begun = any(process["pid"] for process in told["processes"].values())
        if begun and not network.connected(self.addresses):
            return "its link to the machine is gone"
        return ""

    def _healthy(self) -> bool:
        told = machine.state(self.folder)["processes"].values()
        return (
            all(process["ready"] for process in told)
            and network.connected(self.addresses)
            and self.api.ready()
            and self.api.node_ready(self.name, self._since())
        )

    def _wait(self, what: str, true: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        logs = self.folder / "logs"
        while not true():
            told = machine.state(self.folder)
            if told.get("error") or not psutil.pid_exists(told.get("pid", 0)):
                reason = told.get("error") or "its supervisor was killed"
                raise LabError(
                    f"embedded cluster: its node ended ({reason}); "
                    f"log: {logs / 'supervisor.log'}"
                )
            for name, process in told.get("processes", {}).items():
                if process["restarts"] >= TOO_MANY_RESTARTS and not process["ready"]:
                    raise LabError(
                        f"embedded cluster: {name} keeps ending; its last lines:\n"
                        f"{_tail(logs / f'{name}.log')}\nall of it: {logs / name}.log"
                    )
            if time.monotonic() > deadline:
                raise LabError(
                    f"embedded cluster: {what} not ready after {seconds:.0f} s; "
                    f"the reason should be in the logs in {logs}"
                )
            time.sleep(0.1)

    def _has_containerd(self) -> bool:
        told = machine.state(self.folder).get("processes", {})
        return bool(told.get("containerd", {}).get("ready"))

    def _apply_addons(self) -> None:
        if self._has_addons():
            return
        command = ["apply", "--server-side", "--force-conflicts", "-f", "-"]
        result = subprocess.run(
            [
                tools.path("kubectl"),
                "--kubeconfig",
                paths.kubeconfig(self.name),
                *command,
            ],
            input=self.addons,
            check=False,
            capture_output=True,
            text=True,
        )
        if result.returncode != 0:
            raise LabError(
                f"add-ons: the cluster refused them: {result.stderr.strip()}"
            )
        (self.folder / "addons.sha256").write_text(self._addons_digest())

    def _has_addons(self) -> bool:
        file = self.folder / "addons.sha256"
        return file.exists() and file.read_text() == self._addons_digest()

    def _addons_digest(self) -> str:
        return hashlib.sha256(self.addons.encode()).hexdigest()


def clean(name: str, folder: Path) -> None:
    """Remove what a run that was killed may have left outside the folder."""
    cgroups.await_empty(name)
    cgroups.remove(name)
    network.disconnect(folder)
    (folder / "state.json").unlink(missing_ok=True)


def _tail(log: Path, lines: int = 4) -> str:
    try:
        last = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return "  (no output)"
    return "\n".join(f"  {line[:300]}" for line in last)
