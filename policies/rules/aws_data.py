"""Rules of what holds data in AWS: buckets, databases, and disks."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .lab import Lab, Resource
from .rule import Complaint, Rule
from .workloads import tree

BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")
BLOCKS = ("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",)
_ENCRYPTION = "ServerSideEncryptionConfiguration"
ENCRYPTION = (
    f"aws:s3/bucket{_ENCRYPTION}:Bucket{_ENCRYPTION}",
    f"aws:s3/bucket{_ENCRYPTION}V2:Bucket{_ENCRYPTION}V2",
)
VERSIONING = (
    "aws:s3/bucketVersioning:BucketVersioning",
    "aws:s3/bucketVersioningV2:BucketVersioningV2",
)
DATABASES = ("aws:rds/instance:Instance", "aws:rds/cluster:Cluster")
DISKS = ("aws:ebs/volume:Volume", "aws:efs/fileSystem:FileSystem")
BLOCKED = (
    "blockPublicAcls",
    "blockPublicPolicy",
    "ignorePublicAcls",
    "restrictPublicBuckets",
)
"""What a bucket needs so that nobody can make it public."""


def s3_private(lab: Lab) -> Iterator[Complaint]:
    """No bucket can be made public."""
    for bucket in of(lab, BUCKETS):
        blocks = _belonging(lab, BLOCKS, bucket)
        if not any(all(b.props.get(key) is True for key in BLOCKED) for b in blocks):
            yield Complaint(bucket.name, "the bucket can be made public")


def s3_encrypted(lab: Lab) -> Iterator[Complaint]:
    """Each bucket says how it encrypts."""
    for bucket in of(lab, BUCKETS):
        others = _belonging(lab, ENCRYPTION, bucket)
        inside = bucket.props.get("serverSideEncryptionConfiguration")
        if not inside and not any(each.props.get("rules") for each in others):
            yield Complaint(bucket.name, "the bucket does not say how it encrypts")


def s3_versioned(lab: Lab) -> Iterator[Complaint]:
    """Each bucket keeps what was overwritten or deleted."""
    for bucket in of(lab, BUCKETS):
        inside = tree(bucket.props.get("versioning")).get("enabled") is True
        others = [
            tree(each.props.get("versioningConfiguration")).get("status")
            for each in _belonging(lab, VERSIONING, bucket)
        ]
        if not inside and "Enabled" not in others:
            yield Complaint(bucket.name, "the bucket forgets what is overwritten")


def rds_protected(lab: Lab) -> Iterator[Complaint]:
    """A database is not deleted by a wrong command."""
    for found in of(lab, DATABASES):
        if found.props.get("deletionProtection") is not True:
            yield Complaint(found.name, "the database can be deleted at once")


def rds_encrypted(lab: Lab) -> Iterator[Complaint]:
    """A database is encrypted on its disks."""
    for found in of(lab, DATABASES):
        if found.props.get("storageEncrypted") is not True:
            yield Complaint(found.name, "the database is not encrypted on its disks")


def rds_private(lab: Lab) -> Iterator[Complaint]:
    """A database has no public address."""
    for found in of(lab, DATABASES):
        if found.props.get("publiclyAccessible"):
            yield Complaint(found.name, "the database has a public address")


def disks_encrypted(lab: Lab) -> Iterator[Complaint]:
    """Disks and file systems are encrypted."""
    for found in of(lab, DISKS):
        if found.props.get("encrypted") is not True:
            yield Complaint(found.name, "is not encrypted")


def data_protected(lab: Lab) -> Iterator[Complaint]:
    """What holds data is not deleted by a wrong `pulumi destroy`."""
    for found in of(lab, (*BUCKETS, *DATABASES, *DISKS)):
        if not found.protect or found.props.get("forceDestroy"):
            yield Complaint(found.name, "its data goes with one `pulumi destroy`")


def of(lab: Lab, types: tuple[str, ...]) -> Iterator[Resource]:
    """The resources of these types."""
    return (found for found in lab.resources if found.type in types)


def _belonging(
    lab: Lab, types: tuple[str, ...], bucket: Resource
) -> Iterator[Resource]:
    """What is about a bucket; its name may not be known before it is made."""
    names = {bucket.name, bucket.props.get("bucket")}
    for found in of(lab, types):
        if found.props.get("bucket") in names or bucket.name in found.after:
            yield found


def read(value: object) -> object:
    """What a text in JSON says; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return None


RULES: tuple[Rule, ...] = (
    Rule(
        "s3-public-access",
        "mandatory",
        "No bucket can be made public.",
        "It takes one wrong policy, and everybody has the data.",
        "add a BucketPublicAccessBlock with all four settings true",
        s3_private,
    ),
    Rule(
        "s3-encryption",
        "mandatory",
        "Every bucket says how it encrypts.",
        "Whose key it is decides who can read a copy of the disks.",
        "add a BucketServerSideEncryptionConfiguration",
        s3_encrypted,
    ),
    Rule(
        "s3-versioning",
        "mandatory",
        "Every bucket keeps versions.",
        "Without them a wrong write is final, and no backup can hold on to a moment.",
        "add a BucketVersioning with status Enabled",
        s3_versioned,
    ),
    Rule(
        "rds-deletion",
        "mandatory",
        "Every database has deletion protection.",
        "A name that was mistyped must not be the end of it.",
        "set deletionProtection",
        rds_protected,
    ),
    Rule(
        "rds-encryption",
        "mandatory",
        "Every database is encrypted on its disks.",
        "It cannot be switched on later: the database would be made again.",
        "set storageEncrypted",
        rds_encrypted,
    ),
    Rule(
        "rds-private",
        "mandatory",
        "No database has a public address.",
        "A password is then all that there is between it and the world.",
        "set publiclyAccessible to false",
        rds_private,
    ),
    Rule(
        "disks-encrypted",
        "mandatory",
        "Every disk and file system is encrypted.",
        "It cannot be switched on later.",
        "set encrypted",
        disks_encrypted,
    ),
    Rule(
        "data-protected",
        "mandatory",
        "What holds data in AWS is protected from deletion.",
        "`pulumi destroy` asks once, for everything.",
        "declare it with protect, and without forceDestroy",
        data_protected,
    ),
)
