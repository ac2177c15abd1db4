"""A release as Kubernetes objects. Pure: the same settings, the same manifests.

Fields that the API server would fill in are written out, so that what is declared and
what is live are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from model_templates.routes import RELEASE, service_name
from model_templates.template import (
    EXTERNAL,
    KServeTemplate,
    ServerTemplate,
    Template,
    load,
)
from stacks.schema import ExternalConfig, ReleaseConfig

DIGEST = "labfactory.io/digest"
"""Annotation with the artifact's digest; the model server refuses any other."""
VERSION = "labfactory.io/version"
CARD = "labfactory.io/card"
"""Annotation with the address of the model's card in the store."""
PREDICTIONS = "storage-predictions"
"""Secret with the store of the predictions, and keys that may write there."""
PORT = 8080
USER = 1000
POD: Mapping[str, Any] = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
"""What a pod with a model needs for the `restricted` Pod Security level."""
SCRATCH = {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}
"""Volume for temporary files; a server has no other place to write."""
MODEL_NAME = f"{{{{index .Labels `{RELEASE}`}}}}"
"""What templates write for the release's name; KServe fills it in."""
PRE_STOP = 5
"""Seconds in which a stopping pod still answers, until no proxy sends to it."""
GRACE = 45
"""Seconds until a pod is killed: the pause before the stop, then 30 to finish."""


def serving_runtime(
    template: Template, *, image: str, logs: bool = False
) -> dict[str, Any]:
    """Return the ServingRuntime of a template, named by its content.

    An edited template is another runtime: nothing that uses the old one restarts.
    `image` is the lab's own image; a template of one of KServe's servers has another.
    With `logs`, the lab's own server can keep its answers in the store.
    """
    spec = _runtime_spec(template, image, logs)
    content = json.dumps(spec, sort_keys=True).encode()
    name = f"lab-{template.format.name}-{hashlib.sha256(content).hexdigest()[:8]}"
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": name},
        "spec": spec,
    }


def inference_service(
    release_name: str,
    release: ReleaseConfig,
    variant_name: str,
    *,
    runtime: str,
    service_account: str,
) -> dict[str, Any]:
    """Return the InferenceService of one pinned variant, which runs on `runtime`.

    Labels and annotations end on the pods: what changes without another model must
    not be among them, or it would restart the variant.
    """
    pinned = release.variants[variant_name].pinned
    template = load(release.template)
    model = {
        "modelFormat": template.format.model_dump(),
        "runtime": runtime,
        "protocolVersion": template.protocols[0],
        "storageUri": pinned.artifact,
        "resources": _resources(release),
    }
    identity = {
        VERSION: str(pinned.version),
        DIGEST: pinned.digest,
        CARD: card_address(pinned.artifact),
    }
    return _service(
        release_name,
        release,
        variant_name,
        identity,
        {"serviceAccountName": service_account, "model": model},
    )


def external_service(
    release_name: str,
    release: ReleaseConfig,
    variant_name: str,
    *,
    image: str,
    logs: bool = False,
) -> dict[str, Any]:
    """Return the InferenceService of a variant that is somebody else's endpoint.

    It has a container of its own: to KServe a model without an artifact is a server
    of many models, for which it adds one more container. Such containers are not
    filled in by KServe, so it is done here.
    """
    endpoint = release.variants[variant_name].external
    assert endpoint
    name = service_name(release_name, variant_name)
    text = json.dumps(_container(load(EXTERNAL), image, logs))
    filled = text.replace(MODEL_NAME, release_name).replace("{{.Name}}", name)
    container = json.loads(filled)
    container["env"] += _forwarding(endpoint)
    container["resources"] = _resources(release)
    return _service(
        release_name,
        release,
        variant_name,
        {},
        {"containers": [container], "volumes": [SCRATCH]},
    )


def _service(
    release_name: str,
    release: ReleaseConfig,
    variant_name: str,
    identity: Mapping[str, str],
    predictor: Mapping[str, Any],
) -> dict[str, Any]:
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
                **identity,
                "pulumi.com/waitFor": "condition=Ready",
            },
        },
        "spec": {
            "predictor": {
                **POD,
                "terminationGracePeriodSeconds": GRACE,
                "minReplicas": release.replicas,
                "maxReplicas": release.replicas,
                "deploymentStrategy": {
                    "type": "RollingUpdate",
                    # One new pod at a time: two that start at once fill two cores,
                    # and those that answer become slow.
                    "rollingUpdate": {"maxSurge": "50%", "maxUnavailable": "0%"},
                },
                **predictor,
            }
        },
    }


def _resources(release: ReleaseConfig) -> dict[str, Any]:
    return {
        "requests": canonical(release.resources.requests.model_dump()),
        "limits": canonical(release.resources.limits.model_dump()),
    }


def card_address(artifact: str) -> str:
    """Return where the card of the model in `artifact` is: beside its folder."""
    return f"{artifact.rpartition('/')[0]}/card.html"


def external_secret(key: str) -> str:
    """Return the name of the Secret that holds the key `key` of an endpoint."""
    return f"external-{key}"


def _forwarding(endpoint: ExternalConfig) -> list[dict[str, Any]]:
    settings = endpoint.model_dump(exclude={"key"})
    found: list[dict[str, Any]] = [
        {"name": "LAB_EXTERNAL", "value": json.dumps(settings, sort_keys=True)}
    ]
    if endpoint.key:
        reference = {"name": external_secret(endpoint.key), "key": "key"}
        found.append(
            {"name": "LAB_EXTERNAL_KEY", "valueFrom": {"secretKeyRef": reference}}
        )
    return found


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


def _runtime_spec(template: Template, image: str, logs: bool) -> dict[str, Any]:
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
        "containers": [_container(template, image, logs)],
        "volumes": [SCRATCH],
    }


def _container(template: Template, image: str, logs: bool) -> dict[str, Any]:
    own: dict[str, Any] = {}
    match template:
        case ServerTemplate():
            own = {"command": list(template.command)}
            if logs:
                own["envFrom"] = [{"secretRef": {"name": PREDICTIONS}}]
        case KServeTemplate():
            image = template.image
    return {
        "name": "kserve-container",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        **own,
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
