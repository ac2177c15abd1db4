"""Who a thing belongs to: labels on everything Kubernetes, added in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

FIELD_MANAGER = {"pulumi.com/patchFieldManager": "labfactory"}
"""One name for all our writes: what an interrupted `pulumi up` has written belongs to
the next one too, instead of being somebody else's field that must not be touched."""


def of_lab(name: str, owner: str) -> dict[str, str]:
    """The labels of the lab `name` of the team `owner`."""
    return {
        "app.kubernetes.io/managed-by": "labfactory",
        "labfactory.io/lab": name,
        "labfactory.io/owner": owner,
    }


def labelled(
    type_: str, props: Mapping[str, Any], labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return `props` with `labels` on the object and on the pods it makes.

    Selectors are left alone: they cannot change once they exist. What is not
    Kubernetes passes unchanged.
    """
    if not type_.startswith("kubernetes:"):
        return dict(props)
    found = {**props, "metadata": _with_labels(props.get("metadata"), labels)}
    annotations = found["metadata"].get("annotations") or {}
    found["metadata"]["annotations"] = {**FIELD_MANAGER, **annotations}
    if isinstance(props.get("spec"), Mapping):
        found["spec"] = _with_labelled_pods(props["spec"], labels)
    return found


def label_everything(labels: Mapping[str, str]) -> None:
    """Put the labels on every resource that is declared after this call."""

    def transformation(
        args: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult:
        props = labelled(args.type_, args.props, labels)
        return pulumi.ResourceTransformationResult(props=props, opts=args.opts)

    # The older of Pulumi's two ways: it runs in this process. The newer one asks for
    # a server of its own, and for a call to it at every resource.
    pulumi.runtime.register_stack_transformation(transformation)


def _with_labelled_pods(
    spec: Mapping[str, Any], labels: Mapping[str, str]
) -> dict[str, Any]:
    """The spec of a workload, or of a CronJob, with labels on what it makes."""
    found = dict(spec)
    for below in ("template", "jobTemplate"):
        if below in spec:
            made = {**spec[below]}
            made["metadata"] = _with_labels(made.get("metadata"), labels)
            if below == "jobTemplate":
                made["spec"] = _with_labelled_pods(made["spec"], labels)
            found[below] = made
    return found


def _with_labels(
    metadata: Mapping[str, Any] | None, labels: Mapping[str, str]
) -> dict[str, Any]:
    metadata = metadata or {}
    return {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}
