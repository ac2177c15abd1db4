"""Where tools lie in the cache: a folder per version, complete or absent."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labfactory import paths
from labfactory.tools.table import build_of
from labfactory.tools.ways import ARCHITECTURE, GoBuild, Tool


def folder(tool: Tool) -> Path:
    """The folder of `tool`; its name changes with everything that goes into it."""
    build = build_of(tool.name)
    ways: list[object] = [tool.download, tool.wheel, inputs(build) if build else ""]
    if tool.unpacked:
        ways.append(tool.unpacked)
    digest = hashlib.sha256(repr((ARCHITECTURE, *ways)).encode()).hexdigest()
    return paths.cache() / "tools" / tool.name / f"{tool.version}-{digest[:8]}"


def inputs(build: GoBuild) -> str:
    """8 hex digits over all that a Go build reads from the project."""
    flags = (build.ldflags, build.tags, build.wrapper, build.needs, build.beside)
    digest = hashlib.sha256(repr((dict(build.packages), *flags)).encode())
    root = paths.PROJECT / "tools" / build.group
    for file in sources(build.group):
        digest.update(f"\n{file.relative_to(root)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def sources(group: str) -> list[Path]:
    """The committed files of a Go group, sorted."""
    root = paths.PROJECT / "tools" / group
    found = [root / "go.mod", root / "go.sum", *root.rglob("*.go")]
    return sorted(file for file in found if file.exists())


def executable(tool: Tool) -> Path:
    """Where the tool's executable lies once the tool is there."""
    return folder(tool) / (tool.wheel.executable if tool.wheel else tool.name)


def stored(tool: Tool) -> bool:
    """Whether the tool is in the cache."""
    return executable(tool).exists()


@contextmanager
def placing(tool: Tool) -> Iterator[Path]:
    """A new folder to fill; it becomes the tool's folder if all went well.

    Whoever looks sees either nothing or the whole tool. When another process was
    quicker, its folder stays and this one is dropped.
    """
    final = folder(tool)
    final.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=final.parent))
    try:
        new.chmod(0o755)
        yield new
        try:
            os.rename(new, final)
        except OSError:
            if not stored(tool):
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
