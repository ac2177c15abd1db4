"""The routes that are live in a lab's cluster, and the verdicts they carry.

A rollback patches the route and says in the same write why: whatever happens to the
machine that did it, the reason is where the bad variant lost its requests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import httpx2
from lightkube.generic_resource import create_namespaced_resource
from lightkube.types import PatchType

from labfactory import environment
from labfactory.errors import LabError
from model_templates.routes import RELEASE

VERDICT = "labfactory.io/verdict"
"""Annotation of a route that was turned back before the settings say so."""
HTTPRoute = create_namespaced_resource(
    "gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"
)
InferenceService = create_namespaced_resource(
    "serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices"
)


@dataclass(frozen=True)
class Verdict:
    """Variants that were taken back: which, why, by whom, when."""

    release: str
    rejected: tuple[str, ...]
    because: str
    by: str
    at: str
    """Time, as ISO 8601 in UTC."""
    evidence: Mapping[str, str] = field(default_factory=dict)

    def written(self) -> str:
        """The verdict as the annotation's text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, text: str) -> Verdict:
        """The verdict in an annotation's text."""
        found = json.loads(text)
        return cls(**{**found, "rejected": tuple(found["rejected"])})


def verdicts_on(routes: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """The verdicts that live routes carry."""
    texts = [
        (route["metadata"].get("annotations") or {}).get(VERDICT)
        for route in routes.values()
    ]
    return [Verdict.read(text) for text in texts if text]


def is_ready(service: Mapping[str, Any]) -> bool:
    """Whether an InferenceService serves."""
    conditions = (service.get("status") or {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


class Routes:
    """The HTTPRoutes of one lab; to be used in a `with` block."""

    def __init__(self, context: str, namespace: str) -> None:
        """Talk to the cluster `context` about the lab in `namespace`."""
        self._where = f"cluster {context!r}, namespace {namespace!r}"
        self._cluster = environment.cluster(context, namespace)

    def __enter__(self) -> Self:
        """Keep the connection for as long as the block lasts."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._cluster.close()

    def live(self) -> dict[str, Mapping[str, Any]]:
        """Each release's route as it is now; empty where there is no lab yet."""
        found = {}
        for route in self._all(HTTPRoute):
            release = (route["metadata"].get("labels") or {}).get(RELEASE)
            if release:
                found[release] = route
        return found

    def verdicts(self) -> list[Verdict]:
        """What was taken back and may not be in the settings yet."""
        return verdicts_on(self.live())

    def ready(self) -> dict[str, bool]:
        """Whether each InferenceService of the lab can answer."""
        return {
            service["metadata"]["name"]: is_ready(service)
            for service in self._all(InferenceService)
        }

    def turn(self, release: str, rules: list[dict[str, Any]], verdict: Verdict) -> None:
        """Give the route other rules and the reason, in one write."""
        annotations = {VERDICT: verdict.written()}
        body = {"metadata": {"annotations": annotations}, "spec": {"rules": rules}}
        self._patch(release, body)

    def clear(self, release: str) -> None:
        """Take the verdict off: the settings have it."""
        self._patch(release, {"metadata": {"annotations": {VERDICT: None}}})

    def _patch(self, release: str, body: Mapping[str, Any]) -> None:
        try:
            self._cluster.patch(
                HTTPRoute,
                release,
                body,
                patch_type=PatchType.MERGE,
                field_manager="labfactory",
            )
        except httpx2.HTTPStatusError as error:
            if error.response.status_code == 404:
                raise LabError(
                    f"release {release!r}: it has no route in {self._where}; "
                    "`lab up` makes it"
                ) from None
            raise LabError(
                f"release {release!r}: {self._where} refuses to change its route "
                f"({error.response.status_code}); may you edit httproutes there?"
            ) from None
        except httpx2.HTTPError as error:
            raise self._silent(error) from None

    def _all(self, kind: Any) -> list[Mapping[str, Any]]:
        try:
            return [dict(each) for each in self._cluster.list(kind)]
        except httpx2.HTTPStatusError as error:
            if error.response.status_code == 404:
                return []
            raise LabError(
                f"{self._where}: it refuses to list {kind.__name__} objects "
                f"({error.response.status_code}); may you list them there?"
            ) from None
        except httpx2.HTTPError as error:
            raise self._silent(error) from None

    def _silent(self, error: Exception) -> LabError:
        return LabError(
            f"{self._where}: it does not answer ({type(error).__name__}); does it "
            "run? `lab up` starts an embedded one"
        )
