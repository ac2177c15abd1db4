"""Packages of the distribution."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence

from labfactory.errors import LabError
from labfactory.progress import Step
from labfactory.tools.children import Children, Stopped
from labfactory.tools.ways import Tool


def packages(tools: Iterable[Tool]) -> list[str]:
    """The packages that hold `tools`, sorted.

    Only what is missing is ever asked for: a machine with Docker's containerd.io has
    containerd and runc, and installing Debian's would remove Docker.
    """
    return sorted({tool.debian.package for tool in tools if tool.debian})


def check(wanted: Sequence[str]) -> None:
    """Raise LabError when packages cannot be installed here."""
    names = " ".join(wanted)
    if shutil.which("apt-get") is None:
        raise LabError(
            f"this machine: {', '.join(wanted)} missing, and there is no apt-get; "
            "install what your distribution calls them"
        )
    if os.geteuid() != 0:
        raise LabError(
            f"this machine: {', '.join(wanted)} missing, and only root can install "
            f"packages; run `apt-get install --no-install-recommends {names}` as root"
        )


def install(wanted: Sequence[str], step: Step, children: Children) -> None:
    """Install packages; the package lists are only fetched if it fails without."""
    apt_get = ["apt-get", "--quiet", "--option", "DPkg::Lock::Timeout=300"]
    command = [*apt_get, "install", "--yes", "--no-install-recommends", *wanted]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        children.run(step, command, env=environment)
    except Stopped:
        raise
    except LabError:
        step.note = "after apt-get update"
        children.run(step, [*apt_get, "update"], env=environment)
        children.run(step, command, env=environment)
