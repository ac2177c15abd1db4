"""Contour and its Envoy: the objects that run one gateway for the whole cluster."""

from __future__ import annotations

from typing import Any

from components import objects
from components.pods import (
    env,
    field,
    http_probe,
    pod,
    resources,
    restricted,
    tcp_probe,
)

NAMESPACE = "projectcontour"
GATEWAY = "lab"
USER = 65534
HTTP_PORT = 8080
"""Where Envoy listens for the gateway's port 80: it may not bind ports below 1024."""
METRICS_PORT = 8002
UNUSED = (
    "backendtlspolicies",
    "extensionservices",
    "grpcroutes",
    "tcproutes",
    "tlsroutes",
)
"""Kinds that no lab makes; Contour then does without their definitions."""

_OWN_NAMESPACE = field("metadata.namespace")
_OWN_NAME = field("metadata.name")
_CERTIFICATE_FILES = (
    "--{}-cafile=/certs/ca.crt",
    "--{}-cert-file=/certs/tls.crt",
    "--{}-key-file=/certs/tls.key",
)


def hosts(server: str) -> tuple[str, ...]:
    """Names in the certificate of `contour` or `envoy`."""
    service = f"{server}.{NAMESPACE}"
    return (server, service, f"{service}.svc", f"{service}.svc.cluster.local")


def service(name: str, port: int, target: int) -> dict[str, Any]:
    """The Service of `contour` or `envoy`."""
    return objects.service(
        name,
        {"app": name},
        {"name": "main", "port": port, "targetPort": target},
        type="ClusterIP",
    )


def config_map() -> dict[str, Any]:
    """Contour serves one gateway, which it does not make itself."""
    reference = (
        f"gateway:\n  gatewayRef:\n    name: {GATEWAY}\n    namespace: {NAMESPACE}\n"
    )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "contour"},
        "data": {"contour.yaml": reference},
    }


def deployment(image: str, *, address: Any, certificate: Any) -> dict[str, Any]:
    """Contour, which tells Envoy what to do and shows `address` as the gateway's."""
    container = {
        "name": "contour",
        "image": image,
        "command": ["/bin/contour"],
        "args": [
            "serve",
            "--incluster",
            "--xds-address=0.0.0.0",
            "--xds-port=8001",
            *(flag.format("contour") for flag in _CERTIFICATE_FILES),
            "--config-path=/config/contour.yaml",
            "--disable-leader-election",
            *(f"--disable-feature={kind}" for kind in UNUSED),
            address,
        ],
        "env": env(CONTOUR_NAMESPACE=_OWN_NAMESPACE, POD_NAME=_OWN_NAME),
        "ports": [
            {"name": "xds", "containerPort": 8001},
            {"name": "metrics", "containerPort": 8000},
        ],
        "startupProbe": tcp_probe(8001, every=1, failures=120),
        "readinessProbe": tcp_probe(8001, every=5),
        "livenessProbe": http_probe("/healthz", 8000, every=10),
        "resources": resources(cpu="10m", memory="64Mi", most_cpu="1", most="256Mi"),
        "volumeMounts": [
            {"name": "certificate", "mountPath": "/certs", "readOnly": True},
            {"name": "config", "mountPath": "/config", "readOnly": True},
        ],
    }
    spec = pod(
        USER,
        [container],
        serviceAccountName="contour",
        automountServiceAccountToken=True,
        volumes=[
            {"name": "certificate", "secret": {"secretName": "contourcert"}},
            {"name": "config", "configMap": {"name": "contour"}},
        ],
    )
    return _deployment("contour", spec, certificate)


def envoy(image: str, contour_image: str, *, certificate: Any) -> dict[str, Any]:
    """Envoy, with the process that lets requests end before it stops."""
    bootstrap = {
        "name": "bootstrap",
        "image": contour_image,
        "command": ["/bin/contour"],
        "args": [
            "bootstrap",
            "/config/envoy.json",
            "--xds-address=contour",
            "--xds-port=8001",
            "--xds-resource-version=v3",
            "--resources-dir=/config/resources",
            *(flag.format("envoy") for flag in _CERTIFICATE_FILES),
        ],
        "env": env(CONTOUR_NAMESPACE=_OWN_NAMESPACE),
        "resources": resources(cpu="10m", memory="32Mi", most_cpu="1", most="128Mi"),
        "volumeMounts": [
            {"name": "config", "mountPath": "/config"},
            {"name": "certificate", "mountPath": "/certs", "readOnly": True},
        ],
    }
    spec = pod(
        USER,
        [_shutdown_manager(contour_image), _envoy(image)],
        initContainers=[restricted(bootstrap)],
        serviceAccountName="envoy",
        terminationGracePeriodSeconds=60,
        volumes=[
            {"name": "admin", "emptyDir": {"sizeLimit": "16Mi"}},
            {"name": "config", "emptyDir": {"sizeLimit": "16Mi"}},
            {"name": "certificate", "secret": {"secretName": "envoycert"}},
        ],
    )
    return _deployment("envoy", spec, certificate)


def gateway_class() -> dict[str, Any]:
    """The class of gateways that Contour serves."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": GATEWAY},
        "spec": {"controllerName": "projectcontour.io/gateway-controller"},
    }


def gateway() -> dict[str, Any]:
    """The gateway, for the routes of every namespace."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {
            "name": GATEWAY,
            # With a gateway that is named in Contour's settings, its class never gets
            # a status; the gateway does.
            "annotations": {"pulumi.com/waitFor": "condition=Programmed"},
        },
        "spec": {
            "gatewayClassName": GATEWAY,
            "listeners": [
                {
                    "name": "http",
                    "protocol": "HTTP",
                    "port": 80,
                    "allowedRoutes": {"namespaces": {"from": "All"}},
                }
            ],
        },
    }


def gateway_reference(name: str) -> dict[str, Any]:
    """A gateway that somebody else made, to be looked up."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
    }


def _envoy(image: str) -> dict[str, Any]:
    return {
        "name": "envoy",
        "image": image,
        "command": ["/usr/local/bin/envoy"],
        "args": [
            *("-c", "/config/envoy.json"),
            *("--service-cluster", "$(CONTOUR_NAMESPACE)"),
            *("--service-node", "$(ENVOY_POD_NAME)"),
            *("--log-level", "info"),
            *("--concurrency", "2"),
        ],
        "env": env(CONTOUR_NAMESPACE=_OWN_NAMESPACE, ENVOY_POD_NAME=_OWN_NAME),
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        "startupProbe": http_probe("/ready", METRICS_PORT, every=1, failures=120),
        "readinessProbe": http_probe("/ready", METRICS_PORT, every=5),
        # While it drains it is not ready, and very much alive.
        "livenessProbe": tcp_probe(METRICS_PORT, every=10),
        "lifecycle": {"preStop": {"httpGet": {"path": "/shutdown", "port": 8090}}},
        "resources": resources(cpu="50m", memory="64Mi", most_cpu="2", most="512Mi"),
        "volumeMounts": [
            {"name": "config", "mountPath": "/config", "readOnly": True},
            {"name": "certificate", "mountPath": "/certs", "readOnly": True},
            {"name": "admin", "mountPath": "/admin"},
        ],
    }


def _shutdown_manager(image: str) -> dict[str, Any]:
    drain = ["/bin/contour", "envoy", "shutdown", "--check-interval=1s"]
    return {
        "name": "shutdown-manager",
        "image": image,
        "command": ["/bin/contour"],
        "args": ["envoy", "shutdown-manager"],
        "readinessProbe": http_probe("/healthz", 8090, every=5),
        "livenessProbe": http_probe("/healthz", 8090, every=10),
        "lifecycle": {"preStop": {"exec": {"command": drain}}},
        "resources": resources(cpu="10m", memory="32Mi", most_cpu="500m", most="128Mi"),
        "volumeMounts": [{"name": "admin", "mountPath": "/admin"}],
    }


def _deployment(name: str, spec: dict[str, Any], certificate: Any) -> dict[str, Any]:
    annotations = {"labfactory.io/certificate": certificate}
    return objects.deployment(name, {"app": name}, spec, annotations=annotations)
