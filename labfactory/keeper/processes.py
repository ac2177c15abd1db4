"""Run the tools that do the copying, and stop them when the keeper is stopped."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labfactory.errors import LabError

GRACE_SECONDS = 20
"""Time in which a tool that is told to stop gives its lock back."""
NO_SPACE = ("no space left on device", "too big for remaining disk space")


@dataclass(frozen=True)
class Done:
    """What a tool has said."""

    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The last lines of its complaint, on one line."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith("github.com/")]
        return "; ".join(lines[-3:])[-600:] or f"exit code {self.code}"


def run(
    command: Sequence[str], env: Mapping[str, str], *, cwd: Path | None = None
) -> Done:
    """Run a tool to its end; it is stopped when this process is.

    Raises LabError when it is not there, or when a volume is full.
    """
    try:
        process = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise LabError(
            f"{command[0]}: is not in this image; it has to be the image `keeper`"
        ) from None
    try:
        out, err = process.communicate()
    except BaseException:
        stop(process)
        raise
    if process.returncode and any(sign in err.lower() for sign in NO_SPACE):
        raise LabError(full(Path(command[0]).name))
    return Done(process.returncode, out, err)


def stop(process: subprocess.Popen[str]) -> None:
    """Tell a process to stop, and end it when it does not."""
    # To SIGTERM restic does not listen: it would leave its lock behind.
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def full(who: str) -> str:
    """The sentence about a volume without space."""
    return (
        f"{who}: there is no space left on the staging volume (the copy of all buckets "
        "and of the database has to fit); set a larger `backups.staging` and run "
        "`lab up`"
    )
