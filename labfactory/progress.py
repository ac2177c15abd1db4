"""Show what long work is doing: one line per step, its elapsed time, an estimate."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from labfactory import paths
from labfactory.errors import LabError

HEARTBEAT_SECONDS = 8.0
"""A running step prints at least this often: nobody should wonder whether it hangs."""


class Step:
    """One piece of long work with a log file of its own."""

    def __init__(self, title: str, estimate: float | None) -> None:
        """Describe the step; `estimate` is its usual duration in seconds."""
        self.title = title
        self.estimate = estimate
        self.started = time.monotonic()
        self.note = ""
        folder = paths.logs()
        folder.mkdir(parents=True, exist_ok=True)
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        self.log = folder / f"{slug}.log"
        self._file: TextIO = self.log.open("w")

    def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run `command` with its output in the log; a failure names the log.

        `env` is added to the environment. Raises LabError on a non-zero exit.
        """
        words = [str(word) for word in command]
        self._file.write(f"$ {shlex.join(words)}\n")
        self._file.flush()
        result = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if result.returncode != 0:
            raise LabError(
                f"{self.title}: {words[0]} ended with exit code {result.returncode}; "
                f"its last lines:\n{self.tail()}\nthe whole output: {self.log}"
            )

    def write(self, text: str) -> None:
        """Add a line to the step's log."""
        self._file.write(text.rstrip("\n") + "\n")
        self._file.flush()

    def tail(self, lines: int = 8) -> str:
        """The last lines of the log, indented for a message."""
        self._file.flush()
        last = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"  {line}" for line in last)

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.started

    def close(self) -> None:
        """Close the log."""
        self._file.close()


class Progress:
    """Prints when steps begin, go on and end; safe to use from several threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Print to `stream` (standard error unless told)."""
        self._stream = stream or sys.stderr
        self._running: list[Step] = []
        self._lock = threading.Lock()
        self._last_line = time.monotonic()
        self.durations: dict[str, float] = {}

    @contextmanager
    def step(self, title: str, *, estimate: float | None = None) -> Iterator[Step]:
        """Announce a step, keep saying that it runs, and say how it ended."""
        step = Step(title, estimate)
        usual = f" (about {clock(estimate)})" if estimate and estimate >= 10 else ""
        self._say(f"  … {title}{usual}")
        with self._lock:
            self._running.append(step)
        done = threading.Event()
        beat = threading.Thread(target=self._heartbeat, args=(done,), daemon=True)
        beat.start()
        try:
            yield step
        except BaseException as error:
            how = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self._say(
                f"  ✗ {title}: {how} after {clock(step.elapsed)}; log: {step.log}"
            )
            raise
        else:
            note = f": {step.note}" if step.note else ""
            self._say(f"  ✓ {title}{note} ({clock(step.elapsed)})")
            self.durations[title] = step.elapsed
        finally:
            done.set()
            with self._lock:
                self._running.remove(step)
            step.close()

    def say(self, text: str) -> None:
        """Print a line between the steps."""
        self._say(text)

    def _heartbeat(self, done: threading.Event) -> None:
        while not done.wait(1.0):
            with self._lock:
                quiet = time.monotonic() - self._last_line
                lines = [remaining(step) for step in self._running]
            if quiet >= HEARTBEAT_SECONDS and lines:
                self._say(f"    {'; '.join(lines)}")

    def _say(self, text: str) -> None:
        with self._lock:
            self._last_line = time.monotonic()
            print(text, file=self._stream, flush=True)


def remaining(step: Step) -> str:
    """Say how long a step has run, and how long it should still take."""
    elapsed = step.elapsed
    if step.estimate is None:
        return f"{step.title} {clock(elapsed)}"
    left = step.estimate - elapsed
    outlook = f"about {clock(left)} left" if left > 0 else "longer than usual"
    return f"{step.title} {clock(elapsed)}, {outlook}"


def clock(seconds: float) -> str:
    """Seconds as a person says them: `8 s`, `2 min 05 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s"
