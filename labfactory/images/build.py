"""Build images into archives that every checkout of this user shares."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import images as catalogue
from labfactory import tools
from labfactory.images import debian
from labfactory.images.workshop import Workshop, folder
from labfactory.progress import Progress, Step

ESTIMATES = {
    catalogue.BASE: 35.0,
    "lab": 60.0,
    "guard": 25.0,
    "keeper": 25.0,
    "envoy": 15.0,
    "postgres": 8.0,
}
"""Seconds on two cores; the others take less than ten."""

KEPT = 3
"""Archives kept per image: this checkout's, and those of a branch or a clone or two."""


def archive(name: str) -> Path:
    """Where the image of this checkout is, or will be, as an OCI archive."""
    return folder() / f"{name}-{catalogue.tag(name)}.tar"


def base(progress: Progress) -> None:
    """Make what the other images stand on; needs no tool that is built from source."""
    build([catalogue.BASE], progress)


def build(names: Iterable[str], progress: Progress) -> None:
    """Build the images that are not there yet.

    Several threads and processes may call this at once: one builds, the others wait
    and find the result. Ending the process at any moment leaves whole archives and a
    work folder that the next build removes. Raises LabError.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        _touch(archive(name))
    if not _missing(wanted):
        return
    with Workshop(progress) as workshop:
        # Somebody else may have built them meanwhile; and who edits a source while an
        # image is built asks for another image.
        while missing := _missing(wanted):
            for name in _with_what_they_stand_on(missing):
                with progress.step(
                    f"image {name}", estimate=ESTIMATES.get(name, 5.0)
                ) as step:
                    _one(name, workshop, step)
        _forget_old()


def _one(name: str, workshop: Workshop, step: Step) -> None:
    target = archive(name)
    if target.exists():  # others stand on it
        workshop.restore(target, step)
        step.note = "there already"
        return
    context = workshop.path / name
    tag = _stage(name, context)
    if name == catalogue.BASE:
        debian.root(context, workshop.path, step)
    if (context / "requirements.txt").exists():
        _install(context, step)
    recipe = catalogue.image(name)
    for tool in recipe.tools:
        executable = shutil.copy(tools.path(tool), context / tool)
        os.chmod(executable, 0o755)
        for template in tools.path(tool).parent.glob("*.tmpl"):
            shutil.copy(template, context)
    reference = f"{catalogue.EMBEDDED}/{name}:{tag}"
    base = recipe.on and catalogue.reference(recipe.on)
    workshop.build(reference, context, step, base=base)
    shutil.rmtree(context)
    target = folder() / f"{name}-{tag}.tar"
    workshop.save(reference, target, step)
    step.note = f"{target.stat().st_size / 1e6:.0f} MB"


def _stage(name: str, context: Path) -> str:
    """Copy what the repository gives to the image; return the tag of that very copy."""
    while True:
        tag = catalogue.tag(name)
        own = catalogue.PROJECT / "images" / name
        for path in catalogue.files(own):
            _copy(path, context / path.relative_to(own))
        for place, path in catalogue.copied(name).items():
            _copy(path, context / place)
        if catalogue.tag(name) == tag:
            return tag
        shutil.rmtree(context)  # somebody edited a file just now


def _copy(path: Path, copy: Path) -> None:
    """Copy a file so that every user may read it, whatever the checkout's modes."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.parent.chmod(0o755)
    shutil.copyfile(path, copy)
    copy.chmod(0o644)


def _install(context: Path, step: Step) -> None:
    """Install the requirements for the base's Python, not for this machine's."""
    step.run(
        [
            *(tools.uv(), "pip", "install", "--no-progress"),
            *("--python", sys.executable, "--target", context / "site-packages"),
            *("--python-version", debian.PYTHON),
            *("--python-platform", f"{platform.machine()}-manylinux_2_36"),
            *("--require-hashes", "--no-deps", "--only-binary", ":all:"),
            *("--requirements", context / "requirements.txt"),
        ]
    )


def _with_what_they_stand_on(names: Iterable[str]) -> list[str]:
    """`names`, and before each what it stands on, down to what is there already."""
    found: dict[str, None] = {}
    for name in names:
        line = [name]
        while (below := catalogue.image(line[0]).on) and not archive(line[0]).exists():
            line.insert(0, below)
        found |= dict.fromkeys(line)
    return list(found)


def _missing(names: Iterable[str]) -> list[str]:
    return [name for name in names if not archive(name).exists()]


def _touch(path: Path) -> None:
    if path.exists():
        os.utime(path)


def _forget_old() -> None:
    for name in (catalogue.BASE, *catalogue.NAMES):
        tagged = f"{name}-{'[0-9a-f]' * 12}.tar"
        found = sorted(folder().glob(tagged), key=lambda path: path.stat().st_mtime)
        for path in found[:-KEPT]:
            path.unlink(missing_ok=True)
