"""Bring a backup back, and prove that everything is what it was."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from model_server.digest import tree_digest

from labfactory.errors import LabError
from labfactory.keeper import cluster, predictions, proof
from labfactory.keeper.backup import DUMP
from labfactory.keeper.database import Database, sums
from labfactory.keeper.manifest import Manifest
from labfactory.keeper.objects import COUNTED, Facts, Store
from labfactory.keeper.repository import Repository, Snapshot, chosen
from labfactory.keeper.settings import Settings
from labfactory.keeper.steps import Steps


def restore(settings: Settings, steps: Steps) -> dict[str, Any]:
    """Bring a backup into an empty lab, or over the one that OVER names.

    Returns what is told of it, differences included. Raises LabError.
    """
    database, store = Database(settings.database), Store(settings.store)
    snapshot = newest(settings, steps)
    refuse_to_replace(settings, database, store)
    manifest = fetch(settings, snapshot, steps)
    write(settings, manifest, database, store, steps)
    with steps.step("proof"):
        with database.connected() as connection:
            problems = [*proof.tables(manifest.database, sums(connection))]
        problems += [*prove_objects(manifest, store)]
        problems += [*prove_models(store, pinned(settings, manifest))]
        problems += [*prove_predictions(manifest, store)]
    notes = [*manifest.notes]
    undeclared = settings.copy / "cluster"
    if manifest.cluster and cluster.here():
        notes += cluster.put_back(cluster.connect(), settings.namespace, undeclared)
    return {
        "snapshot": snapshot.id[:8],
        "consistent_at": manifest.consistent_at,
        "rows": manifest.rows,
        "objects": manifest.keys,
        "runs": manifest.runs,
        "predictions": len(manifest.predictions),
        "equal": not problems,
        "problems": proof.shown(problems),
        "notes": notes,
    }


def newest(settings: Settings, steps: Steps) -> Snapshot:
    """The backup that is asked for. Raises LabError when there is none."""
    repository = Repository(settings.repository, settings.staging)
    with steps.step("open the repository"):
        repository.open()
        at = None if settings.newest else settings.at
        return chosen(repository.snapshots(at=at), settings.at)


def fetch(settings: Settings, snapshot: Snapshot, steps: Steps) -> Manifest:
    """Bring the backup onto the staging volume, whole, before anything is changed."""
    shutil.rmtree(settings.copy, ignore_errors=True)
    with steps.step("restic"):
        repository = Repository(settings.repository, settings.staging)
        repository.restore(snapshot, settings.copy)
    return Manifest.read(settings.copy)


def refuse_to_replace(settings: Settings, database: Database, store: Store) -> None:
    """Raise LabError where something would be lost and OVER does not name the lab."""
    if lacking := store.lacks(settings.buckets):
        raise LabError(
            f"the store at {store.endpoint}: has no bucket {', '.join(lacking)}; "
            "run `lab up`, which makes them"
        )
    if settings.over:
        if settings.over != settings.lab:
            raise LabError(
                f"lab {settings.lab!r}: what was typed is {settings.over!r}; its own "
                "name has to be typed to restore over it"
            )
        return
    held = database.held()
    for bucket in settings.buckets:
        if number := store.count(bucket):
            more = " or more" if number == COUNTED else ""
            held.append(f"objects in bucket {bucket!r}: {number}{more}")
    if held:
        raise LabError(
            f"lab {settings.lab!r}: is not empty ({', '.join(held)}); restore into an "
            f"empty lab, or lose all that with `--over {settings.lab}`"
        )


def write(
    settings: Settings,
    manifest: Manifest,
    database: Database,
    store: Store,
    steps: Steps,
) -> None:
    """Put the fetched backup into database and store. Raises LabError."""
    if lacking := store.lacks(manifest.objects):
        raise LabError(
            f"the store at {store.endpoint}: lacks bucket {', '.join(lacking)}, which "
            "the backup has; name it in `storage.buckets`, run `lab up`, restore again"
        )
    database.alone()
    with steps.step("pg_restore"):
        database.restore(settings.copy / DUMP)
    with steps.step("rclone"):
        for bucket in manifest.objects:
            store.push(settings.copy / "objects" / bucket, bucket)


def prove_objects(manifest: Manifest, store: Store) -> Iterator[str]:
    """Read every object back from the store; a sentence for each that differs."""
    found: dict[str, Facts] = {each: store.sums(each) for each in manifest.objects}
    yield from proof.objects(manifest.objects, found)


def pinned(settings: Settings, manifest: Manifest) -> dict[str, tuple[str, str]]:
    """Artifact and digest of each model that has to be there: registered or served.

    A variant counts when the backup has its bucket: it may have been added later.
    """
    found = {n: (m["artifact"], m["digest"]) for n, m in manifest.models.items()}
    for name, kept in manifest.predictions.items():
        model = settings.models.get(name)
        if model and model.digest and model.artifact == kept["artifact"]:
            found[name] = (model.artifact, model.digest)
    return found


def prove_models(store: Store, models: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Fetch each artifact from the store; a sentence for each that is another."""
    found = {}
    for name, (artifact, _) in models.items():
        with tempfile.TemporaryDirectory() as folder:
            store.fetch(artifact, Path(folder))
            if any(Path(folder).iterdir()):
                found[name] = tree_digest(folder)
    yield from proof.digests({n: digest for n, (_, digest) in models.items()}, found)


def prove_predictions(manifest: Manifest, store: Store) -> Iterator[str]:
    """Ask each restored model again; a sentence for each that answers otherwise."""
    for name, kept in manifest.predictions.items():
        with tempfile.TemporaryDirectory() as folder:
            store.fetch(kept["artifact"], Path(folder))
            try:
                answers = predictions.replay(name, Path(folder), kept["rows"])
            except Exception as error:
                text = " ".join(str(error).split())[:200]
                yield f"model {name}: can't answer ({type(error).__name__}: {text})"
                continue
        yield from proof.answers(name, kept["answers"], answers)


def age(manifest: Manifest, now: datetime) -> float:
    """Seconds of work that a disaster at `now` would have cost."""
    return round((now - datetime.fromisoformat(manifest.consistent_at)).total_seconds())
