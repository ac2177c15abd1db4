"""KServe's controller: the objects that run it, in Standard mode, without Knative."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from components import objects
from components.pods import LAB_USER, env, http_probe, pod, resources, restricted

NAMESPACE = "kserve"
CONTROLLER = "kserve-controller-manager"
SERVICE = "kserve-webhook-server-service"
CERTIFICATE = "kserve-webhook-server-cert"
HOSTS = (f"{SERVICE}.{NAMESPACE}.svc", f"{SERVICE}.{NAMESPACE}.svc.cluster.local")
"""Names under which the API server calls the webhooks."""
SELECTOR = {"control-plane": CONTROLLER}


DIGEST_OF_THE_POD = "metadata.annotations['labfactory.io/digest']"
"""KServe hands the annotations of an InferenceService on to its pods."""


def namespace_labels() -> dict[str, str]:
    """Labels that keep the controller's own pod out of its own webhook."""
    return dict(SELECTOR)


def service() -> dict[str, Any]:
    """The Service that the API server calls."""
    port = {"port": 443, "targetPort": "webhook-server"}
    return objects.service(SERVICE, SELECTOR, port)


def config_map(image: str) -> dict[str, Any]:
    """The controller's settings; `image` runs where KServe adds a container."""
    size = {
        "memoryRequest": "64Mi",
        "memoryLimit": "512Mi",
        "cpuRequest": "10m",
        "cpuLimit": "1",
    }
    settings: dict[str, Any] = {
        "deploy": {
            "defaultDeploymentMode": "Standard",
            # Percentages: KServe passes these on as text, which Kubernetes takes for
            # nothing else. One new pod at a time leaves the processors to those that
            # answer; no old pod goes before the new one is ready.
            "deploymentRolloutStrategy": {
                "defaultRollout": {"maxSurge": "50%", "maxUnavailable": "0%"}
            },
        },
        "ingress": {
            # Routes are the lab's own; this must not be empty although nobody uses it.
            "ingressGateway": "none/none",
            "disableIngressCreation": True,
            "disableIstioVirtualHost": True,
            "enableGatewayApi": False,
            "ingressDomain": "lab.internal",
            "urlScheme": "http",
        },
        "storageInitializer": {
            "image": image,
            **size,
            "caBundleConfigMapName": "",
            "caBundleVolumeMountPath": "/etc/ssl/custom-certs",
            "enableModelcar": False,
        },
        "credentials": {
            "storageSpecSecretName": "storage-config",
            "storageSecretNameAnnotation": "serving.kserve.io/storageSecretName",
            "s3": {
                "s3AccessKeyIDName": "AWS_ACCESS_KEY_ID",
                "s3SecretAccessKeyName": "AWS_SECRET_ACCESS_KEY",
            },
        },
        "inferenceService": {
            "resource": {
                "cpuRequest": "50m",
                "memoryRequest": "256Mi",
                "cpuLimit": "1",
                "memoryLimit": "1Gi",
            }
        },
        # The webhook reads these for every pod, used or not, and refuses gaps.
        **{
            name: {"image": "localhost/not-used:none", **size}
            for name in ("logger", "batcher", "agent", "router")
        },
        "localModel": {"enabled": False},
        "security": {"autoMountServiceAccountToken": False},
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "inferenceservice-config"},
        "data": {name: json.dumps(value) for name, value in settings.items()},
    }


def deployment(image: str, certificate: Any) -> dict[str, Any]:
    """The controller. `certificate` changes with its certificate, and restarts it."""
    container = {
        "name": "manager",
        "image": image,
        "command": ["/manager"],
        "args": ["--metrics-addr=:8080", "--health-probe-addr=:8081"],
        "env": env(
            POD_NAMESPACE={"fieldRef": {"fieldPath": "metadata.namespace"}},
            SECRET_NAME=CERTIFICATE,
        ),
        "ports": [{"name": "webhook-server", "containerPort": 9443}],
        "startupProbe": http_probe("/readyz", 8081, every=1, failures=120),
        "readinessProbe": http_probe("/readyz", 8081, every=5),
        "livenessProbe": http_probe("/healthz", 8081, every=10),
        "resources": resources(cpu="10m", memory="96Mi", most_cpu="1", most="384Mi"),
        "volumeMounts": [
            {
                "name": "certificate",
                "mountPath": "/tmp/k8s-webhook-server/serving-certs",
                "readOnly": True,
            }
        ],
    }
    spec = pod(
        65534,
        [container],
        serviceAccountName=CONTROLLER,
        automountServiceAccountToken=True,
        terminationGracePeriodSeconds=10,
        volumes=[{"name": "certificate", "secret": {"secretName": CERTIFICATE}}],
    )
    return objects.deployment(
        CONTROLLER,
        SELECTOR,
        spec,
        annotations={"labfactory.io/certificate": certificate},
        # A ready pod is known to every node's proxy a second later. The first object
        # that needs the webhook must not come before that.
        minReadySeconds=2,
    )


def storage_container(image: str) -> dict[str, Any]:
    """How a predictor's model is fetched from the object store before it starts."""
    container = restricted(
        {
            "name": "storage-initializer",
            "image": image,
            "command": ["python3", "-m", "model_server.fetch"],
            "env": [
                {
                    "name": "LAB_DIGEST",
                    "valueFrom": {"fieldRef": {"fieldPath": DIGEST_OF_THE_POD}},
                }
            ],
            # Its last line says why there is no model: KServe puts it into the status.
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "resources": resources(
                cpu="10m", memory="64Mi", most_cpu="1", most="512Mi"
            ),
        }
    )
    container["securityContext"] |= {
        "runAsNonRoot": True,
        "runAsUser": LAB_USER,
        "runAsGroup": LAB_USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterStorageContainer",
        "metadata": {"name": "default"},
        "spec": {
            "container": container,
            "supportedUriFormats": [{"prefix": "s3://"}],
            "workloadType": "initContainer",
        },
    }


def with_authority(webhook: Mapping[str, Any], bundle: Any) -> dict[str, Any]:
    """A webhook configuration whose server is trusted by `bundle` (base64 of PEM)."""
    hooks = [
        {**hook, "clientConfig": {**hook["clientConfig"], "caBundle": bundle}}
        for hook in webhook["webhooks"]
    ]
    return {**webhook, "webhooks": hooks}
