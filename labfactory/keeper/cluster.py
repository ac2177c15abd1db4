"""Objects of the lab's namespace that no program declares; Secrets are not read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

KINDS = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Service": ("/api/v1", "services"),
    "CronJob": ("/apis/batch/v1", "cronjobs"),
    "Job": ("/apis/batch/v1", "jobs"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "InferenceService": ("/apis/serving.kserve.io/v1beta1", "inferenceservices"),
    "HTTPRoute": ("/apis/gateway.networking.k8s.io/v1", "httproutes"),
}
OURS = ("app.kubernetes.io/managed-by", "labfactory")
EVERYWHERE = "kube-root-ca.crt"
SERVER_SIDE = (
    "uid",
    "resourceVersion",
    "managedFields",
    "creationTimestamp",
    "generation",
    "selfLink",
)
NOT_PUT_BACK = {
    "Job": "it would run again",
    "PersistentVolumeClaim": "what was on it is not in the backup",
}


def here() -> bool:
    """Whether this runs in a pod that may ask the cluster."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def connect() -> Any:
    """The client of Kubernetes for the pod's own account."""
    from kubernetes import client, config

    config.load_incluster_config()
    return client.ApiClient()


def keep(api: Any, namespace: str, folder: Path) -> tuple[list[str], list[str]]:
    """Write each such object below `folder`; return KIND/NAME of them, and notes."""
    from kubernetes.client.exceptions import ApiException

    folder.mkdir(parents=True, exist_ok=True)
    names, notes = [], []
    for kind, (prefix, plural) in KINDS.items():
        try:
            listed = call(api, "GET", f"{prefix}/namespaces/{namespace}/{plural}")
        except ApiException as error:
            if error.status != 404:
                notes.append(f"objects of kind {kind} were not read ({error.reason})")
            continue
        for each in undeclared(listed["items"]):
            name = each["metadata"]["name"]
            version = prefix.removeprefix("/apis/").removeprefix("/api/")
            tree = {"apiVersion": version, "kind": kind, **cleaned(each)}
            text = yaml.safe_dump(tree, sort_keys=False)
            (folder / f"{kind.lower()}-{name}.yaml").write_text(text)
            names.append(f"{kind}/{name}")
    return names, notes


def put_back(api: Any, namespace: str, folder: Path) -> list[str]:
    """Create what `keep` wrote, where it is not there; return what was left out."""
    from kubernetes.client.exceptions import ApiException

    notes = []
    for file in sorted(folder.glob("*.yaml")):
        tree = yaml.safe_load(file.read_text())
        kind, name = tree["kind"], tree["metadata"]["name"]
        if kind in NOT_PUT_BACK:
            notes.append(f"{kind} {name} was not made anew: {NOT_PUT_BACK[kind]}")
            continue
        prefix, plural = KINDS[kind]
        tree["metadata"].pop("namespace", None)
        try:
            path = f"{prefix}/namespaces/{namespace}/{plural}"
            call(api, "POST", path, body=tree)
        except ApiException as error:
            if error.status != 409:
                notes.append(f"{kind} {name} was not made anew ({error.reason})")
    return notes


def undeclared(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those that neither a program nor another object has made."""
    label, value = OURS
    for each in items:
        metadata = each["metadata"]
        ours = (metadata.get("labels") or {}).get(label) == value
        made = ours or metadata.get("ownerReferences")
        if not made and metadata["name"] != EVERYWHERE:
            yield each


def cleaned(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The object without what the cluster adds to it."""
    metadata = {k: v for k, v in tree["metadata"].items() if k not in SERVER_SIDE}
    kept = {k: v for k, v in tree.items() if k not in ("status", "apiVersion", "kind")}
    spec = kept.get("spec")
    if isinstance(spec, dict):
        given = ("clusterIP", "clusterIPs", "volumeName")
        own = spec.get("clusterIP") == "None"
        kept["spec"] = {k: v for k, v in spec.items() if own or k not in given}
    return {**kept, "metadata": metadata}


def call(api: Any, method: str, path: str, body: Any = None) -> Any:
    """What the cluster answers, as a tree. Raises ApiException."""
    return api.call_api(
        path,
        method,
        header_params={
            "Accept": "application/json",
            "Content-Type": "application/json",
        },
        body=body,
        response_types_map={200: "object", 201: "object"},
        auth_settings=["BearerToken"],
        _return_http_data_only=True,
        _request_timeout=30,
    )
