"""A lab as a whole: prepare the machine, start the cluster, apply the stack."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import date
from typing import Any

import images as catalogue
from images import NAMES as IMAGES
from labfactory import embedded, environment, images, tools
from labfactory.backups import history, record
from labfactory.check import checked
from labfactory.errors import LabError
from labfactory.progress import Progress
from labfactory.releases import sync
from labfactory.releases.models.arrival import Arrivals
from labfactory.settings.new import new, new_seed
from labfactory.stack import Stack
from stacks.schema import EmbeddedCluster, LabConfig

PULUMI = ("pulumi", "pulumi-language-python", "pulumi-resource-kubernetes")
NODE = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "etcd",
)
IN_IMAGES = (
    "coredns",
    "local-path-provisioner",
    "contour",
    "minio",
    "kserve-controller",
    "envoy",
    "kube-state-metrics",
    "prometheus",
    "alertmanager",
    "postgres_exporter",
    "restic",
    "rclone",
)


def new_lab(name: str, **wishes: Any) -> None:
    """Write the settings file of a new lab and tell what to do with it."""
    path = new(name, **wishes)
    print(f"wrote {path}; read it, then `lab up {name}`")


def stand_up(
    name: str, *, progress: Progress | None = None, rescue: bool = False
) -> dict[str, Any]:
    """Bring the lab to what its settings say; return the stack's outputs.

    Starts the embedded cluster where the settings ask for one. Safe to repeat, also
    after a run that was interrupted or a machine that was restarted. Raises LabError
    when a policy refuses, unless it is a `rescue`: no expired leave may stand in the
    way of a rollback or a restore.
    """
    progress = progress or Progress()
    stack = Stack(name)
    settings = stack.settings
    prepare(settings, progress)
    stack.ensure(new_seed)
    half_done = sync.finish(stack)
    for told in (*half_done.written, *half_done.left):
        progress.say(f"  {told}")
    settings = stack.settings
    drill = history.last_drill(settings)
    if not rescue:
        checked.refuse(name, today=date.today(), drill=drill)
    wanted = [
        f"{release}-{variant}"
        for release, config in settings.releases.items()
        for variant in config.variants
    ]
    watch = Arrivals(settings.cluster.context, settings.name, wanted).failure
    # At a terminal Pulumi draws its own clocks.
    step = progress.step(f"pulumi up of stack {name!r}", estimate=20)
    with nullcontext() if sys.stdout.isatty() else step:
        stack.up(watch=watch, drill=drill, judged=not rescue)
    sync.close(stack)
    if settings.backups and (warning := record.keep(stack)):
        progress.say(f"  {warning}")
    return stack.outputs()


def take_down(name: str, *, purge: bool) -> None:
    """Stop the lab's embedded cluster; `purge` deletes data and Pulumi state too."""
    stack = Stack(name)
    settings = stack.settings
    if not isinstance(settings.cluster, EmbeddedCluster):
        raise LabError(
            f"lab {name!r}: its cluster is not ours to stop; `pulumi destroy` removes "
            f"the lab from it"
        )
    embedded.down(settings.cluster.name, purge=purge, progress=Progress())
    if purge:
        stack.forget()


def outputs(stack: Stack) -> dict[str, Any]:
    """Outputs of a lab that is up. Raises LabError when it never was."""
    tools.ensure(PULUMI, Progress())
    found = stack.outputs()
    if not found:
        raise LabError(f"lab {stack.name!r}: not applied yet; `lab up {stack.name}`")
    return found


def push_images(registry: str) -> None:
    """Build every image and push it to `registry`, for a cluster that exists."""
    progress = Progress()
    build_images(progress)
    images.push(registry, IMAGES, progress)


def prepare(settings: LabConfig, progress: Progress) -> None:
    """Make what the lab needs from this machine present: tools, images, a cluster."""
    if not isinstance(settings.cluster, EmbeddedCluster):
        tools.ensure(PULUMI, progress)
    else:
        names = wanted_images(settings)
        build_images(progress, names)
        embedded.up(
            settings.cluster.name,
            progress,
            load_images=lambda socket: images.load(socket, names, progress),
        )
    tools.install_plugin(environment.pulumi_home())


def wanted_images(settings: LabConfig) -> list[str]:
    """Names of the images that a node needs for this lab."""
    sections = {name: catalogue.image(name).section for name in IMAGES}
    return [n for n, s in sections.items() if s is None or getattr(settings, s)]


def build_images(progress: Progress, names: Sequence[str] = IMAGES) -> None:
    """Build tools and images; images without tools of ours are made meanwhile."""
    used = {tool for name in names for tool in catalogue.image(name).tools}
    tools.ensure(tools.SYSTEM, progress)
    with ThreadPoolExecutor(max_workers=1) as pool:
        first = pool.submit(images.build, ("pause", "postgres", "lab"), progress)
        found = [tool for tool in IN_IMAGES if tool in used]
        tools.ensure((*NODE, *PULUMI, *found), progress)
        first.result()
    images.build(names, progress)
