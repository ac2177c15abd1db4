"""Rules of pods: what they run, and what they may do."""

from __future__ import annotations

from collections.abc import Iterator

from .lab import Lab
from .rule import Complaint, Rule
from .workloads import (
    Container,
    Pods,
    all_containers,
    containers,
    pods,
    predictors,
    runtimes,
    tree,
    trees,
)

FLOATING = frozenset(
    (
        "canary",
        "dev",
        "develop",
        "edge",
        "latest",
        "main",
        "master",
        "nightly",
        "release",
        "stable",
    )
)
"""Tags that are another image tomorrow."""


def images_pinned(lab: Lab) -> Iterator[Complaint]:
    """Each image has a digest, or a tag that is a version."""
    for container in all_containers(lab):
        image = container.fields.get("image")
        if isinstance(image, str) and not _pinned(image):
            text = f"{container.named} runs an image of no fixed version ({image})"
            yield Complaint(container.pods.owner.name, text)


def _pinned(image: str) -> bool:
    name, _, digest = image.partition("@")
    # A colon before the last slash is a registry's port.
    tag = name.rpartition("/")[2].partition(":")[2]
    return digest.startswith("sha256:") or bool(tag and tag not in FLOATING)


def no_root(lab: Lab) -> Iterator[Complaint]:
    """No process of a pod is root's."""
    for container in all_containers(lab):
        spec = tree(container.pods.spec.get("securityContext"))
        both = {**spec, **container.security}
        user = both.get("runAsUser")
        if user == 0 or not (both.get("runAsNonRoot") or user):
            yield Complaint(
                container.pods.owner.name, f"{container.named} may run as root"
            )


def no_privileges(lab: Lab) -> Iterator[Complaint]:
    """No container has, or can get, what its user does not have."""
    for container in all_containers(lab):
        if found := ", ".join(_privileges(container)):
            yield Complaint(container.pods.owner.name, f"{container.named} {found}")


def _privileges(container: Container) -> Iterator[str]:
    security = container.security
    capabilities = tree(security.get("capabilities"))
    if security.get("privileged"):
        yield "is privileged"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "may get more rights than it starts with"
    if "ALL" not in (capabilities.get("drop") or []):
        yield "keeps capabilities"
    if capabilities.get("add"):
        yield "adds capabilities"


def read_only_root(lab: Lab) -> Iterator[Complaint]:
    """No container can change its own files."""
    for container in all_containers(lab):
        if container.security.get("readOnlyRootFilesystem") is not True:
            yield Complaint(
                container.pods.owner.name, f"{container.named} can change its own files"
            )


def seccomp(lab: Lab) -> Iterator[Complaint]:
    """Each pod, or each of its containers, has a filter of system calls."""
    for found in (*pods(lab), *predictors(lab)):
        inside = list(containers(found))
        each = [container.security for container in inside]
        whole = tree(found.spec.get("securityContext"))
        if not _filtered(whole) and not (each and all(map(_filtered, each))):
            yield Complaint(found.owner.name, "its pods may make any system call")


def _filtered(security: object) -> bool:
    kind = tree(tree(security).get("seccompProfile")).get("type")
    return kind in ("RuntimeDefault", "Localhost")


def host_namespaces(lab: Lab) -> Iterator[Complaint]:
    """No pod shares the node's network, processes or ports."""
    for found in (*pods(lab), *predictors(lab), *runtimes(lab)):
        shared = [
            key for key in ("hostNetwork", "hostPID", "hostIPC") if found.spec.get(key)
        ]
        if shared or _host_ports(found):
            what = ", ".join(shared) or "hostPort"
            yield Complaint(found.owner.name, f"its pods share the node's own ({what})")


def _host_ports(found: Pods) -> bool:
    return any(
        port.get("hostPort")
        for container in containers(found)
        for port in trees(container.fields.get("ports"))
    )


def host_paths(lab: Lab) -> Iterator[Complaint]:
    """No pod reads or writes the node's files."""
    for found in (*pods(lab), *predictors(lab), *runtimes(lab)):
        for volume in trees(found.spec.get("volumes")):
            if "hostPath" in volume:
                text = f"volume {volume.get('name', '?')!r} is a folder of the node"
                yield Complaint(found.owner.name, text)


def account_token(lab: Lab) -> Iterator[Complaint]:
    """A pod may talk to the API server only by an account of its own."""
    for found in (*pods(lab), *predictors(lab)):
        own = found.spec.get("serviceAccountName") not in (None, "default")
        if not own and found.spec.get("automountServiceAccountToken") is not False:
            text = "its pods get the token of an account that is not their own"
            yield Complaint(found.owner.name, text)


RULES: tuple[Rule, ...] = (
    Rule(
        "images-pinned",
        "mandatory",
        "Every image has a tag that is a version, or a digest.",
        "A tag that floats is another program after the next restart.",
        "name a version, or pin the image by its digest",
        images_pinned,
    ),
    Rule(
        "no-root",
        "mandatory",
        "No container runs as root.",
        "Root in a container is root on the node after one hole in the kernel.",
        "set securityContext.runAsNonRoot and a runAsUser above 0",
        no_root,
    ),
    Rule(
        "no-privileges",
        "mandatory",
        "No container has capabilities, or can get rights that it started without.",
        "What a program may not do, nobody can make it do.",
        "set allowPrivilegeEscalation to false and drop all capabilities",
        no_privileges,
    ),
    Rule(
        "read-only-root",
        "mandatory",
        "No container can change the files of its image.",
        "What broke in cannot stay, and what runs is what was built.",
        "set readOnlyRootFilesystem, and give it an emptyDir for what it writes",
        read_only_root,
    ),
    Rule(
        "seccomp",
        "mandatory",
        "Every pod runs under a filter of system calls.",
        "Most holes of the kernel are in calls that no server makes.",
        "set securityContext.seccompProfile to {type: RuntimeDefault}",
        seccomp,
    ),
    Rule(
        "host-namespaces",
        "mandatory",
        "No pod shares the node's network, processes or ports.",
        "Who shares them sees, and may disturb, everybody else on the node.",
        "take hostNetwork, hostPID, hostIPC and hostPort out; a Service leads to pods",
        host_namespaces,
    ),
    Rule(
        "host-paths",
        "mandatory",
        "No pod mounts a folder of the node.",
        "It would be gone on another node, and the node's own files are in reach.",
        "use a PersistentVolumeClaim or an emptyDir",
        host_paths,
    ),
    Rule(
        "account-token",
        "mandatory",
        "A pod gets a token for the API server only of an account of its own.",
        "The default account's rights are everybody's, and one day there are some.",
        "set automountServiceAccountToken to false, or name its own ServiceAccount",
        account_token,
    ),
)
