"""No write of a route brings a variant back that was taken back.

A ValidatingAdmissionPolicy of the lab's namespace: it needs no server of ours, so
nothing that fails here can let such a write through. Pure.
"""

from __future__ import annotations

from typing import Any

REJECTED = "labfactory.io/rejected"
"""Annotation with the Services that a route may not send requests to."""
_SAID = (
    "has({0}.metadata.annotations) && '" + REJECTED + "' in {0}.metadata.annotations"
)
_TEXT = "{0}.metadata.annotations['" + REJECTED + "']"
# A write that leaves the annotation out does not get around it; one that changes it is
# a verdict's own.
_ANNOTATION = (
    f"{_SAID.format('object')} ? {_TEXT.format('object')} : "
    f"({_SAID.format('oldObject')} ? {_TEXT.format('oldObject')} : '')"
)
_IS_PREVIEW = (
    "has(rule.matches) && size(rule.matches) > 0 && rule.matches.all(match, "
    "has(match.path) && has(match.path.value) && "
    "match.path.value.startsWith('/preview/'))"
)
_SENDS = (
    "has(rule.backendRefs) && rule.backendRefs.exists(backend, "
    "backend.name in variables.rejected && "
    "(!has(backend.weight) || backend.weight > 0))"
)
_ALLOWED = (
    "!has(object.spec.rules) || "
    f"object.spec.rules.all(rule, ({_IS_PREVIEW}) || !({_SENDS}))"
)
_MESSAGE = (
    "'release ' + object.metadata.name + ': ' + variables.annotation + ' was taken "
    "back; `lab sync` writes that into the settings, then `pulumi up` agrees'"
)


def name(lab: str) -> str:
    """Name of the policy of a lab, and of its binding; the cluster has many."""
    return f"{lab}-verdicts.labfactory.io"


def policy(lab: str, namespace: Any) -> dict[str, Any]:
    """The policy for the routes in `namespace`."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name(lab)},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": _only(namespace),
                "resourceRules": [
                    {
                        "apiGroups": ["gateway.networking.k8s.io"],
                        "apiVersions": ["*"],
                        "operations": ["UPDATE"],
                        "resources": ["httproutes"],
                    }
                ],
            },
            "variables": [
                {"name": "annotation", "expression": _ANNOTATION},
                {
                    "name": "rejected",
                    "expression": "variables.annotation.split(',')",
                },
            ],
            "validations": [{"expression": _ALLOWED, "messageExpression": _MESSAGE}],
        },
    }


def binding(lab: str, namespace: Any) -> dict[str, Any]:
    """What puts the policy into force."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name(lab)},
        "spec": {
            "policyName": name(lab),
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": _only(namespace)},
        },
    }


def _only(namespace: Any) -> dict[str, Any]:
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
