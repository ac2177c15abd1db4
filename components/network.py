"""Which pods may speak to which: default deny, and what the table of flows allows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pulumi

from components import contour, flows, kserve, rooms
from components.flows import PARTS, Flow
from components.manifest import Manifest
from stacks.schema import LabConfig, MinioStorage, OwnPlatform, SharedPlatform
from stacks.watching import EmailReceiver, SlackReceiver, WebhookReceiver

_TCP = [{"protocol": "TCP"}]
"""Every port."""


@dataclass(frozen=True)
class Elsewhere:
    """What the settings say about addresses of somebody else's."""

    ports: frozenset[int] = frozenset()
    """Ports of those outside of the cluster."""
    inside: bool = False
    """Whether some are inside: their pods' ports are somebody else's to choose."""
    unknown: bool = False
    """Whether some are secret."""


@dataclass(frozen=True, kw_only=True)
class Ways:
    """What decides which flows a lab has."""

    homes: Mapping[str, str]
    """Namespace of each room of the table."""
    parts: Collection[str]
    """The parts that the lab declares itself."""
    stores: Mapping[str, int]
    """Port of each store that is somebody else's: `minio`, `second store`."""
    elsewhere: Mapping[str, Elsewhere]
    """Where external endpoints and receivers of alerts are."""


def ways(lab: LabConfig) -> Ways:
    """What the settings say about it."""
    gateway = contour.NAMESPACE
    if isinstance(lab.platform, SharedPlatform):
        gateway = lab.platform.gateway.partition("/")[0]
    stores = {}
    if not isinstance(lab.storage, MinioStorage):
        stores["minio"] = _port(lab.storage.endpoint)
    if lab.backups and lab.backups.store.kind == "s3":
        stores["second store"] = _port(lab.backups.store.endpoint)
    return Ways(
        homes={
            rooms.LAB: lab.name,
            rooms.DRILL: f"{lab.name}-drill",
            rooms.COPIES: f"{lab.name}-backups",
            rooms.GATEWAY: gateway,
            rooms.KSERVE: kserve.NAMESPACE,
        },
        parts=_parts(lab) - {*stores},
        stores=stores,
        elsewhere={
            flows.ENDPOINTS: _elsewhere(_endpoints(lab)),
            flows.RECEIVERS: _elsewhere(_receivers(lab)),
        },
    )


class Network(pulumi.ComponentResource):
    """The NetworkPolicies of a lab; the cluster's network has to enforce them."""

    def __init__(
        self,
        name: str,
        config: Ways,
        *,
        namespaces: Mapping[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare policies for the rooms in `namespaces`: `lab`, `drill`, `copies`,
        `gateway`, `kserve`, as far as the lab brings them."""
        super().__init__("labfactory:components:Network", name, {}, opts)
        for room, namespace in namespaces.items():
            for manifest in policies(room, config):
                Manifest(
                    f"{name}-{room}-{manifest['metadata']['name']}",
                    manifest,
                    namespace=namespace,
                    opts=pulumi.ResourceOptions(parent=self),
                )
        self.register_outputs({})


def policies(room: str, config: Ways) -> list[dict[str, Any]]:
    """Every policy of one namespace."""
    shared = room in rooms.PLATFORM
    denied = _policy("default-deny", {}, ingress=[], egress=None if shared else [])
    questions = {"ports": _ports(flows.DNS_PORTS, "UDP", "TCP")}
    found = [denied] if shared else [denied, _policy("dns", {}, egress=[questions])]
    for name, part in PARTS.items():
        if part.room != room or name not in config.parts:
            continue
        into = [rule for f in flows.into(name) for rule in _from(f, room, config)]
        out = [rule for f in flows.out_of(name) for rule in _to(f, room, config)]
        found.append(
            _policy(
                name.replace(" ", "-"),
                part.selector,
                ingress=into,
                egress=None if shared else out,
            )
        )
    return found


def _parts(lab: LabConfig) -> set[str]:
    found = {"predictors", "trainings", "mlflow", "postgres", "minio", "provisioning"}
    optional = {
        "batches": lab.predictions,
        "retrainings": lab.guard,
        "feedback": lab.takes_feedback,
    }
    found |= {name for name, wanted in optional.items() if wanted}
    if lab.monitoring:
        found |= {"prometheus", "alertmanager", "state-metrics"}
    if lab.guard:
        found |= {"guard"}
    if lab.backups:
        found |= {"keeper", "drills", "second store", "its provisioning"}
    if isinstance(lab.platform, OwnPlatform):
        found |= {"envoy", "contour", "kserve"}
    return found


def _endpoints(lab: LabConfig) -> Iterator[str]:
    for release in lab.releases.values():
        for variant in release.variants.values():
            if variant.external:
                yield variant.external.url


def _receivers(lab: LabConfig) -> Iterator[str | None]:
    """Address of each receiver of alerts; None where it is a secret."""
    for receiver in lab.monitoring.receivers.values() if lab.monitoring else ():
        match receiver:
            case WebhookReceiver():
                yield receiver.url
            case SlackReceiver():
                yield "https://hooks.slack.com"
            case EmailReceiver():
                yield f"smtp://{receiver.server}"


def _elsewhere(urls: Iterable[str | None]) -> Elsewhere:
    found = [*urls]
    known = [url for url in found if url is not None]
    return Elsewhere(
        ports=frozenset(_port(url) for url in known if not url.startswith("http:")),
        inside=any(url.startswith("http:") for url in known),
        unknown=None in found,
    )


def _from(flow: Flow, room: str, config: Ways) -> list[dict[str, Any]]:
    """What comes in by a flow: nothing from a part that the lab has not."""
    ports = {"ports": _ports(flow.ports)}
    if flow.who == flows.ANYBODY:
        return [ports]
    source = PARTS[flow.who]
    if room in rooms.PLATFORM and source.room == rooms.LAB:
        # Every lab of the cluster measures the gateway.
        return [{"from": [{"namespaceSelector": {}, **_pods(flow.who)}], **ports}]
    return [{"from": [peer], **ports} for peer in _peers(flow.who, room, config)]


def _to(flow: Flow, room: str, config: Ways) -> list[dict[str, Any]]:
    """What goes out by a flow: nothing to what the lab has not."""
    if found := config.elsewhere.get(flow.whom):
        return _to_others(found)
    if flow.whom in config.stores:
        return [{"ports": _ports([config.stores[flow.whom]])}]
    ports = {"ports": _ports(flow.ports)}
    if flow.whom in flows.OUTSIDE:
        return [ports]
    return [{"to": [peer], **ports} for peer in _peers(flow.whom, room, config)]


def _to_others(found: Elsewhere) -> list[dict[str, Any]]:
    if found.unknown:
        return [{"ports": _TCP}]
    outside = {"ports": _ports(sorted(found.ports))}
    inside = {"to": [{"namespaceSelector": {}}], "ports": _TCP}
    return [*([outside] if found.ports else []), *([inside] if found.inside else [])]


def _peers(part: str, room: str, config: Ways) -> list[dict[str, Any]]:
    """The pods of a part, for a policy in another part's `room`."""
    home = PARTS[part].room
    if home == rooms.GATEWAY and room != home:
        # Another gateway than ours may label its pods otherwise.
        return [_namespace(config.homes[home])]
    if part not in config.parts:
        return []
    elsewhere = {} if home == room else _namespace(config.homes[home])
    return [{**elsewhere, **_pods(part)}]


def _pods(part: str) -> dict[str, Any]:
    return {"podSelector": dict(PARTS[part].selector)}


def _namespace(name: str) -> dict[str, Any]:
    labels = {"kubernetes.io/metadata.name": name}
    return {"namespaceSelector": {"matchLabels": labels}}


def _ports(ports: Iterable[int], *protocols: str) -> list[dict[str, Any]]:
    return [
        {"protocol": protocol, "port": port}
        for port in ports
        for protocol in protocols or ("TCP",)
    ]


def _port(url: str) -> int:
    address = urlsplit(url)
    return address.port or {"https": 443, "http": 80}[address.scheme]


def _policy(
    name: str,
    selector: Mapping[str, Any],
    *,
    ingress: list[dict[str, Any]] | None = None,
    egress: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A policy of the directions that are given; an empty one lets nothing pass."""
    given = {"Ingress": ingress, "Egress": egress}
    rules = {way: found for way, found in given.items() if found is not None}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {
            "podSelector": dict(selector),
            "policyTypes": [*rules],
            **{way.lower(): found for way, found in rules.items()},
        },
    }
