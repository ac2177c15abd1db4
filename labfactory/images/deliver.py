"""Bring built images to where pods run: a node's containerd, or a registry."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import images as catalogue
from labfactory import tools
from labfactory.errors import LabError
from labfactory.images.build import archive, build
from labfactory.images.workshop import Workshop, folder
from labfactory.progress import Progress

NAMESPACE = "k8s.io"
"""containerd's namespace that the kubelet looks in."""

ESTIMATES = {
    "lab": 20.0,
    "keeper": 20.0,
    "guard": 10.0,
    "envoy": 6.0,
    "postgres": 5.0,
}
"""Seconds to import an image."""


def load(socket: Path, names: Iterable[str], progress: Progress) -> None:
    """Give the containerd at `socket` the images that it lacks, and check them.

    Builds what is not built. Does nothing when all are there. Raises LabError.
    """
    wanted = list(dict.fromkeys(names))
    absent = _absent(socket, wanted)
    if not absent:
        return
    build(absent, progress)
    for name in absent:
        title = f"load image {name}"
        with progress.step(title, estimate=ESTIMATES.get(name, 3)) as step:
            step.run([*_ctr(socket), "images", "import", archive(name)])
    lost = _absent(socket, absent)
    if lost:
        raise LabError(
            f"containerd at {socket}: took the images but does not list "
            f"{', '.join(map(catalogue.reference, lost))}; run the command again, "
            f"and when that does not help delete {folder()} first"
        )


def push(registry: str, names: Iterable[str], progress: Progress) -> None:
    """Push images to a registry under the references that a lab there uses.

    Leaves out what only the embedded node runs. Credentials are those of `buildah
    login`. Raises LabError, with the registry's own words.
    """
    wanted = [name for name in names if not catalogue.image(name).node_only]
    build(wanted, progress)
    with Workshop(progress) as workshop:
        for name in wanted:
            destination = catalogue.reference(name, registry.rstrip("/"))
            with progress.step(f"push image {name}", estimate=20) as step:
                workshop.restore(archive(name), step)
                workshop.publish(catalogue.reference(name), destination, step)
                step.note = destination


def _absent(socket: Path, names: Iterable[str]) -> list[str]:
    result = subprocess.run(
        [*_ctr(socket), "images", "list", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise LabError(
            f"containerd at {socket}: does not answer ({result.stderr.strip()}); "
            "`lab up` starts the node"
        )
    there = set(result.stdout.split())
    return [name for name in names if catalogue.reference(name) not in there]


def _ctr(socket: Path) -> list[str | Path]:
    return [tools.path("ctr"), "--address", socket, "--namespace", NAMESPACE]
