"""Who may speak to whom in a lab: one table, and everything else is refused.

NetworkPolicies are made from it (`network`), and so is the picture in the docs
(`python -m components.picture`). Kubelets reach the pods of their node in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from components import (
    alertmanager,
    contour,
    feedback,
    guard,
    keeper,
    kserve,
    minio,
    postgres,
    prometheus,
    scrapes,
    state_metrics,
    tracking,
)
from components.rooms import COPIES, DRILL, GATEWAY, KSERVE, LAB
from model_templates.batch import BATCH

WEBHOOK_PORT = 9443
XDS_PORT = 8001
KUBELET_PORT = 10250
API_PORTS = (443, 6443)
"""The API server's: of its Service, and of the server, whose address nobody knows."""
DNS_PORTS = (53, 1053, 5353)
"""What the cluster's name server is asked at, and what its pods listen on."""

ANYBODY = "anybody"
API = "API server"
KUBELETS = "kubelets"
ENDPOINTS = "endpoints elsewhere"
RECEIVERS = "receivers of alerts"
OUTSIDE = (ANYBODY, API, KUBELETS, ENDPOINTS, RECEIVERS)
"""Ends of flows that are no pods, or nobody knows which."""


class Part(NamedTuple):
    """Pods of one kind, as policies find them."""

    room: str
    """Namespace: one of those in `rooms`."""
    selector: Mapping[str, Any]


class Flow(NamedTuple):
    """One way that is open; ports are those of the pods, not of their Services."""

    who: str
    whom: str
    ports: tuple[int, ...]
    """Empty where the settings say which."""
    why: str


def _app(room: str, name: str) -> Part:
    return Part(room, {"matchLabels": {"app": name}})


def _labelled(label: str) -> Part:
    found = {"key": label, "operator": "Exists"}
    return Part(LAB, {"matchExpressions": [found]})


PARTS: Mapping[str, Part] = {
    "predictors": Part(LAB, {"matchLabels": {"component": "predictor"}}),
    "batches": _labelled(BATCH),
    "trainings": _labelled("labfactory.io/training"),
    "retrainings": _labelled(guard.RETRAIN),
    "mlflow": _app(LAB, tracking.NAME),
    "postgres": _app(LAB, postgres.NAME),
    "minio": _app(LAB, minio.NAME),
    "provisioning": _app(LAB, "storage-provisioning"),
    "prometheus": _app(LAB, prometheus.NAME),
    "alertmanager": _app(LAB, alertmanager.NAME),
    "state-metrics": _app(LAB, state_metrics.NAME),
    "guard": _app(LAB, guard.NAME),
    "feedback": _app(LAB, feedback.NAME),
    "keeper": _app(LAB, keeper.NAME),
    "drills": Part(DRILL, {}),
    "second store": _app(COPIES, minio.NAME),
    "its provisioning": _app(COPIES, "storage-provisioning"),
    "envoy": _app(GATEWAY, "envoy"),
    "contour": _app(GATEWAY, "contour"),
    "kserve": Part(KSERVE, {"matchLabels": dict(kserve.SELECTOR)}),
}
"""Every part of a lab, by name."""


def _to(whom: str, port: int | tuple[int, ...], **reasons: str) -> list[Flow]:
    """Flows to one part, by who; `_` in a name stands for a space."""
    ports = (port,) if isinstance(port, int) else port
    return [Flow(_name(who), whom, ports, reason) for who, reason in reasons.items()]


def _name(word: str) -> str:
    return {"state_metrics": "state-metrics", "any": ANYBODY}.get(
        word, word.replace("_", " ")
    )


FLOWS: tuple[Flow, ...] = (
    *_to(
        "envoy",
        contour.HTTP_PORT,
        any="requests, by host name",
    ),
    *_to("envoy", contour.METRICS_PORT, prometheus="figures of each backend"),
    *_to("contour", XDS_PORT, envoy="asks which routes there are"),
    *_to("kserve", WEBHOOK_PORT, any="the API server has models checked"),
    *_to(
        "predictors",
        scrapes.MODEL_PORT,
        envoy="requests by weight, match and mirror",
        prometheus="figures of the models",
        keeper="answers to compare after a restore",
    ),
    *_to(ENDPOINTS, (), predictors="models of somebody else's"),
    *_to(
        "feedback",
        feedback.PORT,
        envoy="labels",
        prometheus="counts of right and wrong",
    ),
    *_to(
        "mlflow",
        tracking.PORT,
        any="runs, for people and commands",
        trainings="runs and models",
        retrainings="runs and models",
        guard="new versions of a model",
        prometheus="figures of requests",
        keeper="runs and models, counted",
    ),
    *_to("postgres", postgres.PORT, mlflow="its tables", keeper="a dump, a restore"),
    *_to("postgres", postgres.METRICS_PORT, prometheus="figures of the database"),
    *_to(
        "prometheus",
        prometheus.PORT,
        any="figures, for people and commands",
        guard="what the rules are about",
    ),
    *_to(
        "alertmanager",
        alertmanager.PORT,
        any="alerts, for people and commands",
        prometheus="alerts, and its figures",
        guard="alerts of its own",
    ),
    *_to(RECEIVERS, (), alertmanager="what is wrong"),
    *_to(
        "minio",
        minio.PORT,
        any="data and logs, for people and commands",
        mlflow="artifacts",
        predictors="the model at the start; predictions",
        batches="the model, inputs and predictions",
        trainings="data",
        retrainings="data",
        feedback="logs of predictions, and labels",
        provisioning="buckets, users, policies",
        prometheus="figures of the store",
        keeper="every object, both ways",
    ),
    *_to("state-metrics", scrapes.STATE_PORT, prometheus="states of the lab's objects"),
    *_to("guard", guard.PORT, prometheus="figures of its decisions"),
    *_to(KUBELETS, KUBELET_PORT, prometheus="figures of node, volumes, containers"),
    *_to(
        API,
        API_PORTS,
        state_metrics="the lab's objects",
        guard="routes, and trainings to start",
        feedback="the releases' routes",
        keeper="objects to copy; results",
        drills="results",
    ),
    *_to(
        "second store",
        minio.PORT,
        keeper="backups",
        drills="the newest backup",
        its_provisioning="bucket, users, policies",
    ),
)
"""Every flow that is allowed, besides questions to the name server."""


def into(part: str) -> list[Flow]:
    """Flows to a part."""
    return [flow for flow in FLOWS if flow.whom == part]


def out_of(part: str) -> list[Flow]:
    """Flows from a part."""
    return [flow for flow in FLOWS if flow.who == part]
