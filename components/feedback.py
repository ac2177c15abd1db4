"""What takes labels, and joins them and shadows with the predictions that were logged.

It counts; what follows from the counts is the guard's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi

from components import credentials, objects
from components.manifest import Parts
from components.platform import Gateway
from components.pods import (
    LAB_USER,
    SCRATCH,
    env,
    field,
    http_probe,
    pod,
    resources,
    scratch,
    secret_key,
)
from components.storage import S3Access, Storage
from model_templates import host

NAME = "feedback"
PORT = 8080
PATH = "/v1/feedback"
SELECTOR = {"app": NAME}


class Feedback(pulumi.ComponentResource):
    """One pod that labels are posted to, through the gateway."""

    def __init__(
        self,
        name: str,
        *,
        lab: str,
        namespace: pulumi.Input[str],
        image: Callable[[str], str],
        seed: pulumi.Output[str],
        storage: Storage,
        gateway: Gateway,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare it for the lab `lab`; it keeps labels in `storage`."""
        super().__init__("labfactory:components:Feedback", name, {}, opts)
        add = Parts(self, name, namespace).add
        store = storage.access[NAME]
        token = seed.apply(lambda found: credentials.password(found, NAME))
        fingerprint = pulumi.Output.unsecret(token.apply(credentials.fingerprint))
        needs = [
            add("account", objects.service_account(NAME)),
            add("role", role()),
            add("role-binding", objects.role_binding(NAME, namespace)),
            add("secret", secret(token)),
            add("service", service()),
        ]
        server = add(
            "server",
            deployment(
                image("guard"),
                store,
                pulumi.Output.concat(fingerprint, "-", store.fingerprint),
            ),
            after=[*needs, *storage.ready],
        )
        name_outside = host(NAME, lab)
        add("route", route(name_outside, gateway), after=[server, *gateway.ready])
        self.register_outputs({"host": name_outside})


def role() -> dict[str, Any]:
    """It reads the routes, which carry the releases' settings, and nothing else."""
    read = objects.may("gateway.networking.k8s.io", ["httproutes"], ["get", "list"])
    return objects.role(NAME, [read])


def secret(token: pulumi.Output[str]) -> dict[str, Any]:
    """The Secret with what whoever posts labels has to show."""
    return objects.secret(NAME, {"token": token})


def service() -> dict[str, Any]:
    """The Service of the pod."""
    return objects.service(NAME, SELECTOR, {"name": "http", "port": PORT})


def deployment(image: str, store: S3Access, fingerprint: Any) -> dict[str, Any]:
    """The pod; `fingerprint` changes with its keys, and restarts it."""
    container = {
        "name": NAME,
        "image": image,
        "command": ["python3", "-m", "labfactory.guard.feedback"],
        "env": env(
            HOME="/tmp",
            NAMESPACE=field("metadata.namespace"),
            FEEDBACK_TOKEN=secret_key(NAME, "token"),
        ),
        "envFrom": [{"secretRef": {"name": store.secret}}],
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": http_probe("/healthz", PORT, every=1, failures=60),
        "readinessProbe": http_probe("/healthz", PORT, every=5),
        "livenessProbe": http_probe("/healthz", PORT, every=20),
        # Each busy release remembers 200,000 predictions, which take 100 MiB.
        "resources": resources(cpu="10m", memory="96Mi", most_cpu="1", most="768Mi"),
        "volumeMounts": [{"name": SCRATCH, "mountPath": "/tmp"}],
    }
    spec = pod(
        LAB_USER,
        [container],
        serviceAccountName=NAME,
        automountServiceAccountToken=True,
        volumes=[scratch("64Mi")],
    )
    return objects.deployment(
        NAME,
        SELECTOR,
        spec,
        annotations={"labfactory.io/credentials": fingerprint},
        # Two at a time would both count what the log of predictions says.
        strategy={"type": "Recreate"},
    )


def route(host: str, gateway: Gateway) -> dict[str, Any]:
    """The route to the pod; only the path of labels is to be had from outside."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": NAME},
        "spec": {
            "parentRefs": [
                {
                    "group": "gateway.networking.k8s.io",
                    "kind": "Gateway",
                    "namespace": gateway.namespace,
                    "name": gateway.name,
                }
            ],
            "hostnames": [host],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": PATH}}],
                    "backendRefs": [
                        {
                            "group": "",
                            "kind": "Service",
                            "name": NAME,
                            "port": PORT,
                            "weight": 1,
                        }
                    ],
                    "timeouts": {"request": "60s"},
                }
            ],
        },
    }
