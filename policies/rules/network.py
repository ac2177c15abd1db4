"""Rules of what may talk to what, and what leaves the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .lab import Lab, Resource
from .rule import Complaint, Rule
from .workloads import tree

INSIDE = (".svc", ".svc.cluster.local")
"""What the host of an address inside the cluster ends with."""
PLATFORM = "platform"
"""Room of what the labs of a cluster share."""


def closed_inwards(lab: Lab) -> Iterator[Complaint]:
    """Each namespace denies what comes in, unless another policy allows it."""
    for found in _open(lab, "Ingress"):
        text = "whoever is in the cluster may talk to each of the namespace's pods"
        yield Complaint(found.name, text)


def closed_outwards(lab: Lab) -> Iterator[Complaint]:
    """Each namespace of the lab denies what goes out, unless it is allowed."""
    for found in _open(lab, "Egress"):
        # Those of the platform serve every lab of the cluster: none knows the others.
        if found.parent != PLATFORM:
            text = "each of the namespace's pods may talk to whom it likes"
            yield Complaint(found.name, text)


def _open(lab: Lab, way: str) -> Iterator[Resource]:
    """Namespaces without a policy that denies one way to all of its pods."""
    closed = {
        found.metadata.get("namespace")
        for found in lab.all("NetworkPolicy")
        if _denies_all(found.spec, way)
    }
    for found in lab.all("Namespace"):
        if found.metadata.get("name") not in closed:
            yield found


def _denies_all(spec: Mapping[str, Any], way: str) -> bool:
    every = not tree(spec.get("podSelector"))
    return (
        every and not spec.get(way.lower()) and way in (spec.get("policyTypes") or ())
    )


def services_inside(lab: Lab) -> Iterator[Complaint]:
    """No Service opens a port to the world, or on every node."""
    for found in lab.all("Service"):
        kind = found.spec.get("type", "ClusterIP")
        if kind in ("LoadBalancer", "NodePort") or found.spec.get("externalIPs"):
            yield Complaint(found.name, f"is open to the outside ({kind})")


def tls_outside(lab: Lab) -> Iterator[Complaint]:
    """What leaves the cluster is encrypted."""
    for path, address in _addresses(lab.settings, ""):
        if address.lower().startswith("http://") and not _inside(address):
            yield Complaint(path, "leaves the cluster in plain text (http)")


def _addresses(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Path and text of the settings that are addresses."""
    if isinstance(value, str) and "://" in value:
        yield path, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _addresses(each, f"{path}.{key}" if path else str(key))


def _inside(address: str) -> bool:
    host = address.partition("://")[2].partition("/")[0].rpartition("@")[2]
    host = host.partition(":")[0].rstrip(".").lower()
    return host.endswith(INSIDE) or "." not in host


RULES: tuple[Rule, ...] = (
    Rule(
        "network-policy",
        "mandatory",
        "Every namespace denies what comes in and is not allowed by name.",
        "One pod that was taken over must not reach the database.",
        "declare a NetworkPolicy with an empty podSelector for Ingress",
        closed_inwards,
    ),
    Rule(
        "network-egress",
        "mandatory",
        "Every namespace of the lab denies what goes out and is not allowed by name.",
        "What was taken over must not carry anything away.",
        "declare a NetworkPolicy with an empty podSelector for Egress",
        closed_outwards,
    ),
    Rule(
        "services-inside",
        "mandatory",
        "No Service is of type LoadBalancer or NodePort.",
        "The gateway is the one way in; a second one is watched by nobody.",
        "use ClusterIP, and a route of the gateway",
        services_inside,
    ),
    Rule(
        "tls-outside",
        "mandatory",
        "What leaves the cluster is encrypted.",
        "On the way out everybody can read along, and answer.",
        "write an https address; plain http is for names that end with .svc",
        tls_outside,
    ),
)
