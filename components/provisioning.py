"""What is done to a store before it is used: buckets, users, policies, a check."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pulumi

from components.pods import LAB_USER, SCRATCH, env, pod, resources, scratch

KEYS = "/run/secrets/storage"
"""Folder in which the job finds one folder of keys per Secret."""


def reading(buckets: Collection[str]) -> dict[str, Any]:
    """A policy that allows to read `buckets`, and nothing else."""
    return _policy(buckets, ["s3:GetObject"])


def writing(buckets: Collection[str]) -> dict[str, Any]:
    """A policy that allows to read and write `buckets`.

    Not to delete versions: what is overwritten or deleted can be brought back.
    """
    policy = _policy(
        buckets,
        [
            "s3:AbortMultipartUpload",
            "s3:DeleteObject",
            "s3:GetObject",
            "s3:ListMultipartUploadParts",
            "s3:PutObject",
        ],
    )
    # Said outright: to MinIO, who may delete an object may delete its versions.
    objects = policy["Statement"][1]["Resource"]
    policy["Statement"].append(
        {"Effect": "Deny", "Action": ["s3:DeleteObjectVersion"], "Resource": objects}
    )
    return policy


def job(
    plan: Mapping[str, Any],
    image: str,
    secrets: Mapping[str, pulumi.Output[str]],
    fingerprints: Sequence[pulumi.Output[str]],
) -> dict[str, Any]:
    """The Job that makes the store what `plan` says, and checks that it is.

    Its name is a hash over everything that decides what it does, so that a change
    runs it again, and nothing else does.
    """
    text = json.dumps(plan, sort_keys=True)
    name = pulumi.Output.all(*fingerprints).apply(
        lambda found: f"storage-{_hash(text, image, *found)}"
    )
    container = {
        "name": "provision",
        "image": image,
        "command": ["python3", "-m", "provision"],
        "env": env(PROVISION_PLAN=text, PROVISION_KEYS=KEYS, HOME="/tmp"),
        "resources": resources(cpu="50m", memory="64Mi", most_cpu="1", most="256Mi"),
        "volumeMounts": [
            {"name": SCRATCH, "mountPath": "/tmp"},
            *(
                {"name": who, "mountPath": f"{KEYS}/{who}", "readOnly": True}
                for who in secrets
            ),
        ],
    }
    volumes = [
        {"name": who, "secret": {"secretName": secret}}
        for who, secret in secrets.items()
    ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 2,
            "activeDeadlineSeconds": 300,
            "template": {
                "metadata": {"labels": {"app": "storage-provisioning"}},
                "spec": pod(
                    LAB_USER,
                    [container],
                    restartPolicy="Never",
                    volumes=[scratch("64Mi"), *volumes],
                ),
            },
        },
    }


def _policy(buckets: Collection[str], actions: Collection[str]) -> dict[str, Any]:
    names = [f"arn:aws:s3:::{bucket}" for bucket in sorted(buckets)]
    on_buckets = ["s3:GetBucketLocation", "s3:ListBucket"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": on_buckets, "Resource": names},
            {
                "Effect": "Allow",
                "Action": list(actions),
                "Resource": [f"{name}/*" for name in names],
            },
        ],
    }


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
