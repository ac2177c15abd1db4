"""Where labfactory keeps things: what can be rebuilt (cache) and what cannot (data)."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout: program, settings, images and tools' go.mod files."""


def cache() -> Path:
    """Folder of what can be rebuilt, shared by every checkout of this user."""
    return _folder("LABFACTORY_CACHE", "XDG_CACHE_HOME", ".cache")


def data() -> Path:
    """Folder of what cannot be rebuilt: clusters, Pulumi state, the passphrase."""
    return _folder("LABFACTORY_HOME", "XDG_DATA_HOME", ".local/share")


def cluster(name: str) -> Path:
    """Folder with everything of the embedded cluster `name`."""
    return data() / "clusters" / name


def kubeconfig(name: str) -> Path:
    """Admin kubeconfig of the embedded cluster; its context is `labfactory-NAME`."""
    return cluster(name) / "kubeconfig"


def logs() -> Path:
    """Folder of the full output of every step."""
    return data() / "logs"


def _folder(own: str, base: str, fallback: str) -> Path:
    if own in os.environ:
        return Path(os.environ[own]).absolute()
    if base in os.environ:
        return Path(os.environ[base]).absolute() / "labfactory"
    return Path.home() / fallback / "labfactory"
