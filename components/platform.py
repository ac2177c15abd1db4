"""What a cluster has once for all its labs: KServe, and a gateway with Contour."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import pulumi

from components import contour, credentials, kserve, manifests, rooms
from components.cluster import namespace
from components.manifest import Manifest, cluster_ip
from stacks.schema import OwnPlatform, SharedPlatform

ESTABLISHED = {"pulumi.com/waitFor": "condition=Established"}


class Gateway(NamedTuple):
    """Where routes attach, and where their requests arrive."""

    namespace: str
    name: str
    address: pulumi.Output[str]
    """Address inside the cluster; its port is 80."""
    ready: Sequence[pulumi.Resource]
    """A route is served once these are there."""

    @property
    def url(self) -> pulumi.Output[str]:
        """Where requests arrive."""
        return pulumi.Output.concat("http://", self.address)


class Platform(pulumi.ComponentResource):
    """KServe's controller and a gateway: the lab's own, or those that are there."""

    gateway: Gateway
    models_ready: Sequence[pulumi.Resource]
    """An InferenceService is accepted once these are there."""
    namespaces: dict[str, pulumi.Output[str]]
    """Namespaces that are the lab's own, by the room of the table of flows."""

    def __init__(
        self,
        name: str,
        config: OwnPlatform | SharedPlatform,
        *,
        image: Callable[[str], str],
        seed: pulumi.Output[str],
        issued: date,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the platform; its certificates follow from `seed` and `issued`."""
        super().__init__("labfactory:components:Platform", name, {}, opts)
        self._name = name
        self._image = image
        self._seed = seed
        self._issued = issued
        self.namespaces = {}
        if isinstance(config, SharedPlatform):
            self.gateway = self._existing_gateway(config)
            self.models_ready = []
        else:
            self.gateway = self._own_gateway()
            self.models_ready = self._kserve()
        self.register_outputs({"address": self.gateway.address})

    def _existing_gateway(self, config: SharedPlatform) -> Gateway:
        where, _, name = config.gateway.partition("/")
        found = Manifest(
            f"{self._name}-gateway",
            contour.gateway_reference(name),
            namespace=where,
            opts=pulumi.ResourceOptions(parent=self, id=config.gateway),
        )
        return Gateway(where, name, found.status.apply(first_address), [])

    def _own_gateway(self) -> Gateway:
        home = self._namespace(contour.NAMESPACE, {})
        self.namespaces[rooms.GATEWAY] = home
        definitions = self._definitions("gateway")
        envoy_service = self._add(contour.service("envoy", 80, contour.HTTP_PORT), home)
        address = cluster_ip(envoy_service)
        access = [self._add(found, home) for found in manifests.load("contour")]
        needs = [
            *access,
            self._add(contour.service("contour", 8001, 8001), home),
            self._add(contour.config_map(), home),
        ]
        certificates = {
            server: self._certificate(
                "xds", f"{server}cert", contour.hosts(server), home
            )
            for server in ("contour", "envoy")
        }
        server = self._add(
            contour.deployment(
                self._image("contour"),
                address=pulumi.Output.concat("--ingress-status-address=", address),
                certificate=certificates["contour"],
            ),
            home,
            after=[*definitions, *needs],
        )
        proxy = self._add(
            contour.envoy(
                self._image("envoy"),
                self._image("contour"),
                certificate=certificates["envoy"],
            ),
            home,
            after=needs,
        )
        gateway_class = self._add(contour.gateway_class(), after=definitions)
        gateway = self._add(
            contour.gateway(), home, after=[gateway_class, server, proxy]
        )
        return Gateway(contour.NAMESPACE, contour.GATEWAY, address, [gateway])

    def _kserve(self) -> list[pulumi.Resource]:
        home = self._namespace(kserve.NAMESPACE, kserve.namespace_labels())
        self.namespaces[rooms.KSERVE] = home
        definitions = self._definitions("kserve-definitions")
        certificate = self._certificate(
            "webhook", kserve.CERTIFICATE, kserve.HOSTS, home
        )
        needs = [
            *(self._add(found, home) for found in manifests.load("kserve")),
            self._add(kserve.config_map(self._image("lab")), home),
            self._add(kserve.service(), home),
        ]
        controller = self._add(
            kserve.deployment(self._image("kserve-controller"), certificate),
            home,
            after=[*definitions, *needs],
        )
        authority = self._seed.apply(
            lambda seed: credentials.authority(seed, "webhook", self._issued)
        )
        bundle = pulumi.Output.unsecret(authority.apply(_base64))
        webhooks = [
            self._add(kserve.with_authority(found, bundle), after=[controller])
            for found in manifests.load("kserve-webhooks")
        ]
        container = self._add(
            kserve.storage_container(self._image("lab")), after=definitions
        )
        return [*webhooks, container]

    def _definitions(self, file: str) -> list[Manifest]:
        found = []
        for definition in manifests.load(file):
            definition["metadata"]["annotations"] |= ESTABLISHED
            found.append(self._add(definition))
        return found

    def _certificate(
        self,
        signer: str,
        secret: str,
        hosts: Sequence[str],
        home: pulumi.Output[str],
    ) -> pulumi.Output[str]:
        """Declare the Secret of a certificate; return its fingerprint."""
        found = self._seed.apply(
            lambda seed: credentials.certificate(seed, signer, hosts, self._issued)
        )
        self._add(tls_secret(secret, found), home)
        fingerprint = found.apply(lambda made: credentials.fingerprint(made.key))
        return pulumi.Output.unsecret(fingerprint)

    def _namespace(self, name: str, labels: Mapping[str, str]) -> pulumi.Output[str]:
        return self._add(namespace(name, labels)).name

    def _add(
        self,
        manifest: Mapping[str, Any],
        home: pulumi.Output[str] | None = None,
        *,
        after: Sequence[pulumi.Resource] = (),
    ) -> Manifest:
        """Declare one object; `home` is the namespace of those that have one."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        return Manifest(
            f"{self._name}-{kind}-{metadata['name']}".lower(),
            manifest,
            namespace=None if kind.startswith("Cluster") else home,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(after)),
        )


def tls_secret(
    name: str, certificate: pulumi.Output[credentials.Certificate]
) -> dict[str, Any]:
    """A Secret with a certificate, its key and its authority."""

    def data(found: credentials.Certificate) -> dict[str, str]:
        return {
            "ca.crt": _base64(found.authority),
            "tls.crt": _base64(found.certificate),
            "tls.key": _base64(found.key),
        }

    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/tls",
        "data": certificate.apply(data),
    }


def first_address(status: Mapping[str, Any] | None) -> str:
    """The first address in a Gateway's status; empty when it shows none."""
    addresses = (status or {}).get("addresses") or [{"value": ""}]
    return str(addresses[0]["value"])


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
