"""Which models a lab serves: what the cluster knows, so that no edit of a release has
to touch the keeper."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from labfactory.keeper import cluster
from labfactory.keeper.settings import Model

SETTINGS = "labfactory.io/settings"
"""Annotation of a route: settings of its release."""
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes"


def found(api: Any, namespace: str) -> tuple[dict[str, Model], list[str]]:
    """The models that the routes of a namespace lead to, by RELEASE/VARIANT; and notes.

    A backup does not fail because the cluster does not tell.
    """
    from kubernetes.client.exceptions import ApiException

    try:
        listed = cluster.call(api, "GET", ROUTES.format(namespace))
    except ApiException as error:
        return {}, [f"releases were not read ({error.reason})"]
    return models(listed["items"], namespace), []


def models(routes: Iterable[Mapping[str, Any]], namespace: str) -> dict[str, Model]:
    """The models that are served from artifacts in the lab's store. Pure."""
    there = {}
    for route in routes:
        release = route["metadata"]["name"]
        text = (route["metadata"].get("annotations") or {}).get(SETTINGS)
        variants = json.loads(text)["variants"] if text else {}
        for name, variant in variants.items():
            if variant.get("artifact"):
                host = f"{release}-{name}-predictor.{namespace}.svc"
                there[f"{release}/{name}"] = Model(
                    variant["artifact"],
                    variant["digest"],
                    f"http://{host}/v1/models/{release}:predict",
                )
    return there
