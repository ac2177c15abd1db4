"""Ask a lab's cluster, registry and store for everything that the lab has.

Whatever does not answer is a sentence in its section, and the rest is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any

from labfactory.errors import LabError
from labfactory.inventory import certificates, objects, promised, store
from labfactory.inventory.cluster import Cluster, Tree
from labfactory.inventory.promised import Registered
from labfactory.inventory.registry import registered
from labfactory.inventory.things import Inventory, Row, Section, section
from labfactory.stack import Stack
from stacks.schema import EmbeddedCluster, LabConfig, OwnPlatform

BACKUPS = ("taken", "ok", "bytes", "objects", "rows", "seconds", "snapshot", "error")
DRILLS = ("ran", "ok", "equal", "rpo seconds", "rto seconds", "snapshot", "problems")
PLATFORM = ("projectcontour", "kserve")
NODE = ("kube-system", "local-path-storage")
FROM_CLUSTER = {
    "data sets": store.COLUMNS,
    "services": objects.SERVICES,
    "secrets": objects.SECRETS,
    "certificates": certificates.COLUMNS,
    "images": objects.IMAGES,
    "volumes": objects.VOLUMES,
}
"""Sections that need the cluster, with their columns."""


def inventory(lab: str, *, now: datetime) -> Inventory:
    """Everything that the lab has at `now`; raises SettingsError, and LabError without
    a stack file."""
    stack = Stack(lab)
    settings = stack.settings
    outputs, unknown = _outputs(stack)
    try:
        with closing(Cluster(settings.cluster.context, namespaces(settings))) as found:
            seen = _from_cluster(found, settings, outputs, now)
    except LabError as error:  # no kubeconfig has the lab's cluster
        seen = {
            name: Section(name, columns, unknown=(str(error),))
            for name, columns in FROM_CLUSTER.items()
        }
    declared = {
        "secrets": promised.stack_secrets(_config(stack)),
        "certificates": [certificates.credentials(settings, now)],
    }
    for name, rows in declared.items():
        seen[name] = replace(seen[name], rows=(*rows, *seen[name].rows))
    sections = [
        _models(settings, outputs, unknown),
        *seen.values(),
        section(
            "backups", BACKUPS, lambda: backups(_entries(settings, of_drills=False))
        ),
        section("drills", DRILLS, lambda: drills(_entries(settings, of_drills=True))),
        Section("agreements", promised.AGREEMENTS, (*promised.agreements(settings),)),
    ]
    return Inventory(lab, now, tuple(sections))


def namespaces(lab: LabConfig) -> tuple[str, ...]:
    """Where what the lab has lies: its own namespaces, and those of what it brings."""
    found = [*own(lab)]
    if isinstance(lab.platform, OwnPlatform):
        found += PLATFORM
    if isinstance(lab.cluster, EmbeddedCluster):
        found += NODE
    return tuple(found)


def own(lab: LabConfig) -> tuple[str, ...]:
    """The lab's own namespaces."""
    return lab.name, f"{lab.name}-backups", f"{lab.name}-drill"


def backups(found: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """A row for each entry about a backup, the newest first."""
    for each in reversed(found):
        yield (
            *(each.get("consistent_at") or each.get("started"), each.get("ok")),
            *(each.get("bytes"), each.get("objects"), each.get("rows")),
            *(each.get("seconds"), each.get("snapshot"), each.get("error")),
        )


def drills(found: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """A row for each entry about a drill, the newest first."""
    for each in reversed(found):
        yield (
            *(each.get("started"), each.get("ok"), each.get("equal")),
            *(each.get("rpo_seconds"), each.get("rto_seconds"), each.get("snapshot")),
            "; ".join(map(str, each.get("problems") or ())),
        )


def _from_cluster(
    cluster: Cluster,
    settings: LabConfig,
    outputs: Mapping[str, Any],
    now: datetime,
) -> dict[str, Section]:
    mine = own(settings)
    buckets = [b for b in settings.storage.buckets if b != settings.tracking.bucket]

    def of_kinds(*kinds: str) -> dict[str, list[Tree]]:
        return {kind: cluster.all(kind) for kind in kinds}

    def in_lab(kind: str) -> list[Tree]:
        found = cluster.all(kind)
        return [each for each in found if each["metadata"].get("namespace") in mine]

    def pods() -> list[tuple[str, str, Tree]]:
        return [*objects.all_pods(of_kinds("pods", "cronjobs"))]

    def data_sets() -> Iterator[Row]:
        url = outputs.get("storage_url")
        if not url:
            raise LabError("the store's address is not known: the lab was never up")
        return store.data_sets(cluster, settings.name, url, buckets)

    asked: dict[str, Callable[[], Iterable[Row]]] = {
        "data sets": data_sets,
        "services": lambda: objects.services(
            of_kinds(*objects.WORKLOADS, "services", "inferenceservices")
        ),
        "secrets": lambda: objects.secrets(in_lab("secrets"), pods()),
        "certificates": lambda: certificates.certificates(cluster.all("secrets"), now),
        "images": lambda: objects.images(pods(), image_versions()),
    }
    found = {n: section(n, FROM_CLUSTER[n], ask) for n, ask in asked.items()}
    return {**found, "volumes": _volumes(cluster, in_lab)}


def _volumes(cluster: Cluster, in_lab: Callable[[str], list[Tree]]) -> Section:
    """Claims, with what is used of each where a kubelet tells."""
    used: Mapping[tuple[str, str], int] = {}
    unknown: tuple[str, ...] = ()
    try:
        used = cluster.volume_use()
    except LabError as error:
        unknown = (f"what is used of each volume is not known: {error}",)
    found = section(
        "volumes",
        objects.VOLUMES,
        lambda: objects.volumes(in_lab("persistentvolumeclaims"), used),
    )
    return replace(found, unknown=found.unknown or unknown)


def _config(stack: Stack) -> Mapping[str, object]:
    """The stack file as it is written, secrets encrypted."""
    import yaml

    config: Mapping[str, object] = yaml.safe_load(stack.file.read_text())["config"]
    return config


def _models(
    settings: LabConfig, outputs: Mapping[str, Any], unknown: tuple[str, ...]
) -> Section:
    found: list[Registered] = []
    if url := outputs.get("tracking_url"):
        try:
            found = registered(url, settings.tracking.bucket)
        except (LabError, LookupError) as error:
            unknown = (f"versions, cards and times are not known: {error}",)
    rows = tuple(promised.models(settings, found))
    return Section("models", promised.MODELS, rows, unknown)


def image_versions() -> dict[str, str]:
    """Versions of what is in the lab's own images, by name, where a table says so."""
    import images
    from labfactory.tools.table import TOOLS

    found = {}
    for name, image in images.IMAGES.items():
        # What has programs of the house in it is of no tool's version.
        tool = TOOLS[image.tools[0]] if image.tools and not image.copied else None
        if tool and tool.version:
            found[name] = tool.version
        elif image.public:
            found[name] = objects.named(image.public)[1]
    return found


def _outputs(stack: Stack) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The stack's outputs; none, and why, where there are none."""
    try:
        if found := stack.outputs():
            return found, ()
    except (LabError, OSError) as error:
        return {}, (f"the registry was not asked: {error}",)
    return {}, (f"the registry was not asked: `lab up {stack.name}` was never run",)


def _entries(settings: LabConfig, *, of_drills: bool) -> list[dict[str, Any]]:
    """What the keeper wrote down of backups, or of drills; none without backups."""
    if settings.backups is None:
        return []
    from labfactory.backups import history
    from labfactory.backups.cluster import Cluster as Keepers

    with Keepers(settings.cluster.context) as cluster:
        if of_drills:
            where = history.drill_namespace(settings.name)
            return history.entries(cluster, where, history.DRILLS)
        return history.entries(cluster, settings.name, history.BACKUPS)
