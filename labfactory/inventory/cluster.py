"""A cluster's objects as the JSON that its API answers with."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from labfactory import environment
from labfactory.errors import LabError

Tree = Mapping[str, Any]
KINDS = {
    "pods": "api/v1",
    "services": "api/v1",
    "secrets": "api/v1",
    "persistentvolumeclaims": "api/v1",
    "deployments": "apis/apps/v1",
    "statefulsets": "apis/apps/v1",
    "daemonsets": "apis/apps/v1",
    "cronjobs": "apis/batch/v1",
    "inferenceservices": "apis/serving.kserve.io/v1beta1",
}
"""What the inventory asks for, and where the API has it."""
SECONDS = 10
PAGE = 500
PUBLIC = ("tls.crt", "ca.crt")
"""Keys of a Secret whose values are for everybody: certificates."""


class Absent(LabError):
    """The cluster does not have what was asked for."""


class Cluster:
    """Reads objects of some namespaces; every method raises LabError."""

    def __init__(self, context: str, namespaces: Sequence[str]) -> None:
        """Nothing is asked yet; LabError when no kubeconfig has the context."""
        self.context = context
        self.namespaces = tuple(namespaces)
        self._api = environment.kubernetes(context)
        # One answer is enough, and each further try would print a warning.
        self._api.rest_client.pool_manager.connection_pool_kw["retries"] = False
        self._known: dict[str, list[Tree]] = {}
        self._away: LabError | None = None

    def all(self, kind: str) -> list[Tree]:
        """Every object of one of `KINDS` in the namespaces; asked once.

        Of a Secret nothing is kept but its certificates and the names of its keys.
        """
        if kind not in self._known:
            forget = without_values if kind == "secrets" else _as_it_is
            self._known[kind] = [
                forget(each)
                for namespace in self.namespaces
                for each in self._items(
                    f"/{KINDS[kind]}/namespaces/{quote(namespace)}/{kind}"
                )
            ]
        return self._known[kind]

    def values(self, namespace: str, secret: str) -> dict[str, str]:
        """The values of one Secret; for talking to what it opens, never for showing."""
        found = self.get(f"/api/v1/namespaces/{namespace}/secrets/{secret}")
        data: Tree = found.get("data") or {}
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def volume_use(self) -> dict[tuple[str, str], int]:
        """Bytes used of each claim, by namespace and name, where that is measured."""
        used: dict[tuple[str, str], int] = {}
        for node in self._items("/api/v1/nodes"):
            name = quote(node["metadata"]["name"])
            stats = self.get(f"/api/v1/nodes/{name}/proxy/stats/summary")
            for pod in stats.get("pods") or ():
                for volume in pod.get("volume") or ():
                    if "pvcRef" in volume and "usedBytes" in volume:
                        claim = volume["pvcRef"]
                        key = claim["namespace"], claim["name"]
                        used[key] = int(volume["usedBytes"])
        return used

    def get(self, path: str) -> Tree:
        """The JSON at a path of the API."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        if self._away:
            raise self._away  # and not wait for it once for each kind
        try:
            answer = self._api.call_api(
                path,
                "GET",
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
                response_types_map={},
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=SECONDS,
            )
            found: Tree = json.loads(answer.data)
        except ApiException as error:
            kind = Absent if error.status == 404 else LabError
            raise kind(
                f"cluster {self.context!r}: {path} can't be read ({error.status} "
                f"{error.reason}); `kubectl auth can-i --list` says what you may read"
            ) from None
        except (HTTPError, OSError, ValueError) as error:
            self._away = LabError(
                f"cluster {self.context!r}: no answer to {path} "
                f"({type(error).__name__}); is it up? `lab up` starts the lab's own"
            )
            raise self._away from None
        return found

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def _items(self, path: str) -> list[Tree]:
        found: list[Tree] = []
        further = ""
        while True:
            try:
                page = self.get(f"{path}?limit={PAGE}{further}")
            except Absent:  # a cluster without KServe has none of its objects
                return found
            found += page.get("items") or ()
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return found
            further = f"&continue={quote(token)}"


def without_values(secret: Tree) -> Tree:
    """A Secret with the names of its keys, and the values of certificates alone."""
    data = secret.get("data") or {}
    metadata = secret.get("metadata") or {}
    return {
        "type": secret.get("type") or "Opaque",
        "metadata": {
            key: metadata.get(key) for key in ("name", "namespace", "creationTimestamp")
        },
        "data": {key: value if key in PUBLIC else "" for key, value in data.items()},
    }


def _as_it_is(found: Tree) -> Tree:
    return found
