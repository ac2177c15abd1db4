"""What became of backups and drills, in the ConfigMap `keeper` of the namespace."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labfactory.errors import LabError
from labfactory.keeper import cluster

NAME = "keeper"
MOST = 50
TRIES = 5


def record(key: str, entry: Mapping[str, Any], namespace: str) -> None:
    """Print `entry`, and append it to the list `key`. Raises LabError.

    Without a cluster it is printed alone.
    """
    print(json.dumps(entry), flush=True)
    _write(key, lambda text: appended(text, entry), namespace)


def replace(key: str, entry: Mapping[str, Any], namespace: str) -> None:
    """Let `key` say `entry` alone, where there is a cluster. Raises LabError."""
    text = json.dumps(entry, default=str)
    _write(key, lambda _: text, namespace)


def begin(key: str, entries: Sequence[Mapping[str, Any]], namespace: str) -> None:
    """Let the list `key` begin with `entries`, where nothing is in it yet.

    Raises LabError.
    """
    _write(key, lambda text: text or json.dumps([*entries][-MOST:]), namespace)


def _write(key: str, change: Callable[[str | None], str], namespace: str) -> None:
    if not cluster.here():
        return
    from kubernetes import client
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    core = client.CoreV1Api(cluster.connect())
    try:
        for _ in range(TRIES):
            found = core.read_namespaced_config_map(NAME, namespace)
            text = change((found.data or {}).get(key))
            version = found.metadata.resource_version
            body = {"metadata": {"resourceVersion": version}, "data": {key: text}}
            try:
                core.patch_namespaced_config_map(NAME, namespace, body)
                return
            except ApiException as error:
                if error.status != 409:
                    raise
        raise LabError(_unwritten(key, "others write it all the time"))
    except (ApiException, HTTPError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise LabError(_unwritten(key, str(reason))) from None


def appended(text: str | None, entry: Mapping[str, Any]) -> str:
    """The list with one more entry, without its oldest when it is long enough.

    One that can't be read begins anew.
    """
    try:
        before = json.loads(text or "[]")
    except ValueError:
        before = []
    if not isinstance(before, list):
        before = []
    return json.dumps([*before, entry][-MOST:])


def _unwritten(key: str, why: str) -> str:
    return (
        f"ConfigMap {NAME!r}: {key} can't be written ({why}); what was done is done, "
        "but the lab does not know of it: run `lab up`, which says who may write it"
    )
