"""The lab of the live tests: a cluster, a namespace and a state folder of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
from kubernetes import client

from labfactory import embedded, environment, paths
from labfactory.demo.story import Demo
from labfactory.progress import Progress
from labfactory.releases.comparison import compare, compare_logs
from labfactory.stack import Stack
from stacks.schema import EmbeddedCluster

LAB = "labtest"
T = TypeVar("T")


@contextmanager
def fresh_lab() -> Iterator[Demo]:
    """Stand up the live tests' lab from nothing; whatever a killed run left goes.

    With LABFACTORY_KEEP_TEST_LAB set it goes on with the lab that is there, and leaves
    it there, for whoever tries one test again and again.
    """
    keep = "LABFACTORY_KEEP_TEST_LAB" in os.environ
    home = paths.data().with_name(f"{paths.data().name}-test")
    before = dict(os.environ)
    os.environ["LABFACTORY_HOME"] = str(home)
    for name in (
        "PULUMI_BACKEND_URL",
        "PULUMI_HOME",
        "PULUMI_CONFIG_PASSPHRASE",
        "PULUMI_CONFIG_PASSPHRASE_FILE",
        "KUBECONFIG",
    ):
        os.environ.pop(name, None)
    progress = Progress()
    try:
        if not keep:
            embedded.down(LAB, purge=True, progress=progress)
            subprocess.run(["rm", "-rf", str(home / "pulumi")], check=True)
            Stack(LAB).file.unlink(missing_ok=True)
        demo = Demo(LAB, progress)
        yield demo
        if not keep:
            demo.stack.file.unlink(missing_ok=True)
    finally:
        if not keep:
            embedded.down(LAB, purge=True, progress=progress)
        os.environ.clear()
        os.environ.update(before)


def cluster(demo: Demo) -> str:
    """Name of the embedded cluster."""
    found = demo.settings.cluster
    assert isinstance(found, EmbeddedCluster)
    return found.name


def core(demo: Demo) -> client.CoreV1Api:
    return client.CoreV1Api(environment.kubernetes(demo.settings.cluster.context))


def pods(demo: Demo, namespace: str | None = None) -> list[Any]:
    """The lab's running pods, or those of another namespace."""
    found = core(demo).list_namespaced_pod(namespace or demo.settings.name).items
    return [
        pod
        for pod in found
        if pod.status.phase not in ("Succeeded", "Failed")
        and pod.metadata.deletion_timestamp is None
    ]


def ready(pod: Any) -> bool:
    conditions = pod.status.conditions or []
    return any(c.type == "Ready" and c.status == "True" for c in conditions)


def eventually(what: str, check: Callable[[], T], *, within: float = 90) -> T:
    """Return the first truthy answer of `check`; fail with its last one."""
    deadline = time.monotonic() + within
    last: object = None
    while time.monotonic() < deadline:
        try:
            if answer := check():
                return answer
            last = answer
        except Exception as error:
            last = error
        time.sleep(0.5)
    raise AssertionError(f"not within {within:.0f} s: {what}; last: {last!r}")


def post(demo: Demo, release: str, body: object) -> httpx.Response:
    return httpx.post(
        f"{demo.outputs['gateway_url']}/v1/models/{release}:predict",
        headers={"Host": demo.outputs["model_hosts"][release]},
        json=body,
        timeout=10,
    )


def pulumi(demo: Demo, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Plain pulumi, as after `eval "$(./lab env)"`."""
    return subprocess.run(
        ["pulumi", *arguments, "--non-interactive"],
        cwd=paths.PROJECT,
        env={**os.environ, **environment.variables()},
        capture_output=True,
        text=True,
        check=False,
    )


def unwatched(tree: dict[str, Any], release: str) -> dict[str, Any]:
    """The settings with the guard off for a release, whose route is the test's."""
    tree["releases"][release]["guard"] = {"mode": "off"}
    return tree


def compared(demo: Demo, release: str) -> dict[str, compare.Figures]:
    """Each variant's figures of the last hour, by its name."""
    until = datetime.now(UTC)
    since = until - timedelta(hours=1)
    settings, logs = compare_logs.of_release(demo.stack.name, release, since, until)
    found = compare.join(logs, settings, release, since=since, until=until)
    return {each.variant: each for each in found.variants}
