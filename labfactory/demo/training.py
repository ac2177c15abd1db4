"""Train the demo's models in the lab, as Kubernetes Jobs with the lab's own image."""

from __future__ import annotations

import time
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from labfactory import environment
from labfactory.errors import LabError
from labfactory.progress import Step

TIMEOUT_SECONDS = 600.0


def job(
    model: str, dataset: str, grid: str, *, image: str, bucket: str, owner: str
) -> dict[str, Any]:
    """The manifest of a training Job; same arguments, same manifest."""
    labels = {
        "app.kubernetes.io/managed-by": "labfactory",
        "labfactory.io/owner": owner,
        "labfactory.io/training": model,
    }
    container = {
        "name": "train",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "training"],
        "args": ["--dataset", dataset, "--name", model, "--grid", grid],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow:5000"},
            {"name": "LAB_ARTIFACT_BUCKET", "value": bucket},
        ],
        "resources": {
            "requests": {"cpu": "200m", "memory": "512Mi"},
            "limits": {"cpu": "2", "memory": "2Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"train-{model}-{grid}", "labels": labels},
        "spec": {
            "backoffLimit": 2,
            "ttlSecondsAfterFinished": 86400,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1000,
                        "runAsGroup": 1000,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
        },
    }


class Training:
    """Runs training Jobs in one lab."""

    def __init__(self, context: str, namespace: str) -> None:
        """Talk to the cluster `context`; Jobs run in `namespace`."""
        api = environment.kubernetes(context)
        self._batch = client.BatchV1Api(api)
        self._core = client.CoreV1Api(api)
        self._namespace = namespace

    def run(self, manifest: dict[str, Any], step: Step) -> None:
        """Run a Job to its end; one that is there already is waited for.

        Raises LabError with the pod's last lines when the Job fails.
        """
        name = manifest["metadata"]["name"]
        self._create(manifest)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            status = self._batch.read_namespaced_job(name, self._namespace).status
            for condition in status.conditions or []:
                if condition.status == "True" and condition.type == "Complete":
                    step.write(self._log(name))
                    return
                if condition.status == "True" and condition.type == "Failed":
                    step.write(self._log(name))
                    raise LabError(
                        f"training job {name!r} failed; its last lines:\n{step.tail()}"
                    )
            time.sleep(1)
        raise LabError(
            f"training job {name!r} is not done after {TIMEOUT_SECONDS:.0f} s; "
            f"`kubectl -n {self._namespace} describe job {name}` says what it waits for"
        )

    def _create(self, manifest: dict[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        try:
            old = self._batch.read_namespaced_job(name, self._namespace)
        except ApiException as error:
            if error.status != 404:
                raise
        else:
            if not old.status.failed:
                return
            self._batch.delete_namespaced_job(
                name, self._namespace, propagation_policy="Foreground"
            )
            self._wait_until_gone(name)
        self._batch.create_namespaced_job(self._namespace, manifest)

    def _wait_until_gone(self, name: str) -> None:
        for _ in range(60):
            try:
                self._batch.read_namespaced_job(name, self._namespace)
            except ApiException as error:
                if error.status == 404:
                    return
                raise
            time.sleep(1)
        raise LabError(f"training job {name!r}: an old one does not go away")

    def _log(self, job: str) -> str:
        pods = self._core.list_namespaced_pod(
            self._namespace, label_selector=f"job-name={job}"
        ).items
        if not pods:
            return "its pods are gone"
        newest = max(pods, key=lambda pod: pod.metadata.creation_timestamp)
        text: str = self._core.read_namespaced_pod_log(
            newest.metadata.name, self._namespace, tail_lines=40
        )
        return text
