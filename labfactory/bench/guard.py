"""The guard: how soon a bad variant is gone, what it costs, and how often it errs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

from labfactory import labs
from labfactory.bench import guard_rules, partner
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import CONTEXT, NAME, Ground, until
from labfactory.bench.kubectl import Kubectl
from labfactory.bench.load import Target
from labfactory.bench.partner import Partner
from labfactory.bench.releases_watch import OK, Answer, watched
from labfactory.errors import LabError
from labfactory.releases.decisions import guard
from labfactory.releases.decisions.observed import Counts, Observed, State
from labfactory.releases.simulation.traces import BOUNDS
from labfactory.settings.edit import edit
from model_templates import host
from stacks.schema import ReleaseConfig
from stacks.watching import MonitoringConfig

RELEASE, GOOD = "score", "good"
PERCENT = 10
INTERVAL = float(MonitoringConfig().interval_seconds)
FLAGGER = 10
"""Failed checks until Flagger takes a release back, one each interval, in the example
of its documents ("How it works", `threshold: 10`)."""
CONNECTIONS, EVERY = 4, 0.05
"""Eighty requests a second."""
WARM = 30.0
"""Seconds of good requests before the fault."""
QUIET = 5.0
"""Seconds without a failure after which the fault is over."""
IDLE = 120.0
WATCHERS = ("alertmanager", "guard", "prometheus", "state-metrics")
RELEASES = 1000


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Measure everything about the guard; leave the lab with monitoring."""
    return [
        *live(ground, runs),
        *cost(ground),
        rounds(runs),
        *guard_rules.simulated(),
    ]


def live(ground: Ground, runs: int) -> list[Figure]:
    """Let a candidate fail, and wait for the last caller who notices."""
    demo = ground.lab()
    values = []
    with partner.partner(CONTEXT, demo.outputs["lab_image"]) as somebody:
        for run in range(runs):
            candidate = f"new{run}"
            somebody.behave(candidate)
            edit(ground.stack.file, partial(_release, candidate)).write()
            labs.stand_up(NAME, progress=ground.progress)
            target = Target(
                address=ground.cluster_ip("projectcontour", "envoy"),
                port=80,
                path=f"/v1/models/{RELEASE}:predict",
                host=host(RELEASE, NAME),
                rows=[[1.0]],
            )
            values.append(_fault(ground, target, somebody, candidate))
    flagger = FLAGGER * INTERVAL
    name = "fault to the last answer of the bad variant, default rules"
    return [
        Figure(
            f"{name}, by Flagger's own formula",
            f"{FLAGGER} checks of {INTERVAL:.0f} s each",
            "s",
            Aim(0.2),
            tuple(values),
            (flagger,) * runs,
        ),
        Figure(
            f"{name}, by intervals",
            "two intervals",
            "s",
            Aim(1),
            tuple(values),
            (2 * INTERVAL,) * runs,
        ),
    ]


def cost(ground: Ground) -> list[Figure]:
    """Look at what watches the lab while nobody asks for anything; once."""
    kubectl = Kubectl()
    with ground.progress.step("monitoring and guard, idle", estimate=IDLE):
        time.sleep(IDLE / 4)
        before, began = _pods(kubectl), time.perf_counter()
        time.sleep(IDLE)
        after, ended = _pods(kubectl), time.perf_counter()
    busy = sum(
        int(pod["cpu"]["usageCoreNanoSeconds"])
        - int(before[name]["cpu"]["usageCoreNanoSeconds"])
        for name, pod in after.items()
        if name in before
    )
    memory = {name: int(p["memory"]["workingSetBytes"]) for name, p in after.items()}
    told = ", ".join(
        f"{name.split('-')[0]} {size / 2**20:.0f}" for name, size in memory.items()
    )
    return [
        Figure(
            "memory of monitoring and guard, idle",
            "",
            "MiB",
            Aim(400, of="value"),
            (sum(memory.values()) / 2**20,),
            note=told,
        ),
        Figure(
            "processor time of monitoring and guard, idle",
            "",
            "% of a core",
            Aim(2, of="value"),
            (busy / 1e7 / (ended - began),),
        ),
    ]


def rounds(runs: int) -> Figure:
    """Decide about a thousand releases with a candidate each."""
    settings = ReleaseConfig.model_validate(
        {
            "template": "mlflow",
            "variants": {
                "v1": {**_pinned(1), "role": "stable", "traffic": 90},
                "v2": {**_pinned(2), "role": "candidate", "traffic": 10},
            },
        }
    )
    live = {"v1": 90, "v2": 10}
    states = [State() for _ in range(RELEASES)]
    values = []
    for run in range(runs + 1):
        looks = [_look(Random(run * RELEASES + n), run) for n in range(RELEASES)]
        began = time.perf_counter()
        for number, look in enumerate(looks):
            _, states[number] = guard.decide(
                f"release-{number}",
                settings,
                live,
                states[number],
                look,
                now=look.time,
                budget=6,
            )
        values.append(time.perf_counter() - began)
    return Figure(
        f"one decision about each of {RELEASES:,} releases",
        "",
        "s",
        Aim(1, of="value"),
        tuple(values[1:]),
    )


def _release(candidate: str, tree: dict[str, Any]) -> dict[str, Any]:
    tree["monitoring"], tree["guard"] = {}, {"actions_per_hour": 60}
    tree["releases"][RELEASE] = {
        "template": "mlflow",
        "variants": {
            GOOD: {
                **partner.variant(GOOD),
                "role": "stable",
                "traffic": 100 - PERCENT,
            },
            candidate: {
                **partner.variant(candidate),
                "role": "candidate",
                "traffic": PERCENT,
            },
        },
    }
    return tree


def _fault(ground: Ground, target: Target, somebody: Partner, candidate: str) -> float:
    """Seconds from the fault to the last answer that a caller got of it."""
    title = f"{candidate} begins to fail"
    with (
        ground.progress.step(title, estimate=WARM + 2 * INTERVAL + QUIET),
        watched(target, connections=CONNECTIONS, every=EVERY) as answers,
    ):
        time.sleep(WARM)
        somebody.behave(candidate, status=500)
        broke = time.perf_counter()
        until("a failure", lambda: _last_failure(answers) > broke)
        until(
            f"an end of the failures of {candidate}",
            lambda: time.perf_counter() - _last_failure(answers) > QUIET,
        )
    before = [a for a in answers if a.at < broke and a.status != OK]
    if before:
        raise LabError(
            f"lab bench: {len(before)} requests failed before the fault; see what the "
            "gateway and the models are busy with"
        )
    return _last_failure(answers) - broke


def _last_failure(answers: Sequence[Answer]) -> float:
    return max((a.at for a in list(answers) if a.status != OK), default=0.0)


def _pods(kubectl: Kubectl) -> dict[str, Mapping[str, Any]]:
    """What the kubelet measures of each pod that watches the lab, by its name."""
    [node] = kubectl.get("nodes")["items"]
    path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
    return {
        pod["podRef"]["name"]: pod
        for pod in json.loads(kubectl.run("get", "--raw", path))["pods"]
        if pod["podRef"]["namespace"] == NAME
        and pod["podRef"]["name"].startswith(WATCHERS)
    }


def _look(random: Random, number: int) -> Observed:
    """What an interval of a busy release looks like."""

    def counts(requests: int) -> Counts:
        latency: dict[float, int] = {}
        for _ in range(requests):
            bound = BOUNDS[random.randrange(30, 60)]
            latency[bound] = latency.get(bound, 0) + 1
        return Counts(requests=requests, errors=0, latency=latency)

    return Observed(
        time=1000.0 + INTERVAL * number,
        seconds=INTERVAL,
        counts={"v1": counts(90), "v2": counts(10)},
        ready={"v1": True, "v2": True},
    )


def _pinned(version: int) -> dict[str, Any]:
    return {
        "version": version,
        "artifact": f"s3://mlflow/1/models/m-{version}/artifacts",
        "digest": f"sha256:{version:064x}",
    }
