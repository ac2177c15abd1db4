"""Find what is no longer as it was written in the repository, and mend it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from labfactory.errors import LabError
from labfactory.keeper.objects import Store
from labfactory.keeper.processes import Done
from labfactory.keeper.repository import REMEDY, Repository, Snapshot, bad, damage
from labfactory.keeper.settings import StoreAccess

ASIDE = "damaged"
"""Folder of the repository in which restic does not look."""


def check(repository: Repository) -> None:
    """Read every byte; a LabError names each backup that cannot be trusted."""
    done = _read(repository)
    if not done.code:
        return
    packs, lost = damage(done.err)
    kept, _ = repository.listed()
    # The record of a backup may be damaged there and whole in the cache here.
    kept = [each for each in kept if not each.id.startswith(tuple(lost))]
    damaged = [each for each in kept if packs and _uses(repository, each, packs)]
    good = [each for each in kept if each not in damaged]
    named = [*map(str, damaged), *(f"backup {each[:8]}" for each in lost)]
    older = f"restore the {good[-1]}, and " if named and good else ""
    raise LabError(
        f"{repository.access.url}: {', '.join(named) or 'every backup in it'} can't be "
        f"trusted, content is damaged in the second store ({done.reason}); "
        f"{older}{REMEDY}"
    )


def mend(repository: Repository) -> str:
    """Read every byte, and set aside what is damaged: the next backup writes it anew.

    Without that restic would take it for what is there already. Returns what was
    found; empty when nothing was. Raises LabError.
    """
    done = _read(repository)
    if not done.code:
        return ""
    packs, lost = damage(done.err)
    for path in (
        *(f"data/{p[:2]}/{p}" for p in packs),
        *(f"snapshots/{i}" for i in lost),
    ):
        _set_aside(repository, path)
    rebuilt = repository.restic("rebuild-index", "--read-all-packs")
    repository.done("can't be mended", rebuilt)
    return (
        f"content was damaged in the second store and is written anew (packs: "
        f"{len(packs)}); backups that are lost: {len(lost)}"
    )


def _read(repository: Repository) -> Done:
    done = repository.restic("check", "--read-data", "--no-lock")
    if done.code and not bad(done.err):
        repository.done("can't be checked", done)
    return done


def _uses(repository: Repository, snapshot: Snapshot, packs: Sequence[str]) -> bool:
    only = f"--snapshot={snapshot.id}"
    done = repository.restic("find", "--pack", "--json", "--no-lock", only, *packs)
    return bool(done.code) or '"snapshot"' in done.out


def _set_aside(repository: Repository, path: str) -> None:
    access = repository.access
    bucket, _, folder = (
        urlsplit(access.url.removeprefix("s3:")).path.strip("/").partition("/")
    )
    store = StoreAccess(access.endpoint, access.region, access.key_id, access.secret)
    Store(store).set_aside(bucket, f"{folder}/{path}", f"{folder}/{ASIDE}/{path}")
