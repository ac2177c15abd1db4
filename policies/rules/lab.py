"""What a rule sees: a lab's settings, and everything that its program declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any


@dataclass(frozen=True)
class Resource:
    """One resource, as the program declares it."""

    type: str
    """Pulumi's type token, such as `kubernetes:apps/v1:Deployment`."""
    name: str
    """Logical name, such as `storage-server`."""
    props: Mapping[str, Any] = field(default_factory=dict)
    """Its properties; what a preview does not know is absent."""
    parent: str = ""
    """Logical name of the component that it belongs to."""
    protect: bool = False
    """Whether Pulumi refuses to delete it."""
    after: tuple[str, ...] = ()
    """Logical names of the resources that its properties come from."""

    @property
    def kind(self) -> str:
        """The last part of its type: `Deployment`."""
        return self.type.rpartition(":")[2]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of a Kubernetes object."""
        return self.props.get("metadata") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """Spec of a Kubernetes object."""
        return self.props.get("spec") or {}


@dataclass(frozen=True)
class Lab:
    """A lab as it would be."""

    settings: Mapping[str, Any]
    """`labfactory:lab` as it is written; defaults are not filled in."""
    resources: tuple[Resource, ...]
    today: date
    drill: Mapping[str, Any] | None = None
    """The last drill as it was recorded; None where nobody has asked the cluster."""

    def all(self, *kinds: str) -> Iterator[Resource]:
        """The Kubernetes objects of these kinds."""
        for found in self.resources:
            if found.type.startswith("kubernetes:") and found.kind in kinds:
                yield found

    def group(self, name: str) -> Mapping[str, Any]:
        """A section of the settings; empty where there is none."""
        found = self.settings.get(name)
        return found if isinstance(found, Mapping) else {}
