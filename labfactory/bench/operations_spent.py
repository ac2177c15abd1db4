"""Run a command, and say what it took, with everything that it has started.

    python operations_spent.py COMMAND...

Prints as JSON the `seconds` until its end and those of the `processor`. Pulumi ends its
plugins and does not wait for them, so they are counted here. What the command writes
goes to standard error; its exit code is this one's. Linux only.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

BECOME_SUBREAPER = 36
"""To `prctl`: a descendant that loses its parent becomes a child of this process."""
PATIENCE = 30.0
"""Seconds that what was left behind may take to end."""


def main(command: Sequence[str]) -> int:
    """Run `command`; return its exit code, or 1 when something of it goes on."""
    ctypes.CDLL(None).prctl(BECOME_SUBREAPER, 1, 0, 0, 0)
    began = time.perf_counter()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False
    )
    seconds = time.perf_counter() - began
    if not reaped(PATIENCE):
        print("something that it has started does not end", file=sys.stderr)
        return 1
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"seconds": seconds, "processor": used.ru_utime + used.ru_stime}))
    return done.returncode


def reaped(patience: float) -> bool:
    """Whether every child has ended before so many seconds are over."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            process, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if not process:
            time.sleep(0.01)
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
