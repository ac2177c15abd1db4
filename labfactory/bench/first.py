"""From an empty cluster to the first prediction, with the images there already."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from labfactory.bench.artifacts import Files, read, write
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME, Ground, first_answer
from labfactory.bench.kubectl import Kubectl
from labfactory.bench.release import MODEL, rows_of
from labfactory.bench.rendered import Group, Object, groups, state
from labfactory.demo.story import only
from labfactory.releases.models.registry import ModelVersion
from labfactory.settings.edit import edit

OF_A_RELEASE = ("ServingRuntime", "InferenceService", "HTTPRoute")
HOST = f"{MODEL}.{NAME}.lab.internal"


@dataclass(frozen=True)
class Prepared:
    """What both ways need, from a lab that was there before."""

    version: ModelVersion
    files: Files
    """The model's artifact."""
    rows: list[Any]
    base: list[Group]
    """The lab without releases, in groups."""
    release: list[Object]

    @property
    def served_by(self) -> str:
        """Who should answer."""
        return f"{MODEL}-v{self.version.version}"


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Stand the lab up by `pulumi up` and by `kubectl apply`, in turns.

    A release needs its artifact, so the lab comes in two steps: without releases, then
    with one. What is timed is their sum; the artifact is copied between them.
    """
    prepared = _prepare(ground)
    values, floors = [], []
    for _ in range(runs):
        values.append(_by_pulumi(ground, prepared))
        floors.append(_by_kubectl(ground, prepared))
    return [
        Figure(
            "empty cluster to first prediction, images present",
            "`kubectl apply` of the same objects, and waiting for the same readiness",
            "s",
            Aim(1.3),
            tuple(values),
            tuple(floors),
        )
    ]


def _prepare(ground: Ground) -> Prepared:
    demo = ground.lab()
    [variant] = demo.settings.releases[MODEL].variants.values()
    version = demo.registry.resolve(MODEL, str(variant.version))
    resources = state(ground)
    return Prepared(
        version,
        read(demo.outputs["tracking_url"], version.artifact),
        rows_of(demo, version.version),
        groups(each for each in resources if kind_of(each) not in OF_A_RELEASE),
        [
            each
            for group in groups(resources)
            for each in group.objects
            if each["kind"] == "ServingRuntime"
            or (
                each["kind"] in OF_A_RELEASE
                and each["metadata"]["labels"].get("labfactory.io/release") == MODEL
            )
        ],
    )


def kind_of(resource: Mapping[str, Any]) -> str:
    """The kind of object that a resource is."""
    return str(resource["type"]).rpartition(":")[2]


def _by_pulumi(ground: Ground, prepared: Prepared) -> float:
    version = prepared.version
    ground.empty_cluster()
    base = ground.pulumi_up()
    gateway = _copy(ground, prepared)
    with ThreadPoolExecutor(max_workers=1) as pool:
        started = time.perf_counter()
        edit(ground.stack.file, lambda tree: only(tree, MODEL, version)).write()
        applying = pool.submit(ground.pulumi_up)
        answered = first_answer(gateway, HOST, MODEL, prepared.rows, prepared.served_by)
        applying.result()
    return base + answered - started


def _by_kubectl(ground: Ground, prepared: Prepared) -> float:
    ground.empty_cluster()
    kubectl = Kubectl()
    started = time.perf_counter()
    with ground.progress.step("kubectl apply of the same objects"):
        for group in prepared.base:
            kubectl.wait(group.needs)
            kubectl.apply(group.objects)
        kubectl.wait([each for group in prepared.base for each in group.objects])
    base = time.perf_counter() - started
    gateway = _copy(ground, prepared)
    started = time.perf_counter()
    kubectl.apply(prepared.release)
    answered = first_answer(gateway, HOST, MODEL, prepared.rows, prepared.served_by)
    return base + answered - started


def _copy(ground: Ground, prepared: Prepared) -> str:
    """Give the lab the artifact; return the gateway's address."""
    tracking = f"http://{ground.cluster_ip(NAME, 'mlflow')}:5000"
    write(tracking, prepared.version.artifact, prepared.files)
    return ground.cluster_ip("projectcontour", "envoy")
