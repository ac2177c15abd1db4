"""The objects that the program declares, taken from the stack's state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from labfactory.bench.ground import NAME, Ground

SIGNATURE = "4dabf18193072939515e22adb298388d"
"""Key by which Pulumi marks a value of another kind, such as a secret."""
AWAITED = ("CustomResourceDefinition", "Deployment", "Job", "StatefulSet")
WAIT_FOR = "pulumi.com/waitFor"
Object = dict[str, Any]


class Group(NamedTuple):
    """Objects that can be made at the same time."""

    needs: list[Object]
    """Those of earlier groups that must be ready before."""
    objects: list[Object]


def declared(ground: Ground) -> list[Object]:
    """Every Kubernetes object of the lab, with its secrets, as it was declared."""
    return [each for group in groups(state(ground)) for each in group.objects]


def state(ground: Ground) -> list[Mapping[str, Any]]:
    """The resources in the stack's state, with secrets in the open."""
    shown = ground.pulumi("stack", "export", "--show-secrets", "--stack", NAME)
    resources: list[Mapping[str, Any]] = json.loads(shown)["deployment"]["resources"]
    return resources


def groups(resources: Iterable[Mapping[str, Any]]) -> list[Group]:
    """The Kubernetes objects in order, the ones that wait least first."""
    found: dict[int, Group] = {}
    place: dict[str, int] = {}
    objects: dict[str, Object] = {}
    # In the state a resource comes after everything that it depends on.
    for resource in resources:
        if not is_object(resource):
            continue
        urn = resource["urn"]
        needs = [urn for urn in resource.get("dependencies", []) if urn in objects]
        place[urn] = max([place[n] + delay(objects[n]) for n in needs], default=0)
        objects[urn] = in_the_open(resource["inputs"])
        group = found.setdefault(place[urn], Group([], []))
        group.objects.append(objects[urn])
        for need in (objects[need] for need in needs):
            if ready_when(need) and need not in group.needs:
                group.needs.append(need)
    return [found[number] for number in sorted(found)]


def delay(made: Object) -> int:
    """How late an object is ready: at once, soon, or after its pods have started."""
    if ready_when(made) is None:
        return 0
    return 1 if made["kind"] == "CustomResourceDefinition" else 10


def is_object(resource: Mapping[str, Any]) -> bool:
    """Whether a resource is a Kubernetes object that the program makes."""
    ours = resource["type"].startswith("kubernetes:") and not resource.get("external")
    return bool(ours)


def ready_when(made: Object) -> str | None:
    """What Pulumi waits for: `condition=Ready`, `rollout`; None when for nothing."""
    annotations = made["metadata"].get("annotations", {})
    if WAIT_FOR in annotations:
        return str(annotations[WAIT_FOR])
    if made["kind"] not in AWAITED:
        return None
    return {"Job": "condition=Complete"}.get(made["kind"], "rollout")


def in_the_open(value: Any) -> Any:
    """`value` with each secret replaced by its content."""
    if isinstance(value, Mapping):
        if SIGNATURE in value:
            return in_the_open(json.loads(value["plaintext"]))
        return {key: in_the_open(each) for key, each in value.items()}
    return [in_the_open(each) for each in value] if isinstance(value, list) else value
