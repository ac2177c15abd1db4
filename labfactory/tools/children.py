"""Run the programs that get tools, in a way that can be stopped from outside."""

from __future__ import annotations

import shlex
import subprocess
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from labfactory.errors import LabError
from labfactory.progress import Step

GRACE_SECONDS = 5.0
"""How long a program may take to end before it is killed."""

_everyone: weakref.WeakSet[Children] = weakref.WeakSet()


class Stopped(LabError):
    """Work ended because somebody asked for it, not because something is wrong."""


class Children:
    """The programs that one call of `ensure` runs."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._stopped = False
        _everyone.add(self)

    def run(
        self,
        step: Step,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run `command` to its end with its output in the step's log.

        `env` is the whole environment. Raises LabError on a non-zero exit, with the
        last lines and the log's name, and Stopped after `stop`.
        """
        words = [str(word) for word in command]
        with step.log.open("a") as log:
            log.write(f"$ {shlex.join(words)}\n")
            log.flush()
            with self._lock:
                self.check()
                process = subprocess.Popen(
                    words,
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
                self._running.add(process.pid)
        try:
            code = process.wait()
        except BaseException:
            _end(process.pid)
            raise
        finally:
            with self._lock:
                self._running.discard(process.pid)
        self.check()
        if code != 0:
            raise LabError(
                f"{step.title}: {words[0]} ended with exit code {code}; "
                f"its last lines:\n{step.tail()}\nthe whole output: {step.log}"
            )

    def check(self) -> None:
        """Raise Stopped when `stop` was called."""
        if self._stopped:
            raise Stopped("interrupted; the same command continues from here")

    def stop(self) -> None:
        """End what runs, and let nothing new begin."""
        self._stopped = True
        with self._lock:
            running = list(self._running)
        for pid in running:
            _end(pid)


def stop_everything() -> None:
    """Stop the children of every `ensure` of this process."""
    for children in list(_everyone):
        children.stop()


def _end(pid: int) -> None:
    """End a program and all that it started; kill what does not listen."""
    try:
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for signal in ("terminate", "kill"):
        for process in family:
            try:
                getattr(process, signal)()
            except psutil.NoSuchProcess:
                continue
        _, family = psutil.wait_procs(family, timeout=GRACE_SECONDS)
