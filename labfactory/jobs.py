"""Run a Kubernetes Job of the lab to its end, and hear what its pods say."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from labfactory import environment
from labfactory.errors import LabError
from labfactory.progress import Step
from model_templates.batch import REFUSED

GONE_SECONDS = 120.0
"""An old Job has so long to go away."""
STUCK_SECONDS = 30.0
"""What keeps a pod from starting may pass within this time."""
LINES = 40
"""The last lines of a pod's log that are read."""
STUCK = frozenset(
    {
        "CreateContainerConfigError",
        "ErrImageNeverPull",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)


class Jobs:
    """Runs Jobs in one lab."""

    def __init__(self, context: str, namespace: str) -> None:
        """Talk to the cluster `context`; Jobs run in `namespace`."""
        api = environment.kubernetes(context)
        self._batch = client.BatchV1Api(api)
        self._core = client.CoreV1Api(api)
        self._namespace = namespace

    def start(self, manifest: dict[str, Any], *, again: bool) -> None:
        """Create a Job, unless it is there; one that has failed is replaced.

        With `again`, one that is complete is replaced too. Raises LabError.
        """
        name = manifest["metadata"]["name"]
        try:
            old = self._batch.read_namespaced_job(name, self._namespace)
        except ApiException as error:
            if error.status != 404:
                raise
        else:
            ended = outcome(old)
            if ended is None or (ended == "Complete" and not again):
                return
            self._batch.delete_namespaced_job(
                name, self._namespace, propagation_policy="Foreground"
            )
            self._wait_until_gone(name)
        self._batch.create_namespaced_job(self._namespace, manifest)

    def follow(
        self,
        name: str,
        step: Step,
        *,
        seconds: float | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> list[str]:
        """Wait for the end of a Job; return the last lines of each of its pods.

        `heard` gets each newest line while it runs. Raises LabError with what the pod
        said last when the Job fails, does not start, or takes more than `seconds`.
        """
        started = time.monotonic()
        waiting_since: float | None = None
        while seconds is None or time.monotonic() - started < seconds:
            job = self._batch.read_namespaced_job(name, self._namespace)
            ended = outcome(job)
            pods = self._pods(name)
            if ended:
                said = [self._log(pod) for pod in pods]
                step.write("\n".join(said) or "its pods are gone")
                if ended == "Failed":
                    failed = [p for p in pods if p.status.phase == "Failed"] or pods
                    raise LabError(self._why(name, failed))
                return said
            if reason := stuck([pod.to_dict() for pod in pods]):
                waiting_since = waiting_since or time.monotonic()
                if time.monotonic() - waiting_since > STUCK_SECONDS:
                    raise LabError(f"job {name!r}: its pod can't start: {reason}")
            else:
                waiting_since = None
            if heard:
                self._hear(pods, heard)
            time.sleep(1)
        raise LabError(
            f"job {name!r} is not done after {seconds:.0f} s; "
            f"`kubectl -n {self._namespace} describe job {name}` says what it waits for"
        )

    def _hear(self, pods: Sequence[Any], heard: Callable[[str], None]) -> None:
        for pod in pods:
            if pod.status.phase == "Running" and (said := self._log(pod, lines=1)):
                heard(said.strip())
            for condition in pod.status.conditions or []:
                if condition.reason == "Unschedulable":
                    heard(f"waits for room on the cluster: {condition.message}")

    def _why(self, name: str, pods: Sequence[Any]) -> str:
        for pod in pods:
            if refusal := refused(pod.to_dict()):
                return refusal
        if not pods:
            return f"job {name!r} failed, and its pods are gone; run it again"
        said = self._log(pods[-1]).strip() or ended_with(pods[-1].to_dict())
        last = "\n".join(f"  {line}" for line in said.splitlines()[-8:])
        return f"job {name!r} failed; its last lines:\n{last}"

    def _wait_until_gone(self, name: str) -> None:
        deadline = time.monotonic() + GONE_SECONDS
        while time.monotonic() < deadline:
            try:
                self._batch.read_namespaced_job(name, self._namespace)
            except ApiException as error:
                if error.status == 404:
                    return
                raise
            time.sleep(1)
        raise LabError(f"job {name!r}: an old one does not go away; try again later")

    def _pods(self, name: str) -> list[Any]:
        """The Job's pods, oldest first."""
        found = self._core.list_namespaced_pod(
            self._namespace, label_selector=f"job-name={name}"
        ).items
        return sorted(found, key=lambda pod: pod.metadata.creation_timestamp)

    def _log(self, pod: Any, *, lines: int = LINES) -> str:
        try:
            # Read raw: what the client decodes is the text of a bytes object, "b'…'".
            answer = self._core.read_namespaced_pod_log(
                pod.metadata.name,
                self._namespace,
                container=pod.spec.containers[0].name,
                tail_lines=lines,
                _preload_content=False,
            )
        except ApiException:
            return ""  # it has not started, or is gone already
        return str(answer.data, "utf-8", "replace")


def outcome(job: Any) -> str | None:
    """`Complete` or `Failed` when a Job has ended, else None."""
    for condition in job.status.conditions or []:
        if condition.status == "True" and condition.type in ("Complete", "Failed"):
            return str(condition.type)
    return None


def stuck(pods: Sequence[dict[str, Any]]) -> str | None:
    """Why one of the pods can't start, or None."""
    for pod in pods:
        for container in _containers(pod):
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in STUCK:
                return f"{waiting['reason']}: {waiting.get('message') or ''}"
    return None


def refused(pod: dict[str, Any]) -> str | None:
    """The sentence of a worker that would refuse again, or None."""
    for container in _containers(pod):
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exit_code") == REFUSED:
            return str(ended.get("message") or "").strip().rpartition("\n")[2]
    return None


def ended_with(pod: dict[str, Any]) -> str:
    """What Kubernetes kept of a pod's first container that ended with an error."""
    for container in _containers(pod):
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exit_code"):
            return str(ended.get("message") or ended.get("reason") or "")
    return "it said nothing"


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    status = pod.get("status") or {}
    return [
        *(status.get("init_container_statuses") or []),
        *(status.get("container_statuses") or []),
    ]
