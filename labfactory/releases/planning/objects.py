"""One object of a stack in a preview: what would be done with it, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from model_templates.routes import RELEASE, SETTINGS

Op = Literal["same", "create", "update", "replace", "delete"]

OPERATIONS: dict[str, Op] = {
    "same": "same",
    "create": "create",
    "import": "create",
    "update": "update",
    "replace": "replace",
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "import-replacement": "replace",
    "delete": "delete",
}
"""Pulumi's steps; the others (read, refresh, discard) change nothing in a cluster."""
CHANGING = frozenset(step for step, op in OPERATIONS.items() if op != "same")

STATEFUL = frozenset(
    {
        "CustomResourceDefinition",
        "Namespace",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "StatefulSet",
    }
)
"""Kinds that take data with them; what is in a Secret stands in the stack file."""

SERVICE = "InferenceService"


@dataclass(frozen=True)
class Object:
    """One object of the stack, as it is and as it would be."""

    kind: str
    name: str
    op: Op
    before: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Its manifest now; empty when it is not there."""
    after: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Its manifest after the change; empty when it goes."""
    because: tuple[str, ...] = ()
    """Properties that differ; those that force a replacement, if there is one."""
    kept: bool = False
    """It leaves the stack but stays in the cluster."""
    type: str = ""
    """Pulumi's type token, such as `kubernetes:apps/v1:Deployment`."""
    logical: str = ""
    """Name in the program, such as `storage-server`."""
    parent: str = ""
    """Name of the component that it belongs to."""

    @property
    def ref(self) -> str:
        """KIND/NAME, by which a person names it."""
        return f"{self.kind}/{self.name}"

    @property
    def release(self) -> str | None:
        """The release that it is a part of."""
        metadata = (self.after or self.before).get("metadata") or {}
        found: str | None = (metadata.get("labels") or {}).get(RELEASE)
        return found

    @property
    def loses_data(self) -> bool:
        """Whether data would be gone with it."""
        gone = self.op in ("replace", "delete") and not self.kept
        return gone and self.kind in STATEFUL

    @property
    def restarts(self) -> bool:
        """Whether pods that run now would be replaced by others."""
        if self.op == "replace":
            return bool(_pods(self.kind, self.before))
        return self.op == "update" and (
            _pods(self.kind, self.before) != _pods(self.kind, self.after)
        )


def from_step(step: Mapping[str, Any]) -> Object | None:
    """Return the object of a step; components are nothing but names and give none."""
    old, new = step.get("oldState") or {}, step.get("newState") or {}
    state = new or old
    if step["op"] not in OPERATIONS or not state.get("custom"):
        return None
    op = OPERATIONS[step["op"]]
    before, after = old.get("inputs") or {}, new.get("inputs") or {}
    metadata = (after or before).get("metadata") or {}
    forced = step.get("replaceReasons") or []
    differing = set(step.get("detailedDiff") or step.get("diffReasons") or [])
    if len(differing) > 1:
        # A route repeats the settings for the guard; what they change is told anyway.
        differing.discard(f"metadata.annotations.{SETTINGS}")
    return Object(
        kind=state["type"].rpartition(":")[2],
        name=metadata.get("name") or _name(step["urn"]),
        op=op,
        before={} if op == "create" else before,
        after={} if op == "delete" else after,
        because=tuple(sorted(forced or differing)),
        kept=bool(old.get("retainOnDelete")),
        type=state["type"],
        logical=_name(step["urn"]),
        parent=_name(state.get("parent") or ""),
    )


def merged(first: Object, then: Object) -> Object:
    """Return a replacement that came as two steps, with one state each."""
    return replace(
        then,
        op="replace",
        before=first.before or then.before,
        after=then.after or first.after,
        because=first.because or then.because,
        kept=first.kept or then.kept,
    )


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _pods(kind: str, manifest: Mapping[str, Any]) -> Any:
    """What of a manifest ends in its pods: another value means other pods."""
    spec = manifest.get("spec") or {}
    if kind != SERVICE:
        return spec.get("template")
    metadata = manifest.get("metadata") or {}
    predictor = spec.get("predictor") or {}
    counts = ("minReplicas", "maxReplicas")
    return (
        {key: value for key, value in predictor.items() if key not in counts},
        metadata.get("labels"),
        metadata.get("annotations"),
    )
