"""What a cluster's objects say about services, secrets, images and volumes. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from labfactory.inventory.things import Row

Tree = Mapping[str, Any]
OF_SERVICE = "serving.kserve.io/inferenceservice"
"""Label of what KServe makes for an InferenceService."""
SERVICES = ("name", "kind", "namespace", "ready", "wanted", "address")
SECRETS = ("name", "kind", "namespace", "keys", "made", "used by")
IMAGES = ("image", "version", "reference", "used by")
VOLUMES = ("claim", "namespace", "size", "used", "class", "state", "made")
WORKLOADS = {
    "deployments": ("Deployment", "replicas", "readyReplicas"),
    "statefulsets": ("StatefulSet", "replicas", "readyReplicas"),
    "daemonsets": ("DaemonSet", "desiredNumberScheduled", "numberReady"),
}


def services(found: Mapping[str, Iterable[Tree]]) -> Iterator[Row]:
    """A row for each workload; one for an InferenceService and all that it made."""
    behind: dict[tuple[str, str], int] = defaultdict(int)
    rows = []
    for plural, (kind, wanted, ready) in WORKLOADS.items():
        for each in found[plural]:
            where, name = _where(each)
            spec, status = each.get("spec") or {}, each.get("status") or {}
            up = int(status.get(ready) or 0)
            labels = each["metadata"].get("labels") or {}
            if OF_SERVICE in labels:
                behind[where, labels[OF_SERVICE]] += up
                continue
            said = status.get(wanted) if kind == "DaemonSet" else spec.get(wanted)
            at = address(each, found["services"])
            rows.append((name, kind, where, up, int(said or 0), at))
    for each in found["inferenceservices"]:
        where, name = _where(each)
        predictor = (each.get("spec") or {}).get("predictor") or {}
        url = (each.get("status") or {}).get("url")
        asked = predictor.get("minReplicas")
        wanted_ = 1 if asked is None else int(asked)
        up = behind[where, name]
        rows.append((name, "InferenceService", where, up, wanted_, url))
    yield from sorted(rows, key=lambda row: (row[2], row[1], row[0]))


def address(workload: Tree, services: Iterable[Tree]) -> str | None:
    """`NAME.NAMESPACE:PORT` of the first Service in front of a workload's pods."""
    where, _ = _where(workload)
    template = (workload.get("spec") or {}).get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    for service in services:
        at, name = _where(service)
        spec = service.get("spec") or {}
        selector = spec.get("selector") or {}
        ports = spec.get("ports") or [{}]
        if at == where and selector and selector.items() <= labels.items():
            port = ports[0].get("port")
            return f"{name}.{where}:{port}" if port else f"{name}.{where}"
    return None


def secrets(found: Iterable[Tree], pods: Iterable[tuple[str, str, Tree]]) -> list[Row]:
    """A row for each Secret: its keys' names, never their values, and who uses it.

    `pods` are namespace, name and spec, as of `all_pods`.
    """
    used: dict[tuple[str, str], set[str]] = defaultdict(set)
    for where, name, spec in pods:
        for secret in secrets_of(spec):
            used[where, secret].add(name)
    rows = []
    for each in found:
        where, name = _where(each)
        keys = ", ".join(sorted(each.get("data") or {}))
        kind, made = each.get("type"), each["metadata"].get("creationTimestamp")
        users = ", ".join(sorted(used[where, name]))
        rows.append((name, kind, where, keys, made, users))
    return sorted(rows, key=lambda row: (str(row[2]), str(row[0])))


def secrets_of(spec: Tree) -> set[str]:
    """Names of the Secrets that a pod's spec mentions."""
    names = {each.get("name") for each in spec.get("imagePullSecrets") or ()}
    for volume in spec.get("volumes") or ():
        names.add((volume.get("secret") or {}).get("secretName"))
        for source in (volume.get("projected") or {}).get("sources") or ():
            names.add((source.get("secret") or {}).get("name"))
    for container in containers(spec):
        for source in container.get("envFrom") or ():
            names.add((source.get("secretRef") or {}).get("name"))
        for variable in container.get("env") or ():
            value = variable.get("valueFrom") or {}
            names.add((value.get("secretKeyRef") or {}).get("name"))
    return {name for name in names if name}


def all_pods(found: Mapping[str, Iterable[Tree]]) -> Iterator[tuple[str, str, Tree]]:
    """Namespace, name and spec of every pod, and of those that CronJobs will make."""
    for pod in found["pods"]:
        where, name = _where(pod)
        yield where, _owner(pod) or name, pod.get("spec") or {}
    for cron in found["cronjobs"]:
        where, name = _where(cron)
        spec = cron.get("spec") or {}
        for below in ("jobTemplate", "spec", "template", "spec"):
            spec = spec.get(below) or {}
        yield where, name, spec


def images(
    pods: Iterable[tuple[str, str, Tree]], versions: Mapping[str, str]
) -> list[Row]:
    """A row for each image that a pod runs; `versions` are those known by name."""
    used: dict[str, set[str]] = defaultdict(set)
    for where, name, spec in pods:
        for container in containers(spec):
            if reference := container.get("image"):
                used[reference].add(f"{where}/{name}")
    rows = []
    for reference, users in sorted(used.items()):
        name, tag = named(reference)
        known = versions.get(name) or tag
        rows.append((name, known, reference, ", ".join(sorted(users))))
    return sorted(rows)


def named(reference: str) -> tuple[str, str]:
    """Name and tag, or digest, of an image's reference."""
    last = reference.rpartition("/")[2]
    plain, _, digest = last.partition("@")
    name, _, tag = plain.partition(":")
    return name, tag or digest


def volumes(
    claims: Iterable[Tree], used: Mapping[tuple[str, str], int]
) -> Iterator[Row]:
    """A row for each claim; `used` are bytes by namespace and name, where known."""
    for each in sorted(claims, key=_where):
        where, name = _where(each)
        spec, status = each.get("spec") or {}, each.get("status") or {}
        asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
        size = (status.get("capacity") or {}).get("storage") or asked
        made = each["metadata"].get("creationTimestamp")
        class_, phase = spec.get("storageClassName"), status.get("phase")
        yield name, where, size, used.get((where, name)), class_, phase, made


def containers(spec: Tree) -> Iterator[Tree]:
    """Every container of a pod's spec."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def _owner(pod: Tree) -> str:
    """What made a pod: a Deployment rather than its ReplicaSet; empty when nothing."""
    for owner in pod["metadata"].get("ownerReferences") or ():
        name: str = owner["name"]
        made = (pod["metadata"].get("labels") or {}).get("pod-template-hash")
        return name.removesuffix(f"-{made}") if made else name
    return ""


def _where(found: Tree) -> tuple[str, str]:
    metadata = found["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])
