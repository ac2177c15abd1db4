"""A release as Kubernetes objects. Pure: the same settings, the same manifests.

Fields that the API server would fill in are written out, so that what is declared and
what is live are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from model_templates.template import KServeTemplate, ServerTemplate, Template, load
from stacks.schema import ReleaseConfig, VariantConfig

RELEASE = "labfactory.io/release"
"""Label of the InferenceService that becomes the model's name in URLs."""
DIGEST = "labfactory.io/digest"
"""Annotation with the artifact's digest; the model server refuses any other."""
VERSION = "labfactory.io/version"
PORT = 8080
USER = 1000
DOMAIN = "lab.internal"
PRE_STOP = 5
"""Seconds in which a stopping pod still answers, until no proxy sends to it."""
GRACE = 45
"""Seconds until a pod is killed: the pause before the stop, then 30 to finish."""


def host(release_name: str, lab: str) -> str:
    """Return the host name under which a release is called."""
    return f"{release_name}.{lab}.{DOMAIN}"


def service_name(release_name: str, variant_name: str) -> str:
    """Return the name of a variant's InferenceService."""
    return f"{release_name}-{variant_name}"


def runtime_name(template: Template, image: str) -> str:
    """Return the name of the template's ServingRuntime, made from its content.

    An edited template is another runtime: nothing that uses the old one restarts.
    """
    content = json.dumps(_runtime_spec(template, image), sort_keys=True).encode()
    return f"lab-{template.format.name}-{hashlib.sha256(content).hexdigest()[:8]}"


def serving_runtime(
    template: Template, *, image: str, namespace: str | None = None
) -> dict[str, Any]:
    """Return the ServingRuntime of a template.

    `image` is the lab's own image; a template of one of KServe's servers has another.
    """
    metadata: dict[str, Any] = {"name": runtime_name(template, image)}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": metadata,
        "spec": _runtime_spec(template, image),
    }


def inference_service(
    release_name: str,
    release: ReleaseConfig,
    variant_name: str,
    variant: VariantConfig,
    template: Template,
    *,
    runtime: str,
    service_account: str,
) -> dict[str, Any]:
    """Return the InferenceService of one variant, which runs on `runtime`.

    Labels and annotations end on the pods: what changes without another model must
    not be among them, or it would restart the variant.
    """
    resources = release.resources
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": service_name(release_name, variant_name),
            "labels": {RELEASE: release_name},
            "annotations": {
                "serving.kserve.io/deploymentMode": "Standard",
                # Without it KServe makes an autoscaler per variant that knows no load.
                "serving.kserve.io/autoscalerClass": "none",
                VERSION: str(variant.version),
                DIGEST: variant.digest,
                "pulumi.com/waitFor": "condition=Ready",
            },
        },
        "spec": {
            "predictor": {
                "serviceAccountName": service_account,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": USER,
                    "runAsGroup": USER,
                    "fsGroup": USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "terminationGracePeriodSeconds": GRACE,
                "minReplicas": release.replicas,
                "maxReplicas": release.replicas,
                "deploymentStrategy": {
                    "type": "RollingUpdate",
                    # One new pod at a time: two that start at once fill two cores,
                    # and those that answer become slow.
                    "rollingUpdate": {"maxSurge": "50%", "maxUnavailable": "0%"},
                },
                "model": {
                    "modelFormat": {
                        "name": template.format.name,
                        "version": template.format.version,
                    },
                    "runtime": runtime,
                    "protocolVersion": template.protocols[0],
                    "storageUri": variant.artifact,
                    "resources": {
                        "requests": canonical(resources.requests.model_dump()),
                        "limits": canonical(resources.limits.model_dump()),
                    },
                },
            }
        },
    }


def canonical(amounts: Mapping[str, str]) -> dict[str, str]:
    """Quantities as KServe's webhook writes them back: `2000m` as 2, `1024Mi` as 1Gi.

    Declared otherwise, they would be a change at every `pulumi up`.
    """
    return {name: _shortest(amount) for name, amount in amounts.items()}


def _shortest(amount: str) -> str:
    if amount.endswith("000m"):
        return amount.removesuffix("000m")
    units = ("Ki", "Mi", "Gi", "Ti")
    number, unit = amount[:-2], amount[-2:]
    while unit in units[:-1] and int(number) % 1024 == 0:
        number, unit = str(int(number) // 1024), units[units.index(unit) + 1]
    return f"{number}{unit}"


def http_route(
    release_name: str, release: ReleaseConfig, *, lab: str, gateway: str
) -> dict[str, Any]:
    """Return the route of a release; `gateway` is NAMESPACE/NAME."""
    namespace, _, name = gateway.partition("/")
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": release_name,
            "labels": {RELEASE: release_name},
            # Weights may be patched while the lab runs; the next `pulumi up` must be
            # able to write the same ones without a conflict.
            "annotations": {"pulumi.com/patchForce": "true"},
        },
        "spec": {
            "parentRefs": [
                {
                    "group": "gateway.networking.k8s.io",
                    "kind": "Gateway",
                    "namespace": namespace,
                    "name": name,
                }
            ],
            "hostnames": [host(release_name, lab)],
            "rules": [
                {
                    "matches": [
                        {"path": {"type": "PathPrefix", "value": path}}
                        for path in load(release.template).paths
                    ],
                    "backendRefs": [
                        {
                            "group": "",
                            "kind": "Service",
                            "name": f"{service_name(release_name, variant)}-predictor",
                            "port": 80,
                            "weight": config.traffic,
                        }
                        for variant, config in release.variants.items()
                    ],
                    "timeouts": {"request": "60s"},
                }
            ],
        },
    }


def _runtime_spec(template: Template, image: str) -> dict[str, Any]:
    return {
        "annotations": {
            "prometheus.kserve.io/path": "/metrics",
            "prometheus.kserve.io/port": str(PORT),
        },
        # Every InferenceService names its runtime. KServe refuses a second runtime
        # that it may choose by itself, and both are there while one replaces the other.
        "supportedModelFormats": [
            {**template.format.model_dump(), "autoSelect": False}
        ],
        "protocolVersions": list(template.protocols),
        "containers": [_container(template, image)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
    }


def _container(template: Template, image: str) -> dict[str, Any]:
    command: dict[str, Any] = {}
    match template:
        case ServerTemplate():
            command = {"command": list(template.command)}
        case KServeTemplate():
            image = template.image
    return {
        "name": "kserve-container",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        **command,
        "args": list(template.args),
        "env": [{"name": name, "value": text} for name, text in template.env.items()],
        "ports": [{"name": "http1", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": _probe(template.ready, every=1, failures=180),
        "readinessProbe": _probe(template.ready, every=1, failures=3),
        "livenessProbe": _probe(template.live, every=10, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP}}},
        # The log's last line says why a model can't be served: it goes to the status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }


def _probe(path: str, *, every: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": PORT, "scheme": "HTTP"},
        "periodSeconds": every,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
        "successThreshold": 1,
    }
