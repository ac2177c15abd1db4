"""Rules of what pods need, and how they say that they are well."""

from __future__ import annotations

from collections.abc import Iterator

from .lab import Lab
from .rule import Complaint, Rule
from .workloads import (
    RUNTIMES,
    Container,
    containers,
    pods,
    predictors,
    runtimes,
    tree,
)

LEAST = ("cpu", "memory")
"""What each container says about itself."""


def requests(lab: Lab) -> Iterator[Complaint]:
    """Each container says what it needs."""
    yield from _amounts(lab, "requests", "reserves")


def limits(lab: Lab) -> Iterator[Complaint]:
    """Each container says what it never gets more of."""
    yield from _amounts(lab, "limits", "has a limit of")


def _amounts(lab: Lab, which: str, verb: str) -> Iterator[Complaint]:
    for container in _own_containers(lab):
        said = tree(tree(container.fields.get("resources")).get(which))
        if missing := [each for each in LEAST if each not in said]:
            text = f"{container.named} {verb} no {' and no '.join(missing)}"
            yield Complaint(container.pods.owner.name, text)


def _own_containers(lab: Lab) -> Iterator[Container]:
    """Containers that are a pod's; a runtime's get their amounts from the release."""
    for found in (*pods(lab), *predictors(lab), *runtimes(lab)):
        if found.owner.kind not in RUNTIMES:
            yield from containers(found)
    for found in predictors(lab):
        if model := tree(found.spec.get("model")):
            yield Container(found, {"name": "kserve-container", **model}, first=False)


def readiness(lab: Lab) -> Iterator[Complaint]:
    """What takes requests says when it can."""
    for container in _lasting(lab):
        if container.fields.get("ports") and not container.fields.get("readinessProbe"):
            text = f"{container.named} listens and does not say when it is ready"
            yield Complaint(container.pods.owner.name, text)


def liveness(lab: Lab) -> Iterator[Complaint]:
    """What runs for ever is started again when it hangs."""
    for container in _lasting(lab):
        if not container.fields.get("livenessProbe"):
            text = f"{container.named} is not started again when it hangs"
            yield Complaint(container.pods.owner.name, text)


def _lasting(lab: Lab) -> Iterator[Container]:
    for found in (*pods(lab), *predictors(lab), *runtimes(lab)):
        if found.lasting:
            yield from (each for each in containers(found) if not each.first)


def graceful_stop(lab: Lab) -> Iterator[Complaint]:
    """A predictor answers until the gateway has forgotten it."""
    for found in runtimes(lab):
        if found.owner.kind in RUNTIMES:
            for container in containers(found):
                if not tree(container.fields.get("lifecycle")).get("preStop"):
                    text = f"{container.named} stops while requests are on their way"
                    yield Complaint(found.owner.name, text)


RULES: tuple[Rule, ...] = (
    Rule(
        "requests",
        "mandatory",
        "Every container reserves processor time and memory.",
        "A pod that reserves nothing is the first to be evicted, and costs unseen.",
        "set resources.requests.cpu and resources.requests.memory",
        requests,
    ),
    Rule(
        "limits",
        "mandatory",
        "Every container has a limit of processor time and memory.",
        "One leak must not take the node and its neighbours with it.",
        "set resources.limits.cpu and resources.limits.memory",
        limits,
    ),
    Rule(
        "readiness-probe",
        "mandatory",
        "Every container that runs for ever and listens says when it is ready.",
        "Requests are sent to a pod as soon as it seems ready.",
        "give it a readinessProbe",
        readiness,
    ),
    Rule(
        "liveness-probe",
        "advisory",
        "Every container that runs for ever is started again when it hangs.",
        "A process that hangs looks as well as one that works.",
        "give it a livenessProbe",
        liveness,
    ),
    Rule(
        "graceful-stop",
        "advisory",
        "A predictor waits before it stops.",
        "The gateway still sends requests for some seconds; they would fail.",
        "give it a lifecycle.preStop that sleeps for some seconds",
        graceful_stop,
    ),
)
