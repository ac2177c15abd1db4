"""Released models: one service per variant, one route per release."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pulumi

import model_templates
from components.manifest import Manifest, Parts
from components.platform import Gateway
from components.storage import S3Access
from stacks.schema import ReleaseConfig

ACCOUNT = "models"
"""ServiceAccount of the predictors; its Secret opens the store to them."""
PATIENCE = pulumi.CustomTimeouts(create="3m", update="3m")
"""A model that is not there by then will not come."""


class Serving(pulumi.ComponentResource):
    """The lab's releases; none of them shares anything that an edit could change."""

    hosts: dict[str, str]
    """Host name of each release."""

    def __init__(
        self,
        name: str,
        config: Mapping[str, ReleaseConfig],
        *,
        lab: str,
        namespace: pulumi.Input[str],
        image: str,
        store: S3Access,
        gateway: Gateway,
        ready: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the releases of the lab `lab`.

        `image` runs the models; the first one needs what is in `ready`, and a store.
        """
        super().__init__("labfactory:components:Serving", name, {}, opts)
        self._add = Parts(self, name, namespace).add
        account = self._add("account", service_account(store.secret))
        runtimes = self._runtimes(config.values(), image, [account, *ready])
        for release, settings in config.items():
            services = self._services(release, settings, runtimes[settings.template])
            route = model_templates.http_route(
                release,
                settings,
                lab=lab,
                gateway=f"{gateway.namespace}/{gateway.name}",
            )
            # A variant gets requests once it can answer them; one that is taken out
            # of the settings is deleted last, when it gets none any more.
            self._add(f"route-{release}", route, after=[*services, *gateway.ready])
        self.hosts = {release: model_templates.host(release, lab) for release in config}
        self.register_outputs({"hosts": self.hosts})

    def _runtimes(
        self,
        releases: Collection[ReleaseConfig],
        image: str,
        after: Sequence[pulumi.Resource],
    ) -> dict[str, tuple[str, Manifest]]:
        """Declare a runtime for each template in use; return names and objects."""
        found = {}
        for template in sorted({release.template for release in releases}):
            runtime = model_templates.serving_runtime(
                model_templates.load(template), image=image
            )
            name = runtime["metadata"]["name"]
            found[template] = name, self._add(f"runtime-{name}", runtime, after=after)
        return found

    def _services(
        self, release: str, settings: ReleaseConfig, runtime: tuple[str, Manifest]
    ) -> list[Manifest]:
        """Declare a service for each variant of a release."""
        template = model_templates.load(settings.template)
        found = []
        for variant, config in settings.variants.items():
            service = model_templates.inference_service(
                release,
                settings,
                variant,
                config,
                template,
                runtime=runtime[0],
                service_account=ACCOUNT,
            )
            role = f"service-{release}-{variant}"
            found.append(
                self._add(role, service, after=[runtime[1]], patience=PATIENCE)
            )
        return found


def model_buckets(releases: Mapping[str, ReleaseConfig]) -> set[str]:
    """The buckets that hold the models of `releases`."""
    return {
        urlsplit(variant.artifact).netloc
        for release in releases.values()
        for variant in release.variants.values()
    }


def service_account(secret: pulumi.Input[str]) -> dict[str, Any]:
    """The account through which KServe finds the store's keys for a predictor."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": ACCOUNT},
        "automountServiceAccountToken": False,
        "secrets": [{"name": secret}],
    }
