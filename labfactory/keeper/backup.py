"""Make one backup: database and objects of the same moment, settings, and the rest."""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from model_server.digest import tree_digest

from labfactory.errors import LabError
from labfactory.keeper import cluster, objects, predictions, served
from labfactory.keeper.database import Database, registered, sums
from labfactory.keeper.integrity import mend
from labfactory.keeper.manifest import Manifest
from labfactory.keeper.objects import Facts, Remembered, Store
from labfactory.keeper.repository import Repository, iso
from labfactory.keeper.settings import Model, Settings
from labfactory.keeper.steps import Steps

DUMP = "database.dump"
PROXIED = "mlflow-artifacts:/"


@dataclass(frozen=True)
class Frozen:
    """What was read of the database at one moment."""

    at: datetime
    tables: Mapping[str, Mapping[str, Any]]
    registered: Mapping[str, str]


def backup(settings: Settings, steps: Steps) -> dict[str, Any]:
    """Put a copy together and keep it; return what is told of it. Raises LabError."""
    repository = Repository(settings.repository, settings.staging)
    with alone(settings.staging):
        with steps.step("open the repository"):
            repository.open(make=True)
            repository.unlock()
        mended = ""
        if settings.mend:
            with steps.step("mend"):
                mended = mend(repository)
        manifest = put_together(settings, steps)
        at = datetime.fromisoformat(manifest.consistent_at)
        with steps.step("restic"):
            kept = repository.backup(settings.copy, settings.lab, at, anew=bool(mended))
        with steps.step("remove old backups"):
            late = repository.thin(settings.lab, settings.keep)
    return {
        "snapshot": kept["snapshot_id"],
        "consistent_at": manifest.consistent_at,
        "bytes": kept["total_bytes_processed"],
        "files": kept["total_files_processed"],
        "rows": manifest.rows,
        "objects": manifest.keys,
        "notes": [*manifest.notes, *filter(None, (mended, late))],
    }


def put_together(settings: Settings, steps: Steps) -> Manifest:
    """Fill the folder of the copy with one consistent state, and describe it."""
    copy = settings.copy
    copy.mkdir(parents=True, exist_ok=True)
    store = Store(settings.store)
    with steps.step("pg_dump"):
        frozen = freeze(Database(settings.database), store, copy / DUMP)
    with steps.step("rclone"):
        notes = pull(store, settings.buckets, copy / "objects", frozen.at)
    with steps.step("sums"):
        found = summed(store, settings, frozen.at)
    with steps.step("answers of models"):
        models, unlisted = known(settings)
        folders = {
            name: copy / "objects" / Path(*objects.place(model.artifact))
            for name, model in models.items()
        }
        answers, silent = predictions.record(models, folders)
    settings_at = take_record(settings.record, copy / "settings")
    undeclared, unread = keep_undeclared(settings, copy / "cluster")
    if settings_at is None:
        notes.append("the lab's settings are not in this backup; `lab up` puts them in")
    manifest = Manifest(
        lab=settings.lab,
        consistent_at=iso(frozen.at),
        database=frozen.tables,
        objects=found,
        runs=int(frozen.tables.get("runs", {"rows": 0})["rows"]),
        models=artifacts(frozen.registered, settings.buckets, copy / "objects"),
        predictions=answers,
        settings_at=settings_at,
        cluster=tuple(undeclared),
        notes=(*notes, *unlisted, *silent, *unread),
    )
    manifest.write(copy)
    return manifest


def known(settings: Settings) -> tuple[Mapping[str, Model], list[str]]:
    """The models that the lab serves, and notes: those that are named, or else those
    that the cluster knows."""
    if settings.models or not cluster.here():
        return settings.models, []
    return served.found(cluster.connect(), settings.namespace)


def freeze(database: Database, store: Store, dump: Path) -> Frozen:
    """Dump one moment of the database, and note the store's time right after it.

    Whatever a row refers to was uploaded before the row was committed, so it is in the
    store at that time.
    """
    with database.frozen() as (connection, snapshot):
        at = store.now()
        tables = sums(connection)
        places = registered(connection)
        database.dump(snapshot, dump)
    return Frozen(at, tables, places)


def pull(store: Store, buckets: tuple[str, ...], root: Path, at: datetime) -> list[str]:
    """Copy the buckets as of `at`; return notes on those that have no past."""
    if lacking := store.lacks(buckets):
        raise LabError(
            f"the store at {store.endpoint}: has no bucket {', '.join(lacking)}; "
            "run `lab up`, which makes them"
        )
    for old in set(_folders(root)) - set(buckets):
        shutil.rmtree(root / old)
    notes = []
    for bucket in buckets:
        past = store.versioned(bucket)
        (root / bucket).mkdir(parents=True, exist_ok=True)
        store.pull(bucket, root / bucket, at if past else None)
        if not past:
            notes.append(
                f"bucket {bucket!r} keeps no versions: its objects are a little newer "
                "than the database"
            )
    return notes


def summed(store: Store, settings: Settings, at: datetime) -> dict[str, Facts]:
    """Sum every file of the copy; one that has decayed on its volume is copied anew."""
    root = settings.copy / "objects"
    remembered = Remembered(settings.staging / "sums.json")
    found = {}
    for bucket in settings.buckets:
        folder = root / bucket
        facts = objects.tree(folder)
        if decayed := remembered.decayed(folder, facts):
            for name in decayed:
                (folder / name).unlink()
            store.pull(bucket, folder, at if store.versioned(bucket) else None)
            facts = objects.tree(folder)
        found[bucket] = facts
    remembered.write(root, found)
    return found


def artifacts(
    places: Mapping[str, str], buckets: tuple[str, ...], root: Path
) -> dict[str, dict[str, str]]:
    """`artifact` and `digest` of each registered model that is in the copy."""
    found = {}
    for name, spelled in places.items():
        for bucket in buckets:
            path = spelled.removeprefix(f"s3://{bucket}/").removeprefix(PROXIED)
            folder = root / bucket / path.lstrip("/")
            if "://" not in path and path and folder.is_dir():
                found[name] = {
                    "artifact": f"s3://{bucket}/{path.strip('/')}",
                    "digest": tree_digest(folder),
                }
                break
    return found


def take_record(record: Path, folder: Path) -> str | None:
    """Copy the stack's file and state; return when they were written down."""
    shutil.rmtree(folder, ignore_errors=True)
    at = record / "at"
    if not at.is_file():
        return None
    folder.mkdir(parents=True)
    (folder / "stack.yaml").write_bytes((record / "settings").read_bytes())
    if not (record / "state").is_file():
        return at.read_text().strip()  # it was too large, which `lab up` has told
    state = (record / "state").read_bytes()
    try:
        (folder / "state.json").write_bytes(gzip.decompress(state))
    except (OSError, EOFError) as error:
        raise LabError(
            f"Secret lab-record: the state in it can't be unpacked ({error}); run "
            "`lab up`, which writes it anew"
        ) from None
    return at.read_text().strip()


def keep_undeclared(settings: Settings, folder: Path) -> tuple[list[str], list[str]]:
    """Write down the cluster's objects that no program declares; names and notes."""
    shutil.rmtree(folder, ignore_errors=True)
    if not cluster.here():
        return [], ["there is no cluster here whose objects could be kept"]
    return cluster.keep(cluster.connect(), settings.namespace, folder)


@contextmanager
def alone(staging: Path) -> Iterator[None]:
    """Hold the staging volume. Raises LabError while another backup does."""
    staging.mkdir(parents=True, exist_ok=True)
    with (staging / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(
                f"{staging}: another backup is being made; it is as good: wait for it"
            ) from None
        yield


def _folders(root: Path) -> list[str]:
    return os.listdir(root) if root.is_dir() else []
