"""Rehearse a restore in an empty namespace, and prove that it would do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from labfactory.keeper import proof
from labfactory.keeper.database import Database, sums
from labfactory.keeper.manifest import Manifest
from labfactory.keeper.objects import Store, place
from labfactory.keeper.restore import (
    age,
    fetch,
    newest,
    pinned,
    prove_models,
    prove_objects,
    prove_predictions,
    refuse_to_replace,
    write,
)
from labfactory.keeper.settings import Settings
from labfactory.keeper.steps import Steps
from labfactory.keeper.tracking import listed, served


def drill(
    settings: Settings, steps: Steps, now: Callable[[], datetime]
) -> dict[str, Any]:
    """Restore the newest backup into an empty store and database; prove it.

    Returns what is told of it, differences included. Raises LabError.
    """
    started = now()
    database, store = Database(settings.database), Store(settings.store)
    snapshot = newest(settings, steps)
    manifest = fetch(settings, snapshot, steps)
    store.make(manifest.objects)
    refuse_to_replace(settings, database, store)
    write(settings, manifest, database, store, steps)
    # Before MLflow starts: it may write into its tables.
    with steps.step("sums of tables"), database.connected() as connection:
        problems = [*proof.tables(manifest.database, sums(connection))]
    with steps.step("MLflow"), served(settings, tracking_bucket(manifest)) as url:
        runs, models = listed(url)
        kept = manifest.database.get("registered_models", {"rows": 0})["rows"]
        problems += proof.counts("runs", manifest.runs, runs)
        problems += proof.counts("registered models", kept, models)
    with steps.step("answers of models"):
        problems += prove_predictions(manifest, store)
    rto = round((now() - started).total_seconds())
    with steps.step("sums of objects"):
        problems += prove_objects(manifest, store)
        problems += prove_models(store, pinned(settings, manifest))
    return {
        "snapshot": snapshot.id[:8],
        "consistent_at": manifest.consistent_at,
        "rpo_seconds": age(manifest, started),
        "rto_seconds": rto,
        "rows": manifest.rows,
        "objects": manifest.keys,
        "runs": runs,
        "predictions": len(manifest.predictions),
        "equal": not problems,
        "problems": proof.shown(problems),
        "notes": [*manifest.notes],
    }


def tracking_bucket(manifest: Manifest) -> str:
    """The bucket of the tracking server's artifacts: that of a registered model."""
    for model in manifest.models.values():
        return place(model["artifact"])[0]
    return next(iter(manifest.objects), "mlflow")
