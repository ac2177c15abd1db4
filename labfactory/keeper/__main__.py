"""Keep a lab: python3 -m labfactory.keeper backup|drill|restore|check.

What goes wrong is one sentence, as the last line of the log and in the pod's status;
the exit code is then 1.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from labfactory.errors import LabError
from labfactory.keeper.processes import full
from labfactory.keeper.repository import Repository, iso
from labfactory.keeper.settings import NEEDED, Settings, read
from labfactory.keeper.steps import Steps

TERMINATION_LOG = Path("/dev/termination-log")
RESTORED = "restored.json"
LISTS = {"backup": "backups.json", "drill": "drills.json", "restore": "restores.json"}


def main(argv: list[str], said: Mapping[str, str]) -> int:
    """Return the exit code of one verb: 0, or 1 and a sentence why."""
    if len(argv) != 1 or argv[0] not in NEEDED:
        print(f"usage: labfactory.keeper {'|'.join(NEEDED)}", file=sys.stderr)
        return 1
    [verb] = argv
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    try:
        settings = read(said, verb)
        if verb == "check":
            check(settings)
        else:
            told(verb, settings, _now)
    except LabError as error:
        print(error, file=sys.stderr, flush=True)
        with suppress(OSError):
            if TERMINATION_LOG.exists():
                TERMINATION_LOG.write_text(str(error)[:4000])
        return 1
    return 0


def told(verb: str, settings: Settings, now: Callable[[], datetime]) -> None:
    """Do what the verb says, and record what became of it. Raises LabError."""
    from labfactory.keeper import results

    steps = Steps()
    started = now()
    entry: dict[str, Any] = {}
    try:
        with _space():
            entry = work(verb, settings, steps)
        problem = "; ".join(entry.get("problems", []))
        error = LabError(f"{verb}: the proof failed: {problem}") if problem else None
    except LabError as found:
        error = found
        if verb != "backup":
            entry = {"equal": False, "problems": [str(found)]}
    finished = now()
    whole = {
        "started": iso(started),
        "finished": iso(finished),
        **entry,
        "seconds": round((finished - started).total_seconds(), 1),
        "steps": steps.seconds,
        "ok": error is None,
        "error": str(error) if error else None,
    }
    try:
        if verb == "restore" and error is None:
            told_back = {**whole, "releases": releases(settings.copy)}
            results.replace(RESTORED, told_back, settings.namespace)
            results.begin(LISTS["backup"], kept(settings), settings.namespace)
        results.record(LISTS[verb], whole, settings.namespace)
    except LabError as unwritten:
        raise LabError(f"{error}; {unwritten}" if error else str(unwritten)) from None
    if error:
        raise error


def releases(copy: Path) -> dict[str, Any]:
    """Releases in the settings that were backed up; none where there are none."""
    file = copy / "settings" / "stack.yaml"
    if not file.is_file():
        return {}
    tree = yaml.safe_load(file.read_text())
    found: dict[str, Any] = tree["config"]["labfactory:lab"].get("releases") or {}
    return found


def kept(settings: Settings) -> list[dict[str, Any]]:
    """The backups that there are: a lab that was gone does not know of them."""
    found, _ = Repository(settings.repository, settings.staging).listed()
    return [
        {"snapshot": each.id[:8], "consistent_at": iso(each.at), "ok": True}
        for each in found
    ]


def work(verb: str, settings: Settings, steps: Steps) -> dict[str, Any]:
    """Do what the verb says; what is told of it. Raises LabError."""
    if verb == "backup":
        from labfactory.keeper.backup import backup

        return backup(settings, steps)
    if verb == "drill":
        from labfactory.keeper.drill import drill

        return drill(settings, steps, _now)
    from labfactory.keeper.restore import restore

    return restore(settings, steps)


def check(settings: Settings) -> None:
    """Read every byte of the repository. Raises LabError when one is not right."""
    from labfactory.keeper import integrity

    repository = Repository(settings.repository, settings.staging)
    repository.open()
    integrity.check(repository)
    kept = repository.snapshots()
    last = f", the last {kept[-1]}" if kept else ""
    print(f"{len(kept)} backups, every byte as it was written{last}")


@contextmanager
def _space() -> Iterator[None]:
    """Say in a sentence that a volume is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise LabError(full("keeper")) from None


def _stopped(number: int, _: Any) -> None:
    name = signal.Signals(number).name
    raise LabError(
        f"the keeper was stopped ({name}) before it was done; nothing of it counts: "
        "the next run begins anew"
    )


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
