"""What a `pulumi preview` means for the releases of a lab. Pure.

The preview is the JSON of `pulumi preview --json --show-sames`: without the second
flag it leaves out whatever stays as it is, and with that most of a release.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from labfactory.errors import LabError
from labfactory.releases import traffic
from labfactory.releases.planning import objects
from labfactory.releases.planning.objects import CHANGING, SERVICE, Object
from labfactory.releases.traffic import Traffic
from model_templates.manifests import DIGEST, VERSION
from stacks.rules import amount

STACK = "pulumi:pulumi:Stack"
ROUTE, RUNTIME = "HTTPRoute", "ServingRuntime"


class Amounts(NamedTuple):
    """Processor time in cores and memory in bytes."""

    cpu: float
    memory: float


@dataclass(frozen=True)
class Variant:
    """A deployed variant, and the requests that it gets."""

    name: str
    version: int | None
    digest: str | None
    artifact: str | None
    """`None`, as version and digest, for an external endpoint."""
    runtime: str
    replicas: int
    each: Amounts
    """What one predictor of it is promised."""

    @property
    def needs(self) -> Amounts:
        """What all its predictors are promised."""
        return Amounts(self.each.cpu * self.replicas, self.each.memory * self.replicas)


@dataclass(frozen=True)
class State:
    """A release on one side of the change."""

    variants: Mapping[str, Variant]
    traffic: Traffic

    @property
    def stable(self) -> Variant | None:
        """The variant that answers unless told otherwise."""
        return self.variants.get(self.traffic.stable or "")

    @property
    def replicas(self) -> int:
        """Predictors of all variants."""
        return sum(variant.replicas for variant in self.variants.values())

    @property
    def needs(self) -> Amounts:
        """What all variants are promised."""
        needs = [variant.needs for variant in self.variants.values()]
        return Amounts(sum(n.cpu for n in needs), sum(n.memory for n in needs))


@dataclass(frozen=True)
class ReleaseChange:
    """A release before and after; `None` where there is none."""

    name: str
    before: State | None
    after: State | None
    objects: tuple[Object, ...]

    @property
    def changed(self) -> list[Object]:
        """Its objects that would not stay as they are."""
        return [found for found in self.objects if found.op != "same"]

    def service(self, variant: str) -> Object | None:
        """The InferenceService of a variant."""
        wanted = f"{self.name}-{variant}"
        found = (o for o in self.objects if (o.kind, o.name) == (SERVICE, wanted))
        return next(found, None)


@dataclass(frozen=True)
class Changes:
    """Everything that a preview says."""

    releases: tuple[ReleaseChange, ...]
    others: tuple[Object, ...]
    """The objects that are no part of a release."""
    steps: int
    """Steps that would be taken, those of components too."""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    """The stack's outputs as they are now; empty before its first `up`."""

    @property
    def objects(self) -> list[Object]:
        """All objects."""
        return [*self.others, *(o for r in self.releases for o in r.objects)]

    def image(self, runtime: str) -> str | None:
        """The image that a ServingRuntime has, or had."""
        for found in self.others:
            if (found.kind, found.name) == (RUNTIME, runtime):
                spec = (found.after or found.before)["spec"]
                image: str = spec["containers"][0]["image"]
                return image
        return None

    @property
    def more_promised(self) -> Amounts:
        """How much more the releases are promised after the change than before."""
        sides = [(r.before, r.after) for r in self.releases]
        old = [b.needs for b, _ in sides if b]
        new = [a.needs for _, a in sides if a]
        return Amounts(
            sum(n.cpu for n in new) - sum(o.cpu for o in old),
            sum(n.memory for n in new) - sum(o.memory for o in old),
        )


def read(preview: Mapping[str, Any]) -> Changes:
    """Return what a preview's JSON says, release by release.

    Raises LabError for a preview that leaves out what stays as it is.
    """
    steps: list[Mapping[str, Any]] = preview.get("steps") or []
    summary: Mapping[str, int] = preview.get("changeSummary") or {}
    # The stack itself is there either way.
    if summary.get("same", 0) > 1 and [s["op"] for s in steps].count("same") <= 1:
        raise LabError(
            "pulumi preview: it leaves out what stays as it is, so nobody can tell "
            "what a release is made of; run it with --show-sames"
        )
    stack = next((s for s in steps if f"::{STACK}::" in s["urn"]), {})
    by_urn: dict[str, Object] = {}
    for step in steps:
        if (found := objects.from_step(step)) is not None:
            first = by_urn.get(step["urn"])
            by_urn[step["urn"]] = objects.merged(first, found) if first else found
    releases: dict[str, list[Object]] = defaultdict(list)
    others = []
    for each in by_urn.values():
        if each.release is None:
            others.append(each)
        else:
            releases[each.release].append(each)
    return Changes(
        releases=tuple(_release(name, releases[name]) for name in sorted(releases)),
        others=tuple(others),
        steps=sum(count for op, count in summary.items() if op in CHANGING),
        outputs=(stack.get("oldState") or {}).get("outputs") or {},
    )


def _release(name: str, objects: list[Object]) -> ReleaseChange:
    return ReleaseChange(
        name=name,
        before=_state(name, [(o.kind, o.before) for o in objects if o.before]),
        after=_state(name, [(o.kind, o.after) for o in objects if o.after]),
        objects=tuple(objects),
    )


def _state(name: str, objects: list[tuple[str, Mapping[str, Any]]]) -> State | None:
    services = [manifest for kind, manifest in objects if kind == SERVICE]
    routes = [manifest for kind, manifest in objects if kind == ROUTE]
    if not services:
        return None
    variants = [_variant(name, service) for service in services]
    return State(
        variants={variant.name: variant for variant in variants},
        traffic=traffic.read(name, routes[0]) if routes else Traffic(),
    )


def _variant(release: str, service: Mapping[str, Any]) -> Variant:
    metadata, predictor = service["metadata"], service["spec"]["predictor"]
    annotations = metadata.get("annotations") or {}
    # An external endpoint is no model to KServe, but a container of its own.
    model = predictor.get("model") or predictor["containers"][0]
    version = annotations.get(VERSION)
    asked = (model.get("resources") or {}).get("requests") or {}
    return Variant(
        name=metadata["name"].removeprefix(f"{release}-"),
        version=int(version) if version else None,
        digest=annotations.get(DIGEST),
        artifact=model.get("storageUri"),
        runtime=model.get("runtime", ""),
        replicas=predictor.get("minReplicas", 1),
        each=Amounts(amount(asked.get("cpu", "0")), amount(asked.get("memory", "0"))),
    )
