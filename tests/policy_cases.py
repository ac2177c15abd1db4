"""What the tests of the policy rules have in common: labs of a few resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple

import pytest

from policies.rules import RULES
from policies.rules.lab import Lab, Resource

TODAY = date(2026, 11, 21)
KINDS = ("passes", "fails", "boundary")
"""Every rule has a case of each."""


class Case(NamedTuple):
    """One lab, and the whole of what one rule says about it."""

    rule: str
    kind: str
    lab: Lab
    told: tuple[str, ...]
    """`where: text` of each complaint, in order."""


def case(rule: str, kind: str, lab: Lab, *told: str) -> Any:
    """A case for `parametrize`, named after its rule and kind.

    `kind` may say more: `boundary: a tag alone`.
    """
    plain = kind.partition(":")[0]
    return pytest.param(Case(rule, plain, lab, told), id=f"{rule}-{kind}")


def holds(case: Case) -> None:
    """The rule says of the lab what the case says, and no more."""
    found = RULES[case.rule].check(case.lab)

    assert [f"{each.where}: {each.text}" for each in found] == [*case.told]
    if case.kind in ("passes", "fails"):
        assert bool(case.told) == (case.kind == "fails")


def lab(
    *resources: Resource,
    settings: Mapping[str, Any] | None = None,
    drill: Mapping[str, Any] | None = None,
) -> Lab:
    return Lab(settings or {}, resources, TODAY, drill)


def thing(kind: str, name: str = "it", **props: Any) -> Resource:
    """A Kubernetes object; its metadata has its name unless said."""
    props.setdefault("metadata", {"name": name})
    return Resource(f"kubernetes:{API.get(kind, 'core/v1')}:{kind}", name, props)


API = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "InferenceService": "serving.kserve.io/v1beta1",
    "ServingRuntime": "serving.kserve.io/v1alpha1",
    "ClusterServingRuntime": "serving.kserve.io/v1alpha1",
    "ClusterStorageContainer": "serving.kserve.io/v1alpha1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
}


def good(**fields: Any) -> dict[str, Any]:
    """A container of which no rule complains; `fields` replace its own."""
    return {
        "name": "main",
        "image": "registry.example.com:5000/lab:1.2",
        "ports": [{"containerPort": 80}],
        "readinessProbe": {"httpGet": {}},
        "livenessProbe": {"httpGet": {}},
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "resources": {
            "requests": {"cpu": "1", "memory": "1Gi"},
            "limits": {"cpu": "1", "memory": "1Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        **fields,
    }


def secured(**fields: Any) -> dict[str, Any]:
    """A container with other fields in its own security context."""
    whole = good()
    return {**whole, "securityContext": {**whole["securityContext"], **fields}}


def spec(*containers: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A pod's spec of which no rule complains; `fields` replace its own."""
    return {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers or (good(),)),
        **fields,
    }


def workload(kind: str, pod: Mapping[str, Any], name: str = "it") -> Resource:
    """A workload that makes such pods."""
    if kind == "Pod":
        return thing(kind, name, spec=pod)
    if kind == "CronJob":
        job = {"spec": {"template": {"spec": pod}}}
        return thing(kind, name, spec={"jobTemplate": job})
    return thing(kind, name, spec={"template": {"spec": pod}})


def deployed(*containers: Mapping[str, Any], **fields: Any) -> Lab:
    """A lab with one Deployment."""
    return lab(workload("Deployment", spec(*containers, **fields)))


def predictor(name: str = "iris-v1", **fields: Any) -> Resource:
    """An InferenceService with a model."""
    model = {
        "runtime": "lab-mlflow",
        "storageUri": "s3://mlflow/1",
        "resources": good()["resources"],
    }
    whole = {k: v for k, v in spec().items() if k != "containers"}
    return thing(
        "InferenceService",
        name,
        metadata={"name": name, "annotations": fields.pop("annotations", {})},
        spec={"predictor": {**whole, "model": model, **fields}},
    )


def kinds_of(cases: Iterable[Any]) -> dict[str, set[str]]:
    """The kinds of cases that each rule has."""
    found: dict[str, set[str]] = {}
    for each in cases:
        [one] = each.values
        found.setdefault(one.rule, set()).add(one.kind)
    return found
