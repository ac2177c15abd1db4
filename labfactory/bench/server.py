"""The model server through the gateway, beside a plain one that is called directly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME, Ground
from labfactory.bench.kubectl import Kubectl
from labfactory.bench.load import Target, put_under_load
from labfactory.bench.release import MODEL, rows_of

SECONDS = 10.0
MANY = 8
PLAIN = "plain"
SOURCE = Path(__file__).with_name("plain.py")
KEPT = ("automountServiceAccountToken", "securityContext", "initContainers", "volumes")


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Call both servers in turns, over one connection and over MANY."""
    demo = ground.lab()
    kubectl = Kubectl()
    predictors = kubectl.get("pods", "-n", NAME, "-l", f"labfactory.io/release={MODEL}")
    pod = plain_pod(predictors["items"][0])
    kubectl.apply([_source(), pod])
    kubectl.run("-n", NAME, "wait", "--for=condition=Ready", f"pod/{PLAIN}")
    address = kubectl.get("pod", PLAIN, "-n", NAME)["status"]["podIP"]
    host = f"{MODEL}.{NAME}.lab.internal"
    rows = rows_of(demo, 1)[:1]
    gateway = ground.cluster_ip("projectcontour", "envoy")
    ours = Target(gateway, 80, f"/v1/models/{MODEL}:predict", host, rows)
    plain = Target(address, 8080, "/predict", PLAIN, rows)
    found: dict[tuple[str, int], list[float]] = {}
    for target in (ours, plain):
        put_under_load(target, connections=MANY, seconds=SECONDS / 5)
    for _ in range(runs):
        for target in (ours, plain):
            with ground.progress.step(f"load on {target.host}", estimate=2 * SECONDS):
                one = put_under_load(target, connections=1, seconds=SECONDS)
                many = put_under_load(target, connections=MANY, seconds=SECONDS)
            found.setdefault((target.host, 1), []).append(one.p50_ms)
            found.setdefault((target.host, MANY), []).append(many.per_second)
    kubectl.delete(pod)
    floor = "the same model in plain FastAPI and uvicorn, without gateway"
    return [
        Figure(
            "model server through the gateway, p50 of 1 connection",
            floor,
            "ms",
            Aim(1.8),
            tuple(found[host, 1]),
            tuple(found[PLAIN, 1]),
        ),
        Figure(
            f"model server through the gateway, requests of {MANY} connections",
            floor,
            "/s",
            Aim(0.6, at_least=True),
            tuple(found[host, MANY]),
            tuple(found[PLAIN, MANY]),
        ),
    ]


def plain_pod(predictor: dict[str, Any]) -> dict[str, Any]:
    """A pod like `predictor`, which fetches the same model, with the plain server."""
    [theirs] = predictor["spec"]["containers"]
    command = f"uvicorn {PLAIN}:app --host 0.0.0.0 --port 8080 --no-access-log"
    container = {
        **{key: theirs[key] for key in ("image", "resources", "securityContext")},
        "name": PLAIN,
        "command": ["python3", "-m", *command.split()],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            {"name": "OMP_NUM_THREADS", "value": "1"},
            {"name": "PYTHONPATH", "value": "/plain"},
        ],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "volumeMounts": [
            *theirs["volumeMounts"],
            {"name": "source", "mountPath": "/plain", "readOnly": True},
        ],
    }
    annotations = predictor["metadata"]["annotations"]
    spec = {key: predictor["spec"][key] for key in KEPT}
    source = {"name": "source", "configMap": {"name": PLAIN}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": PLAIN,
            "namespace": NAME,
            # The fetch reads the model's digest there.
            "annotations": {
                "labfactory.io/digest": annotations["labfactory.io/digest"]
            },
        },
        "spec": {
            **spec,
            "containers": [container],
            "terminationGracePeriodSeconds": 1,
            "volumes": [*spec["volumes"], source],
        },
    }


def _source() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": PLAIN, "namespace": NAME},
        "data": {SOURCE.name: SOURCE.read_text()},
    }
