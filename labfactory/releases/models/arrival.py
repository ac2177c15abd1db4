"""Watch a release arrive, and say early, in the pod's own words, why it does not."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from labfactory import environment
from labfactory.releases.routes import is_ready

PATIENCE_SECONDS = 15.0
"""A reason must stand this long: the first try of a pod may fail and the next pass."""

STUCK = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)


class Arrivals:
    """Tells which of the lab's wanted variants cannot come up."""

    def __init__(self, context: str, namespace: str, wanted: Iterable[str]) -> None:
        """Watch the InferenceServices `wanted` in `namespace` of `context`."""
        api = environment.kubernetes(context)
        self._custom = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._namespace = namespace
        self._wanted = frozenset(wanted)
        self._since: dict[str, float] = {}

    def failure(self) -> str | None:
        """A sentence about a variant that will not come up, or None."""
        try:
            services = self._custom.list_namespaced_custom_object(
                "serving.kserve.io",
                "v1beta1",
                self._namespace,
                "inferenceservices",
                _request_timeout=5,
            )["items"]
            pods = self._core.list_namespaced_pod(
                self._namespace,
                label_selector="serving.kserve.io/inferenceservice",
                _request_timeout=5,
            ).to_dict()["items"]
        except (ApiException, HTTPError):
            return None  # the API server is busy or not there yet; Pulumi says so
        for service in services:
            name = service["metadata"]["name"]
            if name not in self._wanted or is_ready(service):
                self._since.pop(name, None)
                continue
            own = [
                pod
                for pod in pods
                if pod["metadata"]["labels"]["serving.kserve.io/inferenceservice"]
                == name
            ]
            reason = why_not(service, own)
            if reason is None:
                self._since.pop(name, None)
                continue
            first = self._since.setdefault(name, time.monotonic())
            if time.monotonic() - first >= PATIENCE_SECONDS:
                return (
                    f"variant {name!r} does not come up: {reason}. What was serving "
                    f"before still is; correct its settings and run `lab up` again"
                )
        return None


def why_not(
    service: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]
) -> str | None:
    """The reason an InferenceService is stuck, from its status or its pods."""
    status = service.get("status", {})
    info = status.get("modelStatus", {}).get("lastFailureInfo", {})
    if message := info.get("message"):
        return last_line(message)
    for pod in pods:
        own = pod.get("status") or {}
        for container in [
            *(own.get("init_container_statuses") or []),
            *(own.get("container_statuses") or []),
        ]:
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in STUCK:
                ended = (container.get("last_state") or {}).get("terminated") or {}
                said = ended.get("message") or waiting.get("message") or ""
                return f"{waiting['reason']}: {last_line(said)}"
    for condition in status.get("conditions", []):
        if condition["status"] == "False" and condition.get("reason") in (
            "InvalidSpec",
            "RevisionFailed",
            "RuntimeNotRecognized",
            "NoSupportingRuntime",
        ):
            return f"{condition['reason']}: {condition.get('message', '')}"
    return None


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no further message"
