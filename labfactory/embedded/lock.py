"""One at a time: who starts or stops a cluster holds its lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from labfactory import paths
from labfactory.progress import Progress


@contextmanager
def held(name: str, progress: Progress) -> Iterator[None]:
    """Hold the lock of cluster `name`; say who has it while waiting for it."""
    folder = paths.data() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / f"cluster-{name}.holder"
    lock = FileLock(folder / f"cluster-{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say(f"  {waiting_for(name, _read(holder))}")
        lock.acquire()
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def waiting_for(name: str, holder: str) -> str:
    """The line that somebody who waits gets to read."""
    who = f"process {holder}" if holder else "another process"
    return f"{who} is starting or stopping cluster {name!r}; waiting until it is done"


def _read(holder: os.PathLike[str]) -> str:
    try:
        with open(holder) as file:
            return file.read().strip()
    except OSError:
        return ""
