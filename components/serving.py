"""Released models: one service per variant, one route per release."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import pulumi

import model_templates
from components import objects
from components.manifest import Manifest, Parts
from components.platform import Gateway
from components.storage import S3Access
from stacks.schema import EXTERNAL_KEY, ReleaseConfig

ACCOUNT = "models"
"""ServiceAccount of the predictors; its Secret opens the store to them."""
PATIENCE = pulumi.CustomTimeouts(create="3m", update="3m")
"""A model that is not there by then will not come."""


class Serving(pulumi.ComponentResource):
    """The lab's releases; none of them shares anything that an edit could change."""

    hosts: dict[str, str]
    """Host name of each release."""
    urls: dict[str, pulumi.Output[str]]
    """Where each release predicts, for requests with its host name."""

    def __init__(
        self,
        name: str,
        config: Mapping[str, ReleaseConfig],
        *,
        lab: str,
        owner: str,
        namespace: pulumi.Input[str],
        image: Callable[[str], str],
        store: Mapping[str, S3Access],
        secret: Callable[[str], pulumi.Output[str]],
        gateway: Gateway,
        ready: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the releases of the lab `lab` of the team `owner`.

        The first model needs what is in `ready`, and a `store` of artifacts
        (`serving`), of predictions and for `batch` where the lab keeps any. `secret`
        answers with the keys of external endpoints.
        """
        super().__init__("labfactory:components:Serving", name, {}, opts)
        self._add = Parts(self, name, namespace).add
        account = self._add("account", service_account(store["serving"].secret))
        needed = [account, *ready, *self._keys(config.values(), secret)]
        logs = "predictions" in store
        runtimes = self._runtimes(config.values(), image("lab"), logs, needed)
        external = partial(
            model_templates.external_service, image=image("lab"), logs=logs
        )
        for release, settings in config.items():
            runtime = runtimes[settings.template]
            services = self._services(release, settings, runtime, external)
            route = model_templates.http_route(
                release,
                settings,
                lab=lab,
                gateway=f"{gateway.namespace}/{gateway.name}",
            )
            # A variant gets requests once it can answer them; one that is taken out
            # of the settings is deleted last, when it gets none any more.
            self._add(f"route-{release}", route, after=[*services, *gateway.ready])
            if settings.batch:
                batch = model_templates.batch_cron_job(
                    release, settings, image=image("lab"), owner=owner
                )
                self._add(f"batch-{release}", batch, after=needed)
        self.hosts = {release: model_templates.host(release, lab) for release in config}
        self.urls = {
            release: pulumi.Output.concat(gateway.url, f"/v1/models/{release}:predict")
            for release in config
        }
        self.register_outputs({"hosts": self.hosts})

    def _keys(
        self,
        releases: Collection[ReleaseConfig],
        secret: Callable[[str], pulumi.Output[str]],
    ) -> list[Manifest]:
        """Declare a Secret for each key of an external endpoint."""
        keys = {
            variant.external.key
            for release in releases
            for variant in release.variants.values()
            if variant.external and variant.external.key
        }
        return [
            self._add(
                f"external-{key}", external_secret(key, secret(f"{EXTERNAL_KEY}{key}"))
            )
            for key in sorted(keys)
        ]

    def _runtimes(
        self,
        releases: Collection[ReleaseConfig],
        image: str,
        logs: bool,
        after: Sequence[pulumi.Resource],
    ) -> dict[str, tuple[str, Manifest]]:
        """Declare a runtime for each template in use; return names and objects."""
        found = {}
        for template in sorted({release.template for release in releases}):
            runtime = model_templates.serving_runtime(
                model_templates.load(template), image=image, logs=logs
            )
            name = runtime["metadata"]["name"]
            found[template] = name, self._add(f"runtime-{name}", runtime, after=after)
        return found

    def _services(
        self,
        release: str,
        settings: ReleaseConfig,
        runtime: tuple[str, Manifest],
        external: Callable[..., dict[str, Any]],
    ) -> list[Manifest]:
        """Declare a service for each variant of a release."""
        found = []
        for variant, config in settings.variants.items():
            if config.external:
                service = external(release, settings, variant)
            else:
                service = model_templates.inference_service(
                    release,
                    settings,
                    variant,
                    runtime=runtime[0],
                    service_account=ACCOUNT,
                )
            role = f"service-{release}-{variant}"
            found.append(
                self._add(role, service, after=[runtime[1]], patience=PATIENCE)
            )
        return found


def external_secret(key: str, value: pulumi.Output[str]) -> dict[str, Any]:
    """The Secret with the key of an external endpoint."""
    return objects.secret(model_templates.external_secret(key), {"key": value})


def service_account(secret: pulumi.Input[str]) -> dict[str, Any]:
    """The account through which KServe finds the store's keys for a predictor."""
    return objects.service_account(ACCOUNT, secrets=[{"name": secret}])
