"""Measurements and alerts: Prometheus, Alertmanager and kube-state-metrics.

The guard is a room of its own; it reads what is measured here.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pulumi

from components import (
    alertmanager,
    contour,
    credentials,
    dashboards,
    minio,
    objects,
    prometheus,
    scrapes,
    state_metrics,
    storage,
)
from components.manifest import Manifest, Parts, cluster_ip
from components.watched import Watched
from stacks.schema import ALERTS
from stacks.watching import MonitoringConfig


class Monitoring(pulumi.ComponentResource):
    """What is measured in a lab, and who hears of what is wrong."""

    url: pulumi.Output[str]
    """Where Prometheus answers from outside of the lab's namespace."""
    alerts_url: pulumi.Output[str]
    """Where Alertmanager does."""

    def __init__(
        self,
        name: str,
        config: MonitoringConfig,
        *,
        watched: Watched,
        namespace: pulumi.Input[str],
        image: Callable[[str], str],
        storage_class: str | None,
        secret: Callable[[str], pulumi.Output[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare what measures the parts that `watched` names.

        `secret` answers with the `seed` and with the receivers' own secrets.
        """
        super().__init__("labfactory:components:Monitoring", name, {}, opts)
        self._name = name
        self._namespace = namespace
        self._parts = Parts(self, name, namespace)
        self._image = image
        self._seed = secret("seed")
        self.alerts_url = self._alertmanager(config, secret)
        if config.dashboards:
            self._parts.add("dashboards", dashboards.config_map(watched.lab))
        self._state_metrics(watched)
        self.url = self._prometheus(config, watched, storage_class)
        self.register_outputs({"url": self.url, "alerts_url": self.alerts_url})

    def _alertmanager(
        self,
        config: MonitoringConfig,
        secret: Callable[[str], pulumi.Output[str]],
    ) -> pulumi.Output[str]:
        """Declare Alertmanager; return its address."""
        given = {
            name: secret(f"{ALERTS}{name}")
            for name, receiver in config.receivers.items()
            if alertmanager.needs_secret(receiver)
        }
        # With the seed it is a secret even where nobody has one: the next receiver may.
        text = pulumi.Output.all(self._seed, pulumi.Output.json_dumps(given)).apply(
            lambda found: alertmanager.written(config.receivers, json.loads(found[1]))
        )
        # A password may be a poor one: without the seed its print gives nothing away.
        print_ = pulumi.Output.all(self._seed, text).apply(
            lambda found: credentials.fingerprint(
                credentials.password(found[0], "alertmanager"), found[1]
            )
        )
        settings = self._parts.add("receivers", alertmanager.secret(text))
        url = self._service("alerts-service", alertmanager.service(), alertmanager.PORT)
        self._parts.add(
            "alerts",
            alertmanager.deployment(
                self._image("alertmanager"),
                external_url=pulumi.Output.concat("--web.external-url=", url),
                fingerprint=pulumi.Output.unsecret(print_),
            ),
            after=[settings],
        )
        return url

    def _state_metrics(self, watched: Watched) -> None:
        access = [
            self._parts.add(f"state-{manifest['kind'].lower()}", manifest)
            for manifest in state_metrics.access(self._namespace)
        ]
        self._parts.add("state-service", state_metrics.service())
        server = state_metrics.deployment(
            self._image("kube-state-metrics"), watched.lab, *watched.others
        )
        self._parts.add("state", server, after=access)

    def _prometheus(
        self,
        config: MonitoringConfig,
        watched: Watched,
        storage_class: str | None,
    ) -> pulumi.Output[str]:
        """Declare Prometheus; return its address."""
        map_ = prometheus.config_map(config, watched)
        prints: list[pulumi.Input[str]] = [
            credentials.fingerprint(*map_["data"].values())
        ]
        needs = [self._parts.add("settings", map_), *self._access(watched)]
        own_store = watched.store_bytes is not None
        token = self._store_token(watched.credentials_end)
        if own_store:
            needs.append(self._parts.add("store-token", prometheus.store_secret(token)))
            prints.append(pulumi.Output.unsecret(token.apply(credentials.fingerprint)))
        volume = prometheus.volume(config.capacity, storage_class)
        claim = self._parts.add("data", volume)
        url = self._service("service", prometheus.service(), prometheus.PORT)
        self._parts.add(
            "server",
            prometheus.server(
                self._image("prometheus"),
                config,
                claim=claim.name,
                external_url=pulumi.Output.concat("--web.external-url=", url),
                store=own_store,
                fingerprint=pulumi.Output.all(*prints).apply("-".join),
            ),
            after=needs,
        )
        return url

    def _access(self, watched: Watched) -> list[Manifest]:
        """Declare how Prometheus finds model servers, Envoy and the node."""
        found = [
            self._parts.add("account", objects.service_account(prometheus.NAME)),
            self._parts.add(
                "models",
                prometheus.pods_service(
                    scrapes.MODELS, {"component": "predictor"}, scrapes.MODEL_PORT
                ),
            ),
            Manifest(
                f"{self._name}-gateway",
                prometheus.pods_service(
                    scrapes.gateway_service(watched.lab),
                    {"app": "envoy"},
                    contour.METRICS_PORT,
                ),
                namespace=watched.gateway_namespace,
                opts=pulumi.ResourceOptions(parent=self),
            ),
        ]
        name = f"labfactory-{watched.lab}-prometheus"
        for manifest in prometheus.access(name, self._namespace):
            found.append(
                Manifest(
                    f"{self._name}-{manifest['kind']}",
                    manifest,
                    opts=pulumi.ResourceOptions(parent=self),
                )
            )
        return found

    def _store_token(self, end: int) -> pulumi.Output[str]:
        keys = storage.derived("root", self._seed)
        return keys.apply(lambda found: minio.metrics_token(*found, end=end))

    def _service(
        self, role: str, manifest: dict[str, object], port: int
    ) -> pulumi.Output[str]:
        service = self._parts.add(role, manifest)
        return cluster_ip(service).apply(lambda found: f"http://{found}:{port}")
