"""Predictions over files as Kubernetes objects: a Job now, a CronJob at set times.

Pure: the same settings, the same manifests. The lab needs the Secrets `storage-serving`
(reads the model) and `storage-batch` (reads inputs, writes predictions).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from model_templates.manifests import DIGEST, POD, VERSION, canonical
from stacks.schema import ReleaseConfig

STORE = "storage-batch"
"""Secret with the store, and keys that read inputs and write predictions."""
MODEL_KEYS = "storage-serving"
"""Secret with keys that read models."""
BATCH = "labfactory.io/batch"
"""Label of everything that predicts over files."""
REFUSED = 42
"""Exit code of a worker for whom another try would end the same."""
MODEL_FOLDER = "/mnt/models"
KEPT_SECONDS = 86_400
"""A finished Job, and its log, is there for a day."""
TRIES = 3
"""How often a worker that was killed, or found no store, is started again."""


def batch_job(
    release_name: str,
    release: ReleaseConfig,
    variant_name: str,
    *,
    input: str,
    output: str,
    parallelism: int,
    image: str,
    owner: str,
) -> dict[str, Any]:
    """Return a Job that predicts `input` into `output`; named by what it does.

    The variant must be pinned. `owner` is a label of the Job and its pods.
    """
    pinned = release.variants[variant_name].pinned
    said = [release_name, variant_name, pinned.digest, input, output, parallelism]
    name = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:10]
    labels = {**_labels(release_name), **_owned(owner)}
    spec = _job_spec(
        release_name,
        release,
        variant_name,
        addresses=[input, output],
        parallelism=parallelism,
        image=image,
        labels=labels,
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"batch-{release_name}-{name}",
            "labels": labels,
            "annotations": _identity(release, variant_name),
        },
        "spec": {**spec, "ttlSecondsAfterFinished": KEPT_SECONDS},
    }


def batch_cron_job(
    release_name: str, release: ReleaseConfig, *, image: str, owner: str
) -> dict[str, Any]:
    """Return the CronJob of `release.batch`, which runs the stable variant.

    Each run gets a folder below the output, named by the minute when it was due.
    """
    batch = release.batch
    assert batch
    stable = release.stable()
    labels = {**_labels(release_name), **_owned(owner)}
    spec = _job_spec(
        release_name,
        release,
        stable,
        addresses=[batch.input, batch.output, "--run=$(LAB_RUN)"],
        parallelism=batch.parallelism,
        image=image,
        labels=labels,
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": f"batch-{release_name}",
            "labels": labels,
            "annotations": _identity(release, stable),
        },
        "spec": {
            "schedule": batch.schedule,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            # A cluster that was down when a run was due makes up for it within an hour.
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _job_spec(
    release_name: str,
    release: ReleaseConfig,
    variant_name: str,
    *,
    addresses: list[str],
    parallelism: int,
    image: str,
    labels: dict[str, str],
) -> dict[str, Any]:
    pinned = release.variants[variant_name].pinned
    shared = {} if parallelism == 1 else {"completionMode": "Indexed"}
    worker = {
        **_container("worker", image, release),
        "command": ["python3", "-m", "batch"],
        "args": [
            *addresses,
            f"--release={release_name}",
            f"--variant={variant_name}",
            f"--version={pinned.version}",
            f"--digest={pinned.digest}",
            f"--model_dir={MODEL_FOLDER}",
            f"--shards={parallelism}",
        ],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            {"name": "OMP_NUM_THREADS", "value": "1"},
            {"name": "LAB_IMAGE", "value": image},
            _from_label("LAB_RUN", "batch.kubernetes.io/job-name"),
        ],
        "envFrom": [{"secretRef": {"name": STORE}}],
    }
    fetch = {
        **_container("fetch", image, release),
        "command": ["python3", "-m", "model_server.fetch"],
        "args": [pinned.artifact, MODEL_FOLDER],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            {"name": "LAB_DIGEST", "value": pinned.digest},
            _from_secret("AWS_ENDPOINT_URL", STORE, "PREDICTIONS_ENDPOINT"),
            _from_secret("AWS_DEFAULT_REGION", STORE, "PREDICTIONS_REGION"),
            _from_secret("AWS_ACCESS_KEY_ID", MODEL_KEYS, "AWS_ACCESS_KEY_ID"),
            _from_secret("AWS_SECRET_ACCESS_KEY", MODEL_KEYS, "AWS_SECRET_ACCESS_KEY"),
        ],
    }
    return {
        "parallelism": parallelism,
        "completions": parallelism,
        **shared,
        "backoffLimit": TRIES * parallelism,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": "worker",
                        "operator": "In",
                        "values": [REFUSED],
                    },
                },
                # A drained node is nobody's fault.
                {
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
            ]
        },
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "restartPolicy": "Never",
                **POD,
                "initContainers": [fetch],
                "containers": [worker],
                "volumes": [
                    {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
                    {"name": "model", "emptyDir": {}},
                ],
            },
        },
    }


def _container(name: str, image: str, release: ReleaseConfig) -> dict[str, Any]:
    resources = release.resources
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": {
            "requests": canonical(resources.requests.model_dump()),
            "limits": canonical(resources.limits.model_dump()),
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "model", "mountPath": MODEL_FOLDER, "readOnly": name == "worker"},
        ],
    }


def _labels(release_name: str) -> dict[str, str]:
    return {BATCH: release_name}


def _owned(owner: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/managed-by": "labfactory",
        "labfactory.io/owner": owner,
    }


def _identity(release: ReleaseConfig, variant_name: str) -> dict[str, str]:
    pinned = release.variants[variant_name].pinned
    return {VERSION: str(pinned.version), DIGEST: pinned.digest}


def _from_secret(name: str, secret: str, key: str) -> dict[str, Any]:
    return {
        "name": name,
        "valueFrom": {"secretKeyRef": {"name": secret, "key": key}},
    }


def _from_label(name: str, label: str) -> dict[str, Any]:
    path = f"metadata.labels['{label}']"
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
