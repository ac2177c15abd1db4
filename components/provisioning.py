"""What is done to a store before it is used: buckets, users, policies, a check."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import pulumi

from components.pods import LAB_USER, SCRATCH, env, pod, resources, scratch

ON_BUCKETS = ("s3:GetBucketLocation", "s3:ListBucket")
ON_VERSIONS = ("s3:GetBucketVersioning", "s3:ListBucketVersions")
MARK = ".labfactory-backup-mark"
"""Object by which a backup learns what time it is to the store."""
KEYS = "/run/secrets/storage"
"""Folder in which the job finds one folder of keys per Secret."""


class Grant(NamedTuple):
    """The buckets that a consumer may use."""

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    """Read and written."""
    adds: frozenset[str] = frozenset()
    """Written and not read: what others have written is not its business."""
    copies: frozenset[str] = frozenset()
    """Read with every version, to be copied as of a time."""
    marks: frozenset[str] = frozenset()
    """Those of `copies` in which it may write the object `MARK`, and no other."""

    def buckets(self) -> list[str]:
        """Every bucket that it may list."""
        return sorted(self.reads | self.writes | self.adds | self.copies)


def policy(grant: Grant) -> dict[str, Any]:
    """The policy that allows what `grant` says, and nothing else.

    Whoever writes cannot delete versions: what is overwritten or deleted can be
    brought back.
    """
    uploads = ["s3:AbortMultipartUpload", "s3:PutObject"]
    statements = [
        _allow(ON_BUCKETS, grant.buckets(), objects=None),
        _allow(["s3:GetObject"], grant.reads),
        _allow(
            [
                *uploads,
                "s3:DeleteObject",
                "s3:GetObject",
                "s3:ListMultipartUploadParts",
            ],
            grant.writes,
        ),
        _allow(uploads, grant.adds),
        _allow(ON_VERSIONS, grant.copies, objects=None),
        _allow(["s3:GetObject", "s3:GetObjectVersion"], grant.copies),
        _allow(["s3:PutObject"], grant.marks, objects=MARK),
    ]
    if grant.writes:
        # Said outright: to MinIO, who may delete an object may delete its versions.
        forbidden = _allow(["s3:DeleteObjectVersion"], grant.writes)
        statements.append({**forbidden, "Effect": "Deny"})
    return {
        "Version": "2012-10-17",
        "Statement": [each for each in statements if each["Resource"]],
    }


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


def _allow(
    actions: Sequence[str], buckets: Collection[str], *, objects: str | None = "*"
) -> dict[str, Any]:
    """A statement about `objects` in the buckets, or about the buckets themselves."""
    inside = "" if objects is None else f"/{objects}"
    return {
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": [f"arn:aws:s3:::{bucket}{inside}" for bucket in sorted(buckets)],
    }


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
