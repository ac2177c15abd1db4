"""Rules of what else a lab may have in AWS: owners, rights, and ways in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .aws_data import BUCKETS, DATABASES, DISKS, of, read
from .lab import Lab, Resource
from .rule import Complaint, Rule
from .workloads import tree, trees

IAM = (
    "aws:iam/policy:Policy",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
)
EKS = ("aws:eks/cluster:Cluster",)
GROUPS = ("aws:ec2/securityGroup:SecurityGroup",)
INGRESS = (
    "aws:ec2/securityGroupRule:SecurityGroupRule",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
)
TAGGED = (*BUCKETS, *EKS, *DATABASES, *DISKS, *GROUPS)
"""Types that cost, or hold, something and can carry tags."""
PROVIDER = "pulumi:providers:aws"
OWNER = "labfactory.io/owner"
WORLD = ("0.0.0.0/0", "::/0")


def owner_tag(lab: Lab) -> Iterator[Complaint]:
    """Everything in AWS says whose it is."""
    providers = [found for found in lab.resources if found.type == PROVIDER]
    if providers and all(map(_tags_everything, providers)):
        return
    for found in of(lab, TAGGED):
        if not tree(found.props.get("tags")).get(OWNER):
            yield Complaint(found.name, f"has no tag {OWNER}")


def _tags_everything(provider: Resource) -> bool:
    found = read(provider.props.get("defaultTags"))
    return bool(tree(tree(found).get("tags")).get(OWNER))


def iam_wildcard(lab: Lab) -> Iterator[Complaint]:
    """No policy allows everything, or something on everything."""
    for found in of(lab, IAM):
        for statement in _statements(found.props.get("policy")):
            wide = [key for key in ("Action", "Resource") if _wild(statement.get(key))]
            if "NotAction" in statement:
                wide.append("NotAction")
            if statement.get("Effect") == "Allow" and wide:
                yield Complaint(found.name, f"allows by a wildcard ({', '.join(wide)})")


def _statements(policy: object) -> list[Mapping[str, Any]]:
    found = tree(read(policy)).get("Statement")
    return trees([found] if isinstance(found, Mapping) else found)


def _wild(value: object) -> bool:
    each = value if isinstance(value, list | tuple) else [value]
    return any(one == "*" or _whole_service(str(one)) for one in each)


def _whole_service(value: str) -> bool:
    """Whether `s3:*` is said, and not the end of an address."""
    return value.endswith(":*") and value.count(":") == 1


def eks_private(lab: Lab) -> Iterator[Complaint]:
    """The API of a cluster is not open to the world."""
    for found in of(lab, EKS):
        vpc = tree(found.props.get("vpcConfig"))
        # What is not said is open: AWS' own defaults.
        allowed = vpc.get("publicAccessCidrs", WORLD)
        if vpc.get("endpointPublicAccess", True) and {*allowed} & {*WORLD}:
            yield Complaint(found.name, "anybody may talk to the cluster's API")


def groups_closed(lab: Lab) -> Iterator[Complaint]:
    """No security group lets the world in."""
    for found in of(lab, GROUPS):
        if any(map(_open, trees(found.props.get("ingress")))):
            yield Complaint(found.name, "lets the whole world in")
    for found in of(lab, INGRESS):
        if found.props.get("type", "ingress") == "ingress" and _open(found.props):
            yield Complaint(found.name, "lets the whole world in")


def _open(rule: Mapping[str, Any]) -> bool:
    lists = (rule.get("cidrBlocks") or (), rule.get("ipv6CidrBlocks") or ())
    named = (rule.get("cidrIpv4"), rule.get("cidrIpv6"))
    return bool({*lists[0], *lists[1], *named} & {*WORLD})


RULES: tuple[Rule, ...] = (
    Rule(
        "owner-tag",
        "mandatory",
        "Everything in AWS carries its owner.",
        "The bill names tags, not people who have left.",
        f"give the provider defaultTags with {OWNER}",
        owner_tag,
    ),
    Rule(
        "iam-wildcard",
        "mandatory",
        "No IAM policy allows every action, or an action on every resource.",
        "Who gets hold of the key gets hold of the account.",
        "name the actions and resources that are needed",
        iam_wildcard,
    ),
    Rule(
        "eks-endpoint",
        "mandatory",
        "The API of an EKS cluster is not open to the world.",
        "The next hole in it would be found by everybody at once.",
        "set publicAccessCidrs, or endpointPublicAccess to false",
        eks_private,
    ),
    Rule(
        "security-groups",
        "mandatory",
        "No security group lets the whole world in.",
        "What listens behind it was not made for that.",
        "name the addresses, or the groups, that may come in",
        groups_closed,
    ),
)
