"""What a shadow that gets a copy of every request costs the caller."""

from __future__ import annotations

import os
import re
import time

import httpx

from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME
from labfactory.bench.load import Load, put_under_load
from labfactory.bench.release import MODEL
from labfactory.bench.releases_canary import ANSWERS_NEW, Canary
from labfactory.bench.releases_traffic import SETTLE
from labfactory.errors import LabError

TURNS = 3
"""As often per run: of a thousand requests, the tenth slowest is a matter of luck."""
SECONDS = 10.0
EVERY = 0.01
ROWS = re.compile(r"^lab_model_predictions_total\{[^}]*\} (\S+)$", re.M)
"""Rows that a model server has answered, as it tells Prometheus."""


def shadow(canary: Canary, runs: int) -> list[Figure]:
    """Call with and without the shadow in turns; both variants run all the time."""
    canary.apply(canary.shadow)
    mirrored = canary.ground.stack.settings.releases[MODEL]
    plain = canary.as_after(canary.candidate(0))
    time.sleep(SETTLE)
    copied_before = rows_answered(canary)
    with_shadow: list[Load] = []
    without: list[Load] = []
    for _ in range(TURNS * runs):
        for loads, release in ((with_shadow, mirrored), (without, plain)):
            canary.turn(release)
            time.sleep(SETTLE)
            with canary.ground.progress.step("a caller of a mirrored release"):
                loads.append(
                    put_under_load(
                        canary.target, connections=1, seconds=SECONDS, every=EVERY
                    )
                )
    canary.turn(mirrored)
    copied = rows_answered(canary) - copied_before
    return figures(with_shadow, without, copied)


def figures(with_shadow: list[Load], without: list[Load], copied: int) -> list[Figure]:
    """Both figures; raises LabError when the shadow did not get what it should."""
    sent = sum(len(load.latencies) for load in with_shadow)
    # A turn's last request is not measured, but copied.
    if not 0.99 * sent <= copied <= 1.01 * sent + len(with_shadow):
        raise LabError(
            f"lab bench: the shadow answered {copied} copies of {sent} requests; see "
            "its log, and whether the gateway follows its route"
        )
    note = (
        f"a request each {1000 * EVERY:g} ms; caller, gateway and models on the same "
        f"{os.cpu_count()} cores"
    )
    name = "caller of a release with a shadow at 100 %"
    floor = "without the shadow"
    return [
        Figure(
            f"{name}, p50",
            floor,
            "ms",
            Aim(1.05),
            tuple(load.p50_ms for load in with_shadow),
            tuple(load.p50_ms for load in without),
            note,
        ),
        Figure(
            f"{name}, p99",
            floor,
            "ms",
            Aim(1.05),
            tuple(load.p99_ms for load in with_shadow),
            tuple(load.p99_ms for load in without),
            note,
        ),
    ]


def rows_answered(canary: Canary) -> int:
    """How many rows the shadow has answered since it started."""
    label = f"serving.kserve.io/inferenceservice={ANSWERS_NEW}"
    [pod] = canary.kubectl.get(
        "pods", "-n", NAME, "-l", label, "--field-selector=status.phase=Running"
    )["items"]
    url = f"http://{pod['status']['podIP']}:8080/metrics"
    return counted(httpx.get(url, timeout=10, trust_env=False).text)


def counted(metrics: str) -> int:
    """The rows in what a model server tells Prometheus."""
    return sum(int(float(found)) for found in ROWS.findall(metrics))
