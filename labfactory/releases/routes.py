"""The routes that are live in a lab's cluster, and the verdicts they carry.

A rollback patches the route and says in the same write why: whatever happens to the
machine that did it, the reason is where the bad variant lost its requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import httpx2
from lightkube import Client, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.types import PatchType

from labfactory.errors import LabError
from model_templates.routes import RELEASE, service_name

VERDICT = "labfactory.io/verdict"
"""Annotation of a route that was turned back before the settings say so."""
REJECTED = "labfactory.io/rejected"
"""Annotation with the Services that such a route may not send requests to."""
PROGRESS = "labfactory.io/progress"
"""Annotation of a route whose candidate was given more before the settings say so."""
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


@dataclass(frozen=True)
class Progress:
    """A candidate that was given more requests: which, how many, when, why."""

    variant: str
    traffic: int
    """Per cent of the requests."""
    at: str
    """Time, as ISO 8601 in UTC."""
    because: str

    def written(self) -> str:
        """The progress as the annotation's text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, text: str) -> Progress:
        """The progress in an annotation's text."""
        return cls(**json.loads(text))


def progress_on(routes: Mapping[str, Mapping[str, Any]]) -> dict[str, Progress]:
    """What the guard has promoted on live routes, by release."""
    found = {}
    for release, route in routes.items():
        text = (route["metadata"].get("annotations") or {}).get(PROGRESS)
        if text:
            found[release] = Progress.read(text)
    return found


def verdicts_on(routes: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """The verdicts that live routes carry, the oldest of each route first."""
    return [verdict for route in routes.values() for verdict in _verdicts(route)]


def _verdicts(route: Mapping[str, Any]) -> list[Verdict]:
    text = (route["metadata"].get("annotations") or {}).get(VERDICT)
    return [
        Verdict(**{**found, "rejected": tuple(found["rejected"])})
        for found in (json.loads(text) if text else ())
    ]


def is_ready(service: Mapping[str, Any]) -> bool:
    """Whether an InferenceService serves."""
    conditions = (service.get("status") or {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


class Changed(LabError):
    """A route was changed by somebody else meanwhile."""


def connect(context: str, namespace: str) -> Routes:
    """The routes of the lab in `namespace` of the kubeconfig's cluster `context`."""
    from labfactory import environment

    where = f"cluster {context!r}, namespace {namespace!r}"
    return Routes(environment.cluster(context, namespace), where)


def connect_in_pod(namespace: str) -> Routes:
    """The routes of the lab in `namespace`, for a pod with an account of its own."""
    config = KubeConfig.from_service_account()
    client = Client(config, namespace, lazy=False, trust_env=False)
    return Routes(client, f"namespace {namespace!r}")


class Routes:
    """The HTTPRoutes of one lab; to be used in a `with` block."""

    def __init__(self, cluster: Client, where: str) -> None:
        """Talk through `cluster`, whose namespace is the lab's, about `where`."""
        self._where = where
        self._cluster = cluster

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
        """Give the route other rules and the reason, in one write.

        What it carries already stays: a verdict is never lost to a later one.
        """

        def annotations(route: Mapping[str, Any]) -> dict[str, str | None]:
            found = [*_verdicts(route), verdict]
            rejected = dict.fromkeys(name for each in found for name in each.rejected)
            services = [f"{service_name(release, name)}-predictor" for name in rejected]
            return {
                VERDICT: json.dumps([asdict(each) for each in found]),
                REJECTED: ",".join(services),
                PROGRESS: None,
            }

        self._change(release, rules, annotations)

    def advance(
        self, release: str, rules: list[dict[str, Any]], progress: Progress
    ) -> None:
        """Give a candidate more requests, and say why, in one write.

        Raises Changed when it was taken back meanwhile.
        """

        def annotations(route: Mapping[str, Any]) -> dict[str, str | None]:
            if any(progress.variant in found.rejected for found in _verdicts(route)):
                raise Changed(
                    f"release {release!r}: {progress.variant} was taken back meanwhile"
                )
            return {PROGRESS: progress.written()}

        self._change(release, rules, annotations)

    def clear(self, release: str, seen: Mapping[str, Any]) -> None:
        """Take off what the route `seen` carries: the settings have it.

        Raises Changed when something was written since.
        """
        metadata = {
            "resourceVersion": seen["metadata"]["resourceVersion"],
            "annotations": dict.fromkeys((VERDICT, REJECTED, PROGRESS)),
        }
        self._patch(release, {"metadata": metadata})

    def _change(
        self,
        release: str,
        rules: list[dict[str, Any]],
        annotations: Callable[[Mapping[str, Any]], Mapping[str, str | None]],
    ) -> None:
        """Write rules and annotations, which follow from the route, at once."""
        for tries_left in (2, 1, 0):
            route = self._get(release)
            metadata = {
                "resourceVersion": route["metadata"]["resourceVersion"],
                "annotations": annotations(route),
            }
            try:
                self._patch(release, {"metadata": metadata, "spec": {"rules": rules}})
            except Changed:
                if not tries_left:
                    raise
            else:
                return

    def _patch(self, release: str, body: dict[str, Any]) -> None:
        try:
            self._cluster.patch(
                HTTPRoute,
                release,
                body,
                patch_type=PatchType.MERGE,
                field_manager="labfactory",
            )
        except httpx2.HTTPStatusError as error:
            raise self._refused(release, error.response) from None
        except httpx2.HTTPError as error:
            raise self._silent(error) from None

    def _get(self, release: str) -> Mapping[str, Any]:
        try:
            return dict(self._cluster.get(HTTPRoute, release))
        except httpx2.HTTPStatusError as error:
            raise self._refused(release, error.response) from None
        except httpx2.HTTPError as error:
            raise self._silent(error) from None

    def _refused(self, release: str, answer: httpx2.Response) -> LabError:
        where = f"release {release!r}: "
        match answer.status_code:
            case 404:
                return LabError(
                    f"{where}it has no route in {self._where}; `lab up` makes it"
                )
            case 409:
                return Changed(
                    f"{where}somebody else changes its route in {self._where} at the "
                    "same time; try again"
                )
        said = _message(answer)
        return LabError(
            f"{where}{self._where} refuses to change its route "
            f"({answer.status_code}{said}); may you edit httproutes there?"
        )

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


def _message(answer: httpx2.Response) -> str:
    """What Kubernetes says about a refusal, behind a colon; empty when it is silent."""
    try:
        return f": {answer.json()['message']}"
    except (KeyError, TypeError, ValueError):
        return ""
