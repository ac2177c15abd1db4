"""The Secret `lab-record`: what `lab`'s machine knows, where backups take it from."""

from __future__ import annotations

import gzip
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime

from labfactory import environment
from labfactory.errors import LabError
from labfactory.stack import Stack

SECRET = "lab-record"
MOST = 900 * 1024
"""Bytes of a record at most: the cluster takes no Secret above a MiB."""


@dataclass(frozen=True)
class Record:
    """Settings and state of a lab, as they go into the Secret."""

    data: dict[str, bytes]
    warning: str | None = None
    """What was left out, as a sentence."""


def keep(stack: Stack) -> str | None:
    """Write the lab's settings and Pulumi state where its backups take them from.

    Secrets stay encrypted in both. Returns a warning when something was left out.
    Raises LabError when the state can't be read, or the cluster takes nothing.
    """
    from labfactory.backups.cluster import Cluster

    settings = stack.settings
    record = made(stack.file.read_bytes(), exported(stack), datetime.now(UTC))
    with Cluster(settings.cluster.context) as cluster:
        cluster.write_secret(settings.name, SECRET, record.data, settings.owner)
    return record.warning


def made(settings: bytes, state: bytes, now: datetime) -> Record:
    """The record of a stack file and an exported state; what is too large is left out.

    Pure.
    """
    data = {"settings": settings, "at": now.isoformat(timespec="seconds").encode()}
    packed = gzip.compress(state, mtime=0)
    if len(settings) + len(packed) <= MOST:
        return Record({**data, "state": packed})
    warning = (
        f"Pulumi state: is too large to be backed up with the lab ({len(packed):,} "
        f"bytes compressed, {MOST:,} fit); keep a copy of `pulumi stack export` "
        "yourself"
    )
    return Record({**data, "left-out": warning.encode()}, warning)


def exported(stack: Stack) -> bytes:
    """The stack's state, as `pulumi stack export` writes it; raises LabError."""
    words = ("pulumi", "stack", "export", "--stack", stack.name, "--non-interactive")
    found = subprocess.run(
        words,
        cwd=stack.project,
        env={**os.environ, **environment.variables()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if found.returncode != 0:
        why = found.stderr.decode(errors="replace").strip()
        raise LabError(f"stack {stack.name!r}: pulumi says: {why}")
    return found.stdout
