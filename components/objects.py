"""What the lab's objects of one kind have in common, in the words of Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

RBAC = "rbac.authorization.k8s.io"


def service(
    name: str,
    selector: Mapping[str, str],
    *ports: Mapping[str, Any],
    **spec: Any,
) -> dict[str, Any]:
    """A Service that nobody waits for: its pods come later. `spec` adds fields."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": {"pulumi.com/skipAwait": "true"}},
        "spec": {**spec, "selector": selector, "ports": list(ports)},
    }


def secret(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A Secret with `data` in plain text, which Pulumi has to be told is secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": data,
    }


def deployment(
    name: str,
    selector: Mapping[str, str],
    pod: Mapping[str, Any],
    *,
    annotations: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A Deployment of one `pod`, which a change of its `annotations` replaces."""
    template = _template(selector, pod, annotations)
    return _workload("Deployment", name, selector, template, spec)


def stateful_set(
    name: str,
    selector: Mapping[str, str],
    pod: Mapping[str, Any],
    *,
    annotations: Mapping[str, Any],
) -> dict[str, Any]:
    """A StatefulSet of one `pod`, which a change of its `annotations` replaces."""
    template = _template(selector, pod, annotations)
    spec = {"serviceName": name}
    return _workload("StatefulSet", name, selector, template, spec)


def _template(
    labels: Mapping[str, str],
    pod: Mapping[str, Any],
    annotations: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What pods are made from."""
    metadata: dict[str, Any] = {"labels": labels}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": pod}


def service_account(name: str, **more: Any) -> dict[str, Any]:
    """An account whose token only those pods get that ask for it."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name},
        "automountServiceAccountToken": False,
        **more,
    }


def role(name: str, rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What may be done in one namespace."""
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": {"name": name},
        "rules": list(rules),
    }


def role_binding(name: str, namespace: Any) -> dict[str, Any]:
    """The role `name` for the account of that name in `namespace`."""
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": [subject(name, namespace)],
    }


def subject(account: str, namespace: Any) -> dict[str, Any]:
    """An account, as bindings name it."""
    return {"kind": "ServiceAccount", "name": account, "namespace": namespace}


def may(group: str, resources: Sequence[str], verbs: Sequence[str]) -> dict[str, Any]:
    """One rule of a role."""
    return {"apiGroups": [group], "resources": [*resources], "verbs": [*verbs]}


def _workload(
    kind: str,
    name: str,
    selector: Mapping[str, str],
    template: Mapping[str, Any],
    spec: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            **spec,
            "selector": {"matchLabels": selector},
            "template": template,
        },
    }
