"""Where figures are measured: a lab, a cluster and a folder of the bench's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from filelock import FileLock, Timeout
from kubernetes import client

from images import NAMES as IMAGES
from labfactory import embedded, environment, images, labs, paths, tools
from labfactory.demo.story import CLASSIFIER, REGRESSOR, Demo
from labfactory.errors import LabError
from labfactory.progress import Progress
from labfactory.releases.edit import write_release
from labfactory.settings.edit import edit
from labfactory.settings.new import new, new_seed
from labfactory.stack import Stack

NAME = "labbench"
CONTEXT = f"labfactory-{NAME}"
OTHERS = (
    "KUBECONFIG",
    "PULUMI_BACKEND_URL",
    "PULUMI_CONFIG_PASSPHRASE",
    "PULUMI_CONFIG_PASSPHRASE_FILE",
    "PULUMI_HOME",
    # Without bytecode each start of Python would compile all that it imports.
    "PYTHONDONTWRITEBYTECODE",
)
"""Variables that would lead to the user's lab, or measure something else."""


class Ground:
    """A lab that may be emptied at any time."""

    def __init__(self, progress: Progress) -> None:
        """Nothing is there yet."""
        self.progress = progress
        self.stack = Stack(NAME)
        self._demo: Demo | None = None

    def clear(self) -> None:
        """Remove the cluster, the stack and its settings."""
        self._demo = None
        embedded.down(NAME, purge=True, progress=self.progress)
        shutil.rmtree(paths.data() / "pulumi", ignore_errors=True)
        self.stack.file.unlink(missing_ok=True)

    def empty_cluster(self) -> None:
        """Start anew: a cluster with nothing but images, a stack without state."""
        self.clear()
        self._write_settings()
        labs.prepare(self.stack.settings, self.progress)
        self.stack.ensure(new_seed)

    def lab(self) -> Demo:
        """The lab with two releases, and a second version of the classifier trained.

        It goes on from what is there; trained once for all figures.
        """
        if self._demo is None:
            if not self.stack.file.exists():
                self._write_settings()
            demo = Demo(NAME, self.progress)
            for example in (CLASSIFIER, REGRESSOR):
                demo.train(example, 1)
                write_release(NAME, example.model, "1")
            demo.train(CLASSIFIER, 2)
            demo.outputs = demo.apply()
            self._demo = demo
        return self._demo

    def _write_settings(self) -> None:
        """The settings of a new lab that nobody watches or copies: a guard would take
        back what the other figures break on purpose, and all of it costs what is
        measured by itself."""
        new(NAME, owner="bench", target="embedded")
        edit(self.stack.file, unwatched).write()

    def load_images(self, socket: Path) -> None:
        """Give a node the images it lacks."""
        images.load(socket, IMAGES, self.progress)

    def pulumi_up(self, *, project: Path = paths.PROJECT, stack: str = NAME) -> float:
        """Run `pulumi up`; return how many seconds it took."""
        with self.progress.step(f"pulumi up of {stack}") as step:
            started = time.perf_counter()
            step.run(
                ["pulumi", "up", "--yes", "--skip-preview", "--stack", stack],
                cwd=project,
                env=environment.variables(),
            )
            return time.perf_counter() - started

    def pulumi(self, *arguments: str, project: Path = paths.PROJECT) -> str:
        """Run another `pulumi` command; return its output. Raises LabError."""
        result = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=project,
            env={**os.environ, **environment.variables()},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise LabError(f"lab bench: pulumi says: {result.stderr.strip()}")
        return result.stdout

    def cluster_ip(self, namespace: str, service: str) -> str:
        """The address of a Service; waits for it."""
        core = client.CoreV1Api(environment.kubernetes(CONTEXT))

        def address() -> str:
            listed = core.list_namespaced_service(
                namespace, field_selector=f"metadata.name={service}"
            )
            return str(listed.items[0].spec.cluster_ip) if listed.items else ""

        return str(until(f"Service {namespace}/{service}", address))


def unwatched(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A lab's settings without monitoring and guard, backups and agreements."""
    without = ("monitoring", "guard", "backups", "agreements")
    return {k: v for k, v in tree.items() if k not in without}


def until(what: str, asked: Callable[[], Any], *, seconds: float = 300) -> Any:
    """Ask every 50 ms until there is an answer; raises LabError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := asked():
            return answer
        time.sleep(0.05)
    raise LabError(f"lab bench: waited {seconds:.0f} s in vain for {what}")


def first_answer(
    address: str, host: str, model: str, rows: list[Any], served_by: str
) -> float:
    """Predict until `served_by` answers; return that moment of `time.perf_counter`."""
    url = f"http://{address}/v1/models/{model}:predict"
    with httpx.Client(headers={"Host": host}, timeout=5, trust_env=False) as caller:

        def answered() -> bool:
            try:
                answer = caller.post(url, json={"instances": rows})
            except httpx.TransportError:
                return False
            return answer.is_success and answer.json()["served_by"] == served_by

        until(f"an answer of {served_by}", answered)
        return time.perf_counter()


@contextmanager
def own_ground(progress: Progress) -> Iterator[Ground]:
    """A ground that leaves nothing but logs, and takes away what a killed run left."""
    home = paths.data().with_name(f"{paths.data().name}-bench")
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LabError("lab bench: another one runs; wait until it is done") from None
    before = dict(os.environ)
    os.environ["LABFACTORY_HOME"] = str(home)
    for name in OTHERS:
        os.environ.pop(name, None)
    try:
        ground = Ground(progress)
        ground.clear()
        tools.ensure(labs.PULUMI, progress)
        yield ground
    finally:
        try:
            Ground(progress).clear()
        finally:
            os.environ.clear()
            os.environ.update(before)
            lock.release()
