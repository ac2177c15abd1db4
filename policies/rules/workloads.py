"""The pods that a lab declares, and the containers in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .lab import Lab, Resource

LASTING = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
"""Kinds whose pods run until they are told to stop."""
RUNTIMES = ("ServingRuntime", "ClusterServingRuntime")
"""Kinds with the containers of predictors; the rest is in the InferenceService."""
Tree = Mapping[str, Any]


class Pods(NamedTuple):
    """What one resource makes pods of."""

    owner: Resource
    spec: Tree
    """The spec of its pods; of a predictor, or of a runtime, only a part of it."""
    lasting: bool
    """Whether they run until they are told to stop."""


class Container(NamedTuple):
    """One container of one pod."""

    pods: Pods
    fields: Tree
    first: bool
    """Whether it has to end before the others start."""

    @property
    def named(self) -> str:
        """Its name, for a complaint."""
        return f"container {self.fields.get('name', '?')!r}"

    @property
    def security(self) -> Tree:
        """Its own security context."""
        return tree(self.fields.get("securityContext"))


def tree(value: object) -> Tree:
    """`value`, or nothing when it is no mapping."""
    return value if isinstance(value, Mapping) else {}


def trees(value: object) -> list[Tree]:
    """The mappings in a list; none when it is no list."""
    if not isinstance(value, list | tuple):
        return []
    return [each for each in value if isinstance(each, Mapping)]


def pods(lab: Lab) -> Iterator[Pods]:
    """The pods of every workload whose spec is the spec of whole pods."""
    for found in lab.all("Pod"):
        yield Pods(found, found.spec, lasting=True)
    for found in lab.all(*LASTING, "Job"):
        template = tree(found.spec.get("template"))
        yield Pods(found, tree(template.get("spec")), found.kind != "Job")
    for found in lab.all("CronJob"):
        job = tree(tree(found.spec.get("jobTemplate")).get("spec"))
        yield Pods(found, tree(tree(job.get("template")).get("spec")), lasting=False)


def predictors(lab: Lab) -> Iterator[Pods]:
    """The pods of every InferenceService, as far as it says itself what they are."""
    for found in lab.all("InferenceService"):
        for part in ("predictor", "transformer"):
            if spec := tree(found.spec.get(part)):
                yield Pods(found, spec, lasting=True)


def runtimes(lab: Lab) -> Iterator[Pods]:
    """The part of predictors' pods that runtimes and storage containers say."""
    for found in lab.all(*RUNTIMES):
        yield Pods(found, found.spec, lasting=True)
    for found in lab.all("ClusterStorageContainer"):
        container = tree(found.spec.get("container"))
        yield Pods(found, {"initContainers": [container]}, lasting=False)


def containers(found: Pods) -> Iterator[Container]:
    """Every container of a pod; one that starts first and stays is no first one."""
    for fields in trees(found.spec.get("initContainers")):
        yield Container(found, fields, fields.get("restartPolicy") != "Always")
    for fields in trees(found.spec.get("containers")):
        yield Container(found, fields, first=False)


def all_containers(lab: Lab) -> Iterator[Container]:
    """Every container that is declared anywhere."""
    for each in (*pods(lab), *predictors(lab), *runtimes(lab)):
        yield from containers(each)
