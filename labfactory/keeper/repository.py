"""The repository of encrypted copies in the second store: restic."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labfactory.errors import LabError
from labfactory.keeper.objects import PATIENCE_SECONDS, answers
from labfactory.keeper.processes import Done, run
from labfactory.keeper.settings import RepositoryAccess, child

ABSENT = "Is there a repository at the following location?"
GONE = "key does not exist"
NOTHING = (GONE, "no such file or directory")
NO_PASSWORD = "wrong password"
LOCKED = "already locked"
PACK = re.compile(r"\b(?:want|[Pp]ack(?: ID)?) ([0-9a-f]{64})\b")
LOST = re.compile(r"<snapshot/([0-9a-f]+)>")
REMEDY = "make a new one with `lab backup now`, which mends what is kept"
BAD = (
    "ciphertext verification failed",
    "does not match",
    "invalid data returned",
    "is damaged",
    "not found in repository",
    "Unmarshal",
    "contains errors",
    "hash mismatch",
)
"""What restic says of content that is not what was written."""


@dataclass(frozen=True)
class Snapshot:
    """One backup."""

    id: str
    at: datetime
    """The moment that it is of."""

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"backup {self.id[:8]} of {iso(self.at)}"


class Repository:
    """Backups of one lab; every method raises LabError."""

    def __init__(
        self,
        access: RepositoryAccess,
        staging: Path,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Refer to it; caches and half-written packs go below `staging`."""
        self.access = access
        self._patience = patience
        self._folder = staging
        self._env = child(
            RESTIC_REPOSITORY=access.url,
            RESTIC_PASSWORD=access.password,
            RESTIC_CACHE_DIR=str(staging / "cache"),
            RESTIC_PROGRESS_FPS="0.05",
            AWS_ACCESS_KEY_ID=access.key_id,
            AWS_SECRET_ACCESS_KEY=access.secret,
            AWS_DEFAULT_REGION=access.region,
            TMPDIR=str(staging / "tmp"),
        )

    def open(self, *, make: bool = False) -> None:
        """See that it answers and takes the password; `make` it where there is none."""
        (self._folder / "tmp").mkdir(parents=True, exist_ok=True)
        if self.access.endpoint:
            answers(self.access.endpoint, "the second store", self._patience)
        done = self.restic("cat", "config", "--no-lock")
        if not done.code:
            return
        if NO_PASSWORD in done.err:
            raise LabError(
                f"{self.access.url}: its backups were encrypted with another password "
                "(it follows from the lab's seed); use the seed of the lab that made "
                "them, or its `lab backup key`"
            )
        if ABSENT not in done.err or not any(each in done.err for each in NOTHING):
            raise LabError(
                f"{self.access.url}: can't be opened ({done.reason}); are the second "
                "store's keys right, and does its bucket exist?"
            )
        if not make:
            raise LabError(
                f"{self.access.url}: there is no backup yet; `lab backup now` makes one"
            )
        self.done("can't be made", self.restic("init"))

    def unlock(self) -> None:
        """Remove locks of keepers that were interrupted."""
        self.done("can't be unlocked", self.restic("unlock"))

    def snapshots(self, *, at: datetime | None = None) -> list[Snapshot]:
        """Every backup, oldest first.

        Raises LabError where the newest may be one that can't be read, but with `at`.
        """
        found, lost = self.listed()
        if lost and at is None:
            raise LabError(
                f"{self.access.url}: backup {', '.join(each[:8] for each in lost)} "
                "can't be trusted, its record is damaged in the second store; restore "
                f"an older one with `--at`, and {REMEDY}"
            )
        return found

    def backup(
        self, folder: Path, lab: str, at: datetime, *, anew: bool = False
    ) -> dict[str, Any]:
        """Keep `folder` as one backup; return restic's summary.

        One that lacks a file is taken away again. With `anew` every file is read,
        whatever was kept of it before.
        """
        (folder.parent / "tmp").mkdir(exist_ok=True)
        done = self.restic(
            "backup",
            ".",
            "--json",
            f"--host={lab}",
            f"--tag=lab={lab}",
            f"--time={at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            *(["--force"] if anew else []),
            cwd=folder,
        )
        summary = _summary(done.out)
        if done.code and summary:
            self.restic("forget", summary["snapshot_id"])
        self.done("can't take the backup", done)
        return summary

    def thin(self, lab: str, keep: Mapping[str, int]) -> str:
        """Remove what is older than `keep` says; return why that was put off, if so."""
        rules = [f"--keep-{name}={number}" for name, number in keep.items() if number]
        done = self.restic(
            "forget",
            "--prune",
            f"--host={lab}",
            "--group-by=host",
            "--keep-last=1",
            *rules,
        )
        if done.code and LOCKED in done.err:
            return "old backups were not removed yet: somebody else uses the repository"
        self.done("can't remove old backups", done)
        return ""

    def restore(self, snapshot: Snapshot, folder: Path) -> None:
        """Bring a backup into `folder`."""
        done = self.restic("restore", snapshot.id, f"--target={folder}", "--no-lock")
        if done.code and GONE in done.err:
            # Old backups were removed at that moment, and what is kept was repacked.
            done = self.restic(
                "restore", snapshot.id, f"--target={folder}", "--no-lock"
            )
        if done.code and bad(done.err):
            raise LabError(
                f"{snapshot}: can't be trusted, its content is damaged in the second "
                f"store ({done.reason}); restore an older one with "
                f"`--at`, and {REMEDY}"
            )
        self.done(f"can't give back the {snapshot}", done)

    def listed(self) -> tuple[list[Snapshot], list[str]]:
        """Every backup, oldest first, and the ids of those whose record is damaged."""
        done = self.restic("snapshots", "--json", "--no-lock")
        self.done("can't list its backups", done)
        found = [
            Snapshot(each["id"], datetime.fromisoformat(each["time"]).astimezone(UTC))
            for each in json.loads(done.out) or []
        ]
        _, lost = damage(done.err)
        return sorted(found, key=lambda snapshot: snapshot.at), lost

    def restic(self, *args: str, cwd: Path | None = None) -> Done:
        """Run restic on this repository."""
        return run(["restic", *args], self._env, cwd=cwd)

    def done(self, what: str, done: Done) -> None:
        """Raise LabError with restic's reason when it did not do `what`."""
        if done.code:
            raise LabError(
                f"{self.access.url}: {what} ({done.reason}); is the second store up, "
                "and has it space?"
            )


def chosen(snapshots: Sequence[Snapshot], at: datetime | None) -> Snapshot:
    """The newest backup that is not younger than `at`. Raises LabError."""
    if not snapshots:
        raise LabError("there is no backup yet; `lab backup now` makes one")
    before = [each for each in snapshots if at is None or each.at <= at]
    if not before:
        assert at
        raise LabError(
            f"there is no backup of {iso(at)} or before; the first is of "
            f"{iso(snapshots[0].at)}"
        )
    return before[-1]


def iso(at: datetime) -> str:
    """A time in UTC, to the second."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def damage(text: str) -> tuple[list[str], list[str]]:
    """Ids of the packs and of the backups' records that restic calls damaged."""
    return sorted(set(PACK.findall(text))), sorted(set(LOST.findall(text)))


def bad(text: str) -> bool:
    """Whether restic complains of content, and not of the way to it."""
    return any(sign in text for sign in BAD)


def _summary(text: str) -> dict[str, Any]:
    return next((each for each in _lines(text) if _is_summary(each)), {})


def _lines(text: str) -> Iterator[Any]:
    for line in text.splitlines():
        with suppress(ValueError):
            yield json.loads(line)


def _is_summary(line: Any) -> bool:
    return isinstance(line, dict) and line.get("message_type") == "summary"
