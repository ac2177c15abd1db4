"""Rules of Kubernetes objects: whose they are, what they admit, who has rights."""

from __future__ import annotations

from collections.abc import Iterator

from .lab import Lab
from .rule import Complaint, Rule
from .workloads import LASTING, tree, trees

OWNER = "labfactory.io/owner"
"""Label that names the team."""
LEVEL = "pod-security.kubernetes.io/enforce"
STATEFUL = ("StatefulSet", "PersistentVolumeClaim")
OURS = "labfactory.io/"
"""Beginning of labels that may change with the settings."""


def pod_security(lab: Lab) -> Iterator[Complaint]:
    """Each namespace admits only pods of the level `restricted`."""
    for found in lab.all("Namespace"):
        if tree(found.metadata.get("labels")).get(LEVEL) != "restricted":
            yield Complaint(found.name, "the namespace admits pods with privileges")


def owner_label(lab: Lab) -> Iterator[Complaint]:
    """Everything in Kubernetes says whose it is."""
    owner = lab.settings.get("owner")
    for found in lab.resources:
        if not found.type.startswith("kubernetes:"):
            continue
        said = tree(found.metadata.get("labels")).get(OWNER)
        if not said:
            yield Complaint(found.name, f"has no label {OWNER}")
        elif owner and said != owner:
            yield Complaint(found.name, f"its label {OWNER} names another team")


def wildcard_rights(lab: Lab) -> Iterator[Complaint]:
    """No role gives rights to everything, or every right to something."""
    for found in lab.all("Role", "ClusterRole"):
        wide = [
            key
            for rule in trees(found.props.get("rules"))
            for key in ("apiGroups", "resources", "verbs")
            if "*" in (rule.get(key) or [])
        ]
        if wide:
            text = f"gives rights by a wildcard ({', '.join(dict.fromkeys(wide))})"
            yield Complaint(found.name, text)


def cluster_admin(lab: Lab) -> Iterator[Complaint]:
    """Nobody is made the cluster's administrator."""
    for found in lab.all("RoleBinding", "ClusterRoleBinding"):
        role = tree(found.props.get("roleRef")).get("name")
        if role in ("cluster-admin", "admin"):
            yield Complaint(found.name, f"binds the role {role}")


def stateful_names(lab: Lab) -> Iterator[Complaint]:
    """What holds data has a name that stays."""
    for found in lab.all(*STATEFUL):
        if "generateName" in found.metadata or not found.metadata.get("name"):
            yield Complaint(found.name, "has no fixed name of its own")


def selectors_stay(lab: Lab) -> Iterator[Complaint]:
    """No selector of pods holds what the settings may change."""
    for found in lab.all(*LASTING):
        labels = tree(tree(found.spec.get("selector")).get("matchLabels"))
        moving = sorted(key for key in labels if key.startswith(OURS))
        if moving:
            text = f"its selector holds what may change ({', '.join(moving)})"
            yield Complaint(found.name, text)


RULES: tuple[Rule, ...] = (
    Rule(
        "pod-security",
        "mandatory",
        "Every namespace admits only pods of the level `restricted`.",
        "The cluster itself then refuses what slips past every other check.",
        f"label it {LEVEL}: restricted",
        pod_security,
    ),
    Rule(
        "owner-label",
        "mandatory",
        "Every Kubernetes object carries its owner.",
        "What is nobody's is never paid, never mended and never taken away.",
        f"label it {OWNER} with the lab's `owner`",
        owner_label,
    ),
    Rule(
        "wildcard-rights",
        "mandatory",
        "No role gives rights by a wildcard.",
        "It also gives rights to what does not exist yet.",
        "name the apiGroups, resources and verbs that are needed",
        wildcard_rights,
    ),
    Rule(
        "cluster-admin",
        "mandatory",
        "Nobody is bound to an administrator's role.",
        "One pod's token would be the whole cluster.",
        "bind a role of the lab's own with the rights that are needed",
        cluster_admin,
    ),
    Rule(
        "stateful-not-replaced",
        "mandatory",
        "What holds data has a name that stays.",
        "A name that is made up is another one at the next try: its data stays behind.",
        "give it a metadata.name, and no generateName",
        stateful_names,
    ),
    Rule(
        "selectors-stay",
        "mandatory",
        "No selector of pods holds labels that settings change.",
        "A selector is immutable: the workload would be deleted and made again.",
        "select by `app` alone",
        selectors_stay,
    ),
)
