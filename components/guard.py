"""The guard: watches the releases by their rules, and takes back what goes wrong.

It may change routes and start the trainings that the settings name; it sees no Secret
and no pod.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pulumi

from components import objects, verdicts
from components.manifest import Manifest, Parts
from components.pods import (
    LAB_USER,
    SCRATCH,
    env,
    field,
    http_probe,
    pod,
    resources,
    scratch,
)
from components.tracking import NAME as TRACKING
from components.tracking import PORT as TRACKING_PORT
from stacks.schema import ReleaseConfig
from stacks.watching import GuardConfig, MonitoringConfig

NAME = "guard"
PORT = 8080
SELECTOR = {"app": NAME}
TRACKING_URL = f"http://{TRACKING}:{TRACKING_PORT}"
PROMETHEUS_URL = "http://prometheus:9090"
ALERTMANAGER_URL = "http://alertmanager:9093"
RETRAIN = "labfactory.io/retrain"
"""Label of the trainings that the guard starts: the release."""
KEPT_SECONDS = 7 * 86_400
"""A finished training, and its log, is there for a week."""
NEVER = "0 0 31 2 *"
"""A CronJob needs a schedule, even one that is never used."""


class Guard(pulumi.ComponentResource):
    """The lab's watcher, what it may do, and what it may start."""

    def __init__(
        self,
        name: str,
        config: GuardConfig,
        *,
        monitoring: MonitoringConfig,
        releases: Mapping[str, ReleaseConfig],
        lab: str,
        owner: str,
        namespace: pulumi.Input[str],
        image: Callable[[str], str],
        artifacts: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the guard of the lab `lab` of the team `owner`.

        Trainings keep their models in the bucket `artifacts`.
        """
        super().__init__("labfactory:components:Guard", name, {}, opts)
        add = Parts(self, name, namespace).add
        self._policy(name, lab, namespace)
        account = add("account", objects.service_account(NAME))
        role = add("role", rights())
        bound = add(
            "rights", objects.role_binding(NAME, namespace), after=[account, role]
        )
        for release, settings in releases.items():
            if settings.retrain:
                training = retraining(
                    release,
                    settings.retrain.arguments,
                    image=image("lab"),
                    bucket=artifacts,
                    owner=owner,
                )
                add(f"retrain-{release}", training)
        add("service", service())
        watcher = deployment(
            image("guard"),
            lab=lab,
            interval_seconds=monitoring.interval_seconds,
            actions_per_hour=config.actions_per_hour,
        )
        add("watcher", watcher, after=[bound])
        self.register_outputs({})

    def _policy(self, name: str, lab: str, namespace: pulumi.Input[str]) -> None:
        child = pulumi.ResourceOptions(parent=self)
        policy = Manifest(
            f"{name}-verdicts", verdicts.policy(lab, namespace), opts=child
        )
        Manifest(
            f"{name}-verdicts-binding",
            verdicts.binding(lab, namespace),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )


def rights() -> dict[str, Any]:
    """What the guard may do in the lab's namespace.

    Kubernetes can't limit a right to names that begin with `guard-`: the guard could
    write other ConfigMaps too.
    """
    return objects.role(
        NAME,
        [
            _may("gateway.networking.k8s.io", "httproutes", "get list watch patch"),
            _may("serving.kserve.io", "inferenceservices", "get list"),
            _may("", "configmaps", "get list create update patch"),
            _may("coordination.k8s.io", "leases", "get create update"),
            _may("batch", "cronjobs", "get"),
            _may("batch", "jobs", "get list create"),
        ],
    )


def service() -> dict[str, Any]:
    """Where Prometheus finds the guard's figures."""
    return objects.service(NAME, SELECTOR, {"name": "http", "port": PORT})


def deployment(
    image: str, *, lab: str, interval_seconds: int, actions_per_hour: int
) -> dict[str, Any]:
    """The watcher; two of them may meet, and a lease says which one acts."""
    container = {
        "name": NAME,
        "image": image,
        "command": ["python3", "-m", "labfactory.guard"],
        "env": env(
            HOME="/tmp",
            LAB=lab,
            NAMESPACE=field("metadata.namespace"),
            POD_NAME=field("metadata.name"),
            PROMETHEUS_URL=PROMETHEUS_URL,
            ALERTMANAGER_URL=ALERTMANAGER_URL,
            TRACKING_URL=TRACKING_URL,
            INTERVAL_SECONDS=str(interval_seconds),
            ACTIONS_PER_HOUR=str(actions_per_hour),
        ),
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": http_probe("/healthz", PORT, every=5),
        "livenessProbe": http_probe("/healthz", PORT, every=20),
        "resources": resources(cpu="20m", memory="96Mi", most_cpu="1", most="256Mi"),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": SCRATCH, "mountPath": "/tmp"}],
    }
    spec = pod(
        LAB_USER,
        [container],
        serviceAccountName=NAME,
        automountServiceAccountToken=True,
        volumes=[scratch("64Mi")],
    )
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    return objects.deployment(
        NAME,
        SELECTOR,
        spec,
        strategy={"type": "RollingUpdate", "rollingUpdate": rolling},
    )


def retraining(
    release: str, arguments: tuple[str, ...], *, image: str, bucket: str, owner: str
) -> dict[str, Any]:
    """The training of a release, as a CronJob that runs only when the guard says so."""
    labels = {
        "app.kubernetes.io/managed-by": "labfactory",
        "labfactory.io/owner": owner,
        RETRAIN: release,
    }
    container = {
        "name": "train",
        "image": image,
        "command": ["python3", "-m", "training"],
        "args": list(arguments),
        "env": env(
            HOME="/tmp", MLFLOW_TRACKING_URI=TRACKING_URL, LAB_ARTIFACT_BUCKET=bucket
        ),
        "resources": resources(cpu="200m", memory="512Mi", most_cpu="2", most="2Gi"),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": SCRATCH, "mountPath": "/tmp"}],
    }
    spec = pod(LAB_USER, [container], restartPolicy="Never", volumes=[scratch()])
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"retrain-{release}", "labels": labels},
        "spec": {
            "suspend": True,
            "schedule": NEVER,
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {
                "metadata": {"labels": labels},
                "spec": {
                    "backoffLimit": 2,
                    "ttlSecondsAfterFinished": KEPT_SECONDS,
                    "template": {"metadata": {"labels": labels}, "spec": spec},
                },
            },
        },
    }


def _may(group: str, resource: str, verbs: str) -> dict[str, Any]:
    return objects.may(group, [resource], verbs.split())
