"""From an edit of the settings to the new version's first prediction."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME, Ground, first_answer
from labfactory.bench.kubectl import Kubectl
from labfactory.bench.rendered import declared
from labfactory.demo.story import CLASSIFIER, Demo, only
from labfactory.releases.models.registry import ModelVersion
from labfactory.settings.edit import edit

MODEL = CLASSIFIER.model
BARE = "bare"


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Release one version after the other; apply the same ones by hand beside it."""
    demo = ground.lab()
    kubectl = Kubectl()
    gateway = ground.cluster_ip("projectcontour", "envoy")
    rows = rows_of(demo, 1)
    values, floors = [], []
    for turn in range(runs):
        version = demo.registry.resolve(MODEL, str(2 - turn % 2))
        values.append(_edit(ground, version, gateway, rows))
        [service] = [
            each
            for each in declared(ground)
            if each["metadata"]["name"] == f"{MODEL}-v{version.version}"
        ]
        kubectl.await_pods_gone(NAME, f"{MODEL}-v{1 + turn % 2}")
        floors.append(_by_hand(ground, kubectl, service, rows))
    return [
        Figure(
            "settings edit to the new version's first prediction",
            "a bare InferenceService applied by hand",
            "s",
            Aim(1.2),
            tuple(values),
            tuple(floors),
        )
    ]


def rows_of(demo: Demo, version: int) -> list[Any]:
    """Rows that the classifier can predict."""
    found = demo.registry.resolve(MODEL, str(version))
    expected = json.loads(demo.registry.run_artifact(found.run_id, "expected.json"))
    rows: list[Any] = expected["rows"]
    return rows


def _edit(
    ground: Ground, version: ModelVersion, gateway: str, rows: list[Any]
) -> float:
    served_by = f"{MODEL}-v{version.version}"
    host = f"{MODEL}.{NAME}.lab.internal"
    with ThreadPoolExecutor(max_workers=1) as pool:
        started = time.perf_counter()
        edit(ground.stack.file, lambda tree: only(tree, MODEL, version)).write()
        applying = pool.submit(ground.pulumi_up)
        answered = first_answer(gateway, host, MODEL, rows, served_by)
        applying.result()
    return answered - started


def _by_hand(
    ground: Ground, kubectl: Kubectl, service: dict[str, Any], rows: list[Any]
) -> float:
    metadata = {
        **service["metadata"],
        "name": BARE,
        "labels": {"labfactory.io/release": BARE},
    }
    bare = {**service, "metadata": metadata}
    started = time.perf_counter()
    kubectl.apply([bare])
    address = ground.cluster_ip(NAME, f"{BARE}-predictor")
    answered = first_answer(address, address, BARE, rows, BARE)
    kubectl.delete(bare)
    kubectl.await_pods_gone(NAME, BARE)
    return answered - started
