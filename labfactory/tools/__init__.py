"""The programs a lab needs: found on the machine, downloaded, or built from source."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from labfactory import paths
from labfactory.errors import LabError
from labfactory.progress import Progress
from labfactory.tools import store
from labfactory.tools.acquire import Acquisition, OnReady
from labfactory.tools.children import stop_everything as stop
from labfactory.tools.present import plugin_folder, present
from labfactory.tools.pypi import uv
from labfactory.tools.table import PULUMI_KUBERNETES, SYSTEM, TOOLS
from labfactory.tools.ways import Tool

__all__ = [
    "SYSTEM",
    "TOOLS",
    "bin_paths",
    "drop_build_cache",
    "ensure",
    "find",
    "install_plugin",
    "path",
    "stop",
    "uv",
]

BY_HAND = ("pulumi", "pulumi-language-python", "kubectl")
"""What belongs on PATH: people type it, or Pulumi looks for it there."""


def ensure(
    names: Iterable[str], progress: Progress, on_ready: OnReady | None = None
) -> None:
    """Make the tools present, those first that are named first.

    `on_ready` is called with a tool's name as soon as it is there, from any thread.
    Several threads and processes may call this at once; work is done once. Raises
    LabError when a tool cannot be had; ending the process, `stop` or an exception
    leaves whole tools and a Go cache from which the next call continues.
    """
    missing = []
    for name in dict.fromkeys(names):
        if find(name) is None:
            missing.append(name)
        elif on_ready:
            on_ready(name)
    if missing:
        Acquisition(missing, progress, on_ready).run()


def path(name: str) -> Path:
    """The executable of a tool; of `cni-plugins` the folder with all of them.

    Raises LabError when the tool is not there.
    """
    found = find(name)
    if found is None:
        raise LabError(
            f"{name}: not on this machine yet; `lab demo` or `lab up` gets it"
        )
    return found


def find(name: str) -> Path | None:
    """Like `path`, but None when the tool is not there."""
    tool = _tool(name)
    return store.executable(tool) if store.stored(tool) else present(tool)


def bin_paths() -> list[Path]:
    """Folders that belong on PATH, beyond what is there already."""
    tools = [TOOLS[name] for name in BY_HAND]
    return [store.folder(tool) for tool in tools if store.stored(tool)]


def install_plugin(pulumi_home: Path) -> None:
    """Give Pulumi the Kubernetes provider and its Python host, unless it has them."""
    if all(store.stored(TOOLS[name]) for name in BY_HAND[:2]):
        # Beside the CLI, as in the official archive: one on PATH makes it warn.
        host = path("pulumi-language-python")
        beside = path("pulumi").parent / host.name
        if beside.resolve() != host.resolve():
            fresh = beside.with_name(f"{host.name}.{os.getpid()}")
            fresh.symlink_to(host)
            fresh.replace(beside)
    if (plugin_folder(pulumi_home) / "pulumi-resource-kubernetes").exists():
        return
    host = path("pulumi-language-python").parent
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(host), os.environ.get("PATH", os.defpath))),
        "PULUMI_HOME": str(pulumi_home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    provider = path("pulumi-resource-kubernetes")
    result = subprocess.run(
        [
            *(path("pulumi"), "plugin", "install", "--non-interactive"),
            *("resource", "kubernetes", PULUMI_KUBERNETES, "--file", provider),
        ],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise LabError(
            f"Pulumi's Kubernetes provider {PULUMI_KUBERNETES}: cannot be installed "
            f"into {pulumi_home} ({result.stderr.strip()})"
        )


def drop_build_cache() -> None:
    """Delete Go's caches (some 20 GB); tools stay, the next build starts cold."""
    for part in ("build", "mod", "state"):
        shutil.rmtree(paths.cache() / "go" / part, ignore_errors=True)


def _tool(name: str) -> Tool:
    if name not in TOOLS:
        known = ", ".join(sorted(TOOLS))
        raise LabError(f"{name}: no such tool; there are: {known}")
    return TOOLS[name]
