"""How long builds take on this machine: measured before, else guessed and scaled."""

from __future__ import annotations

import json
import os
from pathlib import Path

from labfactory import paths
from labfactory.tools import store
from labfactory.tools.ways import GoBuild

AGAIN = 0.1
"""Share of a build's usual time when Go's cache still holds its packages."""

WORTH_COMPARING = 5.0
"""Seconds; shorter steps say nothing about how quick a machine is."""


class Estimates:
    """Seconds per build, corrected by the builds of this run that are done."""

    def __init__(self) -> None:
        """Read what this machine measured before."""
        self._measured = _read(_file())
        self._usual = self._took = 0.0

    def of(self, build: GoBuild) -> float:
        """Seconds that `build` should take from now."""
        usual = self._measured.get(build.title, build.seconds)
        if _done(build).exists():
            return usual * AGAIN
        return usual * (self._took / self._usual if self._usual else 1.0)

    def begin(self, build: GoBuild) -> bool:
        """Note that `build` starts; whether no version of it is in Go's cache yet."""
        marker = _state(f"{_slug(build)}.begun")
        cold = not marker.exists()
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        return cold

    def end(self, build: GoBuild, seconds: float, *, cold: bool) -> None:
        """Learn from a finished build; one that was resumed says nothing."""
        _done(build).touch()
        if not cold:
            return
        if build.seconds >= WORTH_COMPARING:
            self._usual += self._measured.get(build.title, build.seconds)
            self._took += seconds
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        measured = {**_read(file), build.title: round(seconds, 1)}
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(measured, indent=2, sort_keys=True) + "\n")
        new.replace(file)


def _file() -> Path:
    return paths.cache() / "tools" / "durations.json"


def _done(build: GoBuild) -> Path:
    return _state(f"{_slug(build)}-{store.inputs(build)}.done")


def _state(name: str) -> Path:
    """A file beside Go's cache, so that it goes when the cache goes."""
    return paths.cache() / "go" / "state" / name


def _slug(build: GoBuild) -> str:
    return build.title.replace(" ", "-")


def _read(file: Path) -> dict[str, float]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(title): float(seconds)
        for title, seconds in found.items()
        if isinstance(seconds, int | float)
    }
