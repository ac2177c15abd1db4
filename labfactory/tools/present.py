"""Tools that this machine has already."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from labfactory.tools.table import PULUMI_KUBERNETES, TOOLS
from labfactory.tools.ways import Debian, Tool

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin")
"""Searched after PATH, which lacks the sbin folders for many users."""


def present(tool: Tool) -> Path | None:
    """The executable (for a set of plugins: the folder) if it is there and will do."""
    if tool.debian:
        return _system(tool.name, tool.debian)
    if tool.name == "pulumi-resource-kubernetes":
        return _plugin()
    if tool.accepted is None:
        return None
    if tool.accepted.beside:
        other = present(TOOLS[tool.accepted.beside])
        candidates = (
            [other.parent / tool.name, other.resolve().parent / tool.name]
            if (other)
            else []
        )
        return next((path for path in candidates if os.access(path, os.X_OK)), None)
    found = shutil.which(tool.name)
    if found is None:
        return None
    number = version(found, tool.accepted.arguments)
    if number and tool.accepted.at_least <= number < tool.accepted.below:
        return Path(found)
    return None


@functools.cache
def version(executable: str, arguments: tuple[str, ...]) -> tuple[int, ...] | None:
    """The first version number that `executable arguments` prints, if it does."""
    try:
        result = subprocess.run(
            [executable, *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            stdin=subprocess.DEVNULL,
            check=False,
            # Otherwise an old Go answers with the version that it would download.
            env={**os.environ, "GOTOOLCHAIN": "local", "PULUMI_SKIP_UPDATE_CHECK": "1"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", result.stdout)
    if result.returncode != 0 or not match:
        return None
    return tuple(int(part) for part in match.groups(default="0"))


def plugin_folder(pulumi_home: Path) -> Path:
    """Where Pulumi keeps the Kubernetes provider of our version."""
    return pulumi_home / "plugins" / f"resource-kubernetes-v{PULUMI_KUBERNETES}"


def _plugin() -> Path | None:
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    found = plugin_folder(home) / "pulumi-resource-kubernetes"
    return found if os.access(found, os.X_OK) else None


def _system(name: str, debian: Debian) -> Path | None:
    if debian.files:
        for folder in map(Path, debian.folders):
            if all(os.access(folder / file, os.X_OK) for file in debian.files):
                return folder
        return None
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS))
    found = shutil.which(name, path=search)
    return Path(found) if found else None
