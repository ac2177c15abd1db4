"""The objects that the program declares, taken from the stack's state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from labfactory.bench.ground import NAME, Ground

SIGNATURE = "4dabf18193072939515e22adb298388d"
"""Key by which Pulumi marks a value of another kind, such as a secret."""
AWAITED = ("CustomResourceDefinition", "Deployment", "Job", "StatefulSet")
WAIT_FOR = "pulumi.com/waitFor"
Object = dict[str, Any]


def declared(ground: Ground) -> list[Object]:
    """Every Kubernetes object of the lab, with its secrets, as it was declared."""
    return [each for group in groups(state(ground)) for each in group]


def state(ground: Ground) -> list[Mapping[str, Any]]:
    """The resources in the stack's state, with secrets in the open."""
    shown = ground.pulumi("stack", "export", "--show-secrets", "--stack", NAME)
    resources: list[Mapping[str, Any]] = json.loads(shown)["deployment"]["resources"]
    return resources


def groups(resources: Iterable[Mapping[str, Any]]) -> list[list[Object]]:
    """The Kubernetes objects in order; a group needs that those before are ready."""
    found: list[list[Object]] = []
    place: dict[str, int] = {}
    objects: dict[str, Object] = {}
    # In the state a resource comes after everything that it depends on.
    for resource in resources:
        urn = resource["urn"]
        needs = [urn for urn in resource.get("dependencies", []) if urn in objects]
        place[urn] = max(
            (place[need] + (ready_when(objects[need]) is not None) for need in needs),
            default=0,
        )
        if not is_object(resource):
            continue
        objects[urn] = in_the_open(resource["inputs"])
        while len(found) <= place[urn]:
            found.append([])
        found[place[urn]].append(objects[urn])
    return found


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
