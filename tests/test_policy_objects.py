"""Rules of Kubernetes objects, of networks, and of a stack as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.rules.lab import Lab, Resource
from tests.policy_cases import Case, case, holds, lab, thing

OWNER = "labfactory.io/owner"
PSA = "pod-security.kubernetes.io/enforce"
OPEN = "it: whoever is in the cluster may talk to each of the namespace's pods"
OUTWARDS = "it: each of the namespace's pods may talk to whom it likes"
PRIVILEGED = "it: the namespace admits pods with privileges"


def labelled(**labels: str) -> dict[str, Any]:
    return {"name": "it", "labels": labels}


def namespace(**labels: str) -> Lab:
    return lab(thing("Namespace", metadata=labelled(**labels)))


def owned(by: str | None, lab_owner: str | None = "vision") -> Lab:
    labels = {OWNER: by} if by else {}
    settings = {"owner": lab_owner} if lab_owner else {}
    return lab(thing("Service", metadata=labelled(**labels)), settings=settings)


def role(kind: str = "Role", **rule: list[str]) -> Lab:
    named = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    return lab(thing(kind, rules=[named, {**named, **rule}]))


def binding(role: str, kind: str = "ClusterRoleBinding") -> Lab:
    return lab(thing(kind, roleRef={"name": role}))


def selecting(kind: str, **labels: str) -> Lab:
    return lab(thing(kind, spec={"selector": {"matchLabels": labels}}))


def guarded(**policy: Any) -> Lab:
    closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], **policy}
    where = {"name": "closed", "namespace": "it"}
    return lab(
        thing("Namespace"), thing("NetworkPolicy", "p", metadata=where, spec=closed)
    )


def many(count: int) -> Lab:
    return lab(*(Resource("a:b:C", str(number)) for number in range(count)))


CASES = [
    case("pod-security", "passes", namespace(**{PSA: "restricted"})),
    case("pod-security", "fails", namespace(**{PSA: "privileged"}), PRIVILEGED),
    case("pod-security", "boundary: no label", namespace(), PRIVILEGED),
    case(
        "pod-security", "boundary: nearly", namespace(**{PSA: "baseline"}), PRIVILEGED
    ),
    case("owner-label", "passes", owned("vision")),
    case("owner-label", "fails", owned(None), f"it: has no label {OWNER}"),
    case(
        "owner-label",
        "boundary: another team's",
        owned("speech"),
        f"it: its label {OWNER} names another team",
    ),
    case(
        "owner-label", "boundary: a lab whose owner is not known", owned("speech", None)
    ),
    case(
        "owner-label",
        "boundary: not of Kubernetes",
        lab(
            Resource("labfactory:components:Storage", "storage"),
            thing("Service", metadata={"name": "it"}),
        ),
        f"it: has no label {OWNER}",
    ),
    case("wildcard-rights", "passes", role()),
    case(
        "wildcard-rights",
        "fails",
        role(verbs=["*"]),
        "it: gives rights by a wildcard (verbs)",
    ),
    case(
        "wildcard-rights",
        "boundary: twice in a role of the cluster",
        role("ClusterRole", apiGroups=["*"], resources=["pods", "*"]),
        "it: gives rights by a wildcard (apiGroups, resources)",
    ),
    case("wildcard-rights", "boundary: a part of a name", role(resources=["pods/*"])),
    case("cluster-admin", "passes", binding("contour")),
    case(
        "cluster-admin",
        "fails",
        binding("cluster-admin"),
        "it: binds the role cluster-admin",
    ),
    case(
        "cluster-admin",
        "boundary: of one namespace",
        binding("admin", "RoleBinding"),
        "it: binds the role admin",
    ),
    case("stateful-not-replaced", "passes", lab(thing("StatefulSet"))),
    case(
        "stateful-not-replaced",
        "fails",
        lab(thing("PersistentVolumeClaim", metadata={"namespace": "a"})),
        "it: has no fixed name of its own",
    ),
    case(
        "stateful-not-replaced",
        "boundary: both names",
        lab(thing("StatefulSet", metadata={"name": "a", "generateName": "a-"})),
        "it: has no fixed name of its own",
    ),
    case(
        "stateful-not-replaced",
        "boundary: it holds nothing",
        lab(thing("ConfigMap", metadata={})),
    ),
    case("selectors-stay", "passes", selecting("Deployment", app="a")),
    case(
        "selectors-stay",
        "fails",
        selecting("Deployment", **{OWNER: "vision"}),
        f"it: its selector holds what may change ({OWNER})",
    ),
    case(
        "selectors-stay",
        "boundary: a Service's may change",
        lab(thing("Service", spec={"selector": {OWNER: "vision"}})),
    ),
    case("network-policy", "passes", guarded()),
    case("network-policy", "fails", lab(thing("Namespace")), OPEN),
    case(
        "network-policy",
        "boundary: outwards only",
        guarded(policyTypes=["Egress"]),
        OPEN,
    ),
    case("network-policy", "boundary: inwards only", guarded(policyTypes=["Ingress"])),
    case(
        "network-policy",
        "boundary: some pods only",
        guarded(podSelector={"matchLabels": {"app": "a"}}),
        OPEN,
    ),
    case("network-policy", "boundary: with a hole", guarded(ingress=[{}]), OPEN),
    case("network-policy", "boundary: no types", guarded(policyTypes=None), OPEN),
    case(
        "network-policy",
        "boundary: of another namespace",
        lab(
            thing("Namespace"),
            thing(
                "NetworkPolicy",
                metadata={"name": "a", "namespace": "other"},
                spec={"policyTypes": ["Ingress", "Egress"]},
            ),
        ),
        OPEN,
    ),
    case("network-egress", "passes", guarded()),
    case("network-egress", "fails", guarded(policyTypes=["Ingress"]), OUTWARDS),
    case("network-egress", "boundary: with a hole", guarded(egress=[{}]), OUTWARDS),
    case(
        "network-egress",
        "boundary: what all labs of the cluster share",
        lab(
            replace(thing("Namespace"), parent="platform"),
            replace(thing("Namespace"), parent="cluster"),
        ),
        OUTWARDS,
    ),
    case("services-inside", "passes", lab(thing("Service", spec={}))),
    case(
        "services-inside",
        "fails",
        lab(thing("Service", spec={"type": "NodePort"})),
        "it: is open to the outside (NodePort)",
    ),
    case(
        "services-inside",
        "boundary: a headless one",
        lab(thing("Service", spec={"clusterIP": "None", "type": "ClusterIP"})),
    ),
    case(
        "services-inside",
        "boundary: addresses of its own",
        lab(thing("Service", spec={"externalIPs": ["192.0.2.1"]})),
        "it: is open to the outside (ClusterIP)",
    ),
    case(
        "services-inside",
        "boundary: a balancer",
        lab(thing("Service", spec={"type": "LoadBalancer"})),
        "it: is open to the outside (LoadBalancer)",
    ),
    case(
        "tls-outside",
        "passes",
        lab(settings={"storage": {"endpoint": "https://s3.example.com"}}),
    ),
    case(
        "tls-outside",
        "fails",
        lab(settings={"storage": {"endpoint": "HTTP://s3.example.com:9000/a"}}),
        "storage.endpoint: leaves the cluster in plain text (http)",
    ),
    case(
        "tls-outside",
        "boundary: names inside",
        lab(
            settings={
                "a": {"url": "http://minio:9000"},
                "b": {"url": "http://minio.lab.svc:9000/x"},
                "c": {"url": "http://minio.lab.svc.cluster.local./x"},
                "d": "s3://datasets/a",
                "e": 1,
            }
        ),
    ),
    case(
        "tls-outside",
        "boundary: a name that only looks inside",
        lab(settings={"url": "http://user@a.svc.example.com/b.svc"}),
        "url: leaves the cluster in plain text (http)",
    ),
    case("stack-size", "passes", many(1)),
    case("stack-size", "fails", many(501), "stack: has 501 resources, more than 500"),
    case("stack-size", "boundary", many(500)),
    case("stack-growing", "passes", many(1)),
    case(
        "stack-growing", "fails", many(301), "stack: has 301 resources, more than 300"
    ),
    case("stack-growing", "boundary", many(300)),
    case(
        "stack-growing",
        "boundary: the last one",
        many(500),
        "stack: has 500 resources, more than 300",
    ),
    case("stack-growing", "boundary: refused already", many(501)),
]


@pytest.mark.parametrize("each", CASES)
def test_the_rule_says_so(each: Case) -> None:
    holds(each)
