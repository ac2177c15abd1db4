"""Rules of what a lab may have in AWS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policies.rules import aws, aws_data
from policies.rules.lab import Lab, Resource
from tests.policy_cases import Case, case, holds, lab

OWNER = "labfactory.io/owner"
BUCKET = "aws:s3/bucketV2:BucketV2"
BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
SEALED: dict[str, Any] = dict.fromkeys(aws_data.BLOCKED, True)
PUBLIC = "it: the bucket can be made public"
PLAIN = "it: the bucket does not say how it encrypts"
FORGETS = "it: the bucket forgets what is overwritten"
ANYBODY = "it: anybody may talk to the cluster's API"
WORLD = "it: lets the whole world in"
GONE = "it: its data goes with one `pulumi destroy`"


def a(kind: str, name: str = "it", *, protect: bool = False, **props: Any) -> Resource:
    return Resource(kind, name, props, protect=protect)


def with_bucket(kind: str, *, after: tuple[str, ...] = (), **props: Any) -> Lab:
    return lab(a(BUCKET, bucket="lab-data"), Resource(kind, "of", props, after=after))


def tagged(**tags: str) -> Lab:
    return lab(a(BUCKET, tags=tags))


def providing(*default_tags: Any) -> Lab:
    providers = (
        a("pulumi:providers:aws", f"aws-{i}", defaultTags=tags)
        for i, tags in enumerate(default_tags)
    )
    return lab(*providers, a(BUCKET))


def policy(*statements: Any, kind: str = "aws:iam/policy:Policy") -> Lab:
    return lab(a(kind, policy=json.dumps({"Statement": list(statements)})))


def allow(action: Any, resource: Any, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def wide(what: str) -> str:
    return f"it: allows by a wildcard ({what})"


def cluster(**vpc: Any) -> Lab:
    return lab(a("aws:eks/cluster:Cluster", vpcConfig=vpc))


def database(**props: Any) -> Lab:
    return lab(a("aws:rds/instance:Instance", **props))


def group(**rule: Any) -> Lab:
    return lab(a("aws:ec2/securityGroup:SecurityGroup", ingress=[{}, rule]))


VERSIONED = {"status": "Enabled"}
OBJECTS = "arn:aws:s3:::lab-data/*"

CASES = [
    case("owner-tag", "passes", tagged(**{OWNER: "vision"})),
    case("owner-tag", "fails", tagged(Name="a"), f"it: has no tag {OWNER}"),
    case(
        "owner-tag",
        "boundary: the provider tags everything",
        providing(json.dumps({"tags": {OWNER: "vision"}})),
    ),
    case(
        "owner-tag",
        "boundary: one provider of two does",
        providing({"tags": {OWNER: "vision"}}, "no JSON"),
        f"it: has no tag {OWNER}",
    ),
    case("owner-tag", "boundary: what carries no tags", lab(a(BLOCK))),
    case("s3-public-access", "passes", with_bucket(BLOCK, bucket="lab-data", **SEALED)),
    case("s3-public-access", "fails", lab(a(BUCKET)), PUBLIC),
    case(
        "s3-public-access",
        "boundary: three of four",
        with_bucket(BLOCK, bucket="lab-data", **{**SEALED, aws_data.BLOCKED[3]: False}),
        PUBLIC,
    ),
    case(
        "s3-public-access",
        "boundary: a name that is not known yet",
        with_bucket(BLOCK, after=("it",), **SEALED),
    ),
    case(
        "s3-public-access",
        "boundary: of another bucket",
        with_bucket(BLOCK, bucket="other", **SEALED),
        PUBLIC,
    ),
    case(
        "s3-encryption",
        "passes",
        with_bucket(aws_data.ENCRYPTION[0], bucket="lab-data", rules=[{}]),
    ),
    case("s3-encryption", "fails", lab(a(BUCKET)), PLAIN),
    case(
        "s3-encryption",
        "boundary: no rules",
        with_bucket(aws_data.ENCRYPTION[1], bucket="lab-data", rules=[]),
        PLAIN,
    ),
    case(
        "s3-encryption",
        "boundary: said by the bucket",
        lab(a("aws:s3/bucket:Bucket", serverSideEncryptionConfiguration={"rule": 1})),
    ),
    case(
        "s3-versioning",
        "passes",
        with_bucket(
            aws_data.VERSIONING[0], bucket="it", versioningConfiguration=VERSIONED
        ),
    ),
    case("s3-versioning", "fails", lab(a(BUCKET)), FORGETS),
    case(
        "s3-versioning",
        "boundary: suspended",
        with_bucket(
            aws_data.VERSIONING[1],
            bucket="it",
            versioningConfiguration={"status": "Suspended"},
        ),
        FORGETS,
    ),
    case(
        "s3-versioning",
        "boundary: said by the bucket",
        lab(a("aws:s3/bucket:Bucket", versioning={"enabled": True})),
    ),
    case("iam-wildcard", "passes", policy(allow(["s3:GetObject"], [OBJECTS]))),
    case("iam-wildcard", "fails", policy(allow("*", "*")), wide("Action, Resource")),
    case(
        "iam-wildcard",
        "boundary: a whole service",
        policy(allow(["s3:GetObject", "s3:*"], OBJECTS)),
        wide("Action"),
    ),
    case(
        "iam-wildcard",
        "boundary: the end of an address",
        policy(allow("s3:GetObject", "arn:aws:s3:::lab:*")),
    ),
    case(
        "iam-wildcard",
        "boundary: it denies",
        policy({"Effect": "Deny", "Action": "*", "Resource": "*"}),
    ),
    case(
        "iam-wildcard",
        "boundary: everything but",
        policy(
            {"Effect": "Allow", "NotAction": "iam:*", "Resource": OBJECTS},
            kind="aws:iam/rolePolicy:RolePolicy",
        ),
        wide("NotAction"),
    ),
    case(
        "iam-wildcard",
        "boundary: one statement that is no list",
        lab(
            a(
                "aws:iam/userPolicy:UserPolicy",
                policy={"Statement": allow("a:b", ["*"])},
            )
        ),
        wide("Resource"),
    ),
    case(
        "iam-wildcard", "boundary: no JSON", lab(a("aws:iam/policy:Policy", policy="{"))
    ),
    case("eks-endpoint", "passes", cluster(publicAccessCidrs=["192.0.2.0/24"])),
    case("eks-endpoint", "fails", cluster(publicAccessCidrs=["0.0.0.0/0"]), ANYBODY),
    case("eks-endpoint", "boundary: nothing said", cluster(), ANYBODY),
    case("eks-endpoint", "boundary: closed", cluster(endpointPublicAccess=False)),
    case(
        "eks-endpoint",
        "boundary: one of two",
        cluster(publicAccessCidrs=["192.0.2.0/24", "::/0"]),
        ANYBODY,
    ),
    case("rds-deletion", "passes", database(deletionProtection=True)),
    case(
        "rds-deletion",
        "fails",
        database(deletionProtection=False),
        "it: the database can be deleted at once",
    ),
    case(
        "rds-deletion",
        "boundary: a cluster of which nothing is said",
        lab(a("aws:rds/cluster:Cluster")),
        "it: the database can be deleted at once",
    ),
    case("rds-encryption", "passes", database(storageEncrypted=True)),
    case(
        "rds-encryption",
        "fails",
        database(storageEncrypted=False),
        "it: the database is not encrypted on its disks",
    ),
    case(
        "rds-encryption",
        "boundary: nothing said",
        database(),
        "it: the database is not encrypted on its disks",
    ),
    case("rds-private", "passes", database(publiclyAccessible=False)),
    case(
        "rds-private",
        "fails",
        database(publiclyAccessible=True),
        "it: the database has a public address",
    ),
    case("rds-private", "boundary: nothing said", database()),
    case("disks-encrypted", "passes", lab(a("aws:ebs/volume:Volume", encrypted=True))),
    case(
        "disks-encrypted",
        "fails",
        lab(a("aws:ebs/volume:Volume", encrypted=False)),
        "it: is not encrypted",
    ),
    case(
        "disks-encrypted",
        "boundary: nothing said",
        lab(a("aws:efs/fileSystem:FileSystem")),
        "it: is not encrypted",
    ),
    case("data-protected", "passes", lab(a(BUCKET, protect=True))),
    case("data-protected", "fails", lab(a(BUCKET)), GONE),
    case(
        "data-protected",
        "boundary: emptied by force",
        lab(a(BUCKET, protect=True, forceDestroy=True)),
        GONE,
    ),
    case("security-groups", "passes", group(cidrBlocks=["192.0.2.0/24"])),
    case("security-groups", "fails", group(cidrBlocks=["0.0.0.0/0"]), WORLD),
    case(
        "security-groups",
        "boundary: the longer addresses",
        group(ipv6CidrBlocks=["::/0"]),
        WORLD,
    ),
    case(
        "security-groups",
        "boundary: a rule of its own",
        lab(a(aws.INGRESS[1], cidrIpv4="0.0.0.0/0")),
        WORLD,
    ),
    case(
        "security-groups",
        "boundary: a rule outwards",
        lab(a(aws.INGRESS[0], type="egress", cidrBlocks=["0.0.0.0/0"])),
    ),
    case(
        "security-groups",
        "boundary: a longer address alone",
        lab(a(aws.INGRESS[1], cidrIpv6="::/0")),
        WORLD,
    ),
]


@pytest.mark.parametrize("each", CASES)
def test_the_rule_says_so(each: Case) -> None:
    holds(each)


TYPES = (
    *aws.TAGGED,
    *aws.IAM,
    *aws.INGRESS,
    *aws_data.BLOCKS,
    *aws_data.ENCRYPTION,
    *aws_data.VERSIONING,
)


@pytest.mark.parametrize("token", TYPES)
def test_a_type_is_spelt_as_the_provider_spells_it(token: str) -> None:
    package, module, name = token.split(":")

    # PACKAGE:MODULE/memberName:MemberName
    assert package == "aws"
    assert module.partition("/")[2] == name[0].lower() + name[1:]
    assert token in KNOWN


KNOWN = {
    "aws:ebs/volume:Volume",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/securityGroupRule:SecurityGroupRule",
    "aws:efs/fileSystem:FileSystem",
    "aws:eks/cluster:Cluster",
    "aws:iam/groupPolicy:GroupPolicy",
    "aws:iam/policy:Policy",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:rds/cluster:Cluster",
    "aws:rds/instance:Instance",
    "aws:s3/bucket:Bucket",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
    "aws:s3/bucketV2:BucketV2",
    "aws:s3/bucketVersioning:BucketVersioning",
    "aws:s3/bucketVersioningV2:BucketVersioningV2",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
}
"""As the schema of the provider has them."""
