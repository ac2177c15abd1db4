"""Train the demo's models in the lab, as Kubernetes Jobs with the lab's own image."""

from __future__ import annotations

from typing import Any

from labfactory.jobs import Jobs
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
        self._jobs = Jobs(context, namespace)

    def run(self, manifest: dict[str, Any], step: Step) -> None:
        """Run a Job to its end; one that is there already is waited for.

        Raises LabError with the pod's last lines when the Job fails.
        """
        self._jobs.start(manifest, again=False)
        self._jobs.follow(manifest["metadata"]["name"], step, seconds=TIMEOUT_SECONDS)
