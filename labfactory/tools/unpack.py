"""Debian packages whose executable is used without installing them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from labfactory.errors import LabError
from labfactory.progress import Step
from labfactory.tools.children import Children, Stopped
from labfactory.tools.ways import Tool, Unpacked

# Root's apt would download as a user who cannot reach the cache, and say so each time.
APT = ("apt-get", "--quiet", "--option", "APT::Sandbox::User=root")


def possible() -> bool:
    """Whether this machine can fetch and open Debian packages, as any user."""
    return all(shutil.which(name) for name in ("apt-get", "dpkg", "dpkg-deb"))


def fetch(tool: Tool, folder: Path, step: Step, children: Children) -> None:
    """Put the tool's executable into `folder`, out of Debian's package.

    Package lists are only fetched if it fails without, and then not the machine's own.
    Raises LabError when Debian has not the version that is asked for.
    """
    way = tool.unpacked
    assert way
    if not possible():
        raise LabError(
            f"{tool.name}: no apt-get here that could fetch Debian's {way.package}"
        )
    work = folder / ".debian"
    work.mkdir()
    try:
        package = _fetch(tool, way, work, APT, step, children)
    except Stopped:
        raise
    except LabError:
        step.note = "with fresh package lists"
        apt = (*APT, *_own_lists(work))
        children.run(step, [*apt, "update"])
        package = _fetch(tool, way, work, apt, step, children)
    children.run(step, ["dpkg-deb", "--extract", package, work / "root"])
    names = {way.executable: tool.name, **{p: Path(p).name for p in way.beside}}
    for path, name in names.items():
        found = work / "root" / path
        if not found.is_file():
            raise LabError(
                f"{tool.name}: Debian's {package.name} has no {path}; "
                "the table of tools is wrong for this version"
            )
        found.rename(folder / name)
    shutil.rmtree(work)


def _fetch(
    tool: Tool,
    way: Unpacked,
    work: Path,
    apt: tuple[str, ...],
    step: Step,
    children: Children,
) -> Path:
    """Download the package that the lists name now. Raises LabError if unfit."""
    for old in work.glob("*.deb"):
        old.unlink()
    children.run(step, [*apt, "download", way.package], cwd=work)
    package = next(work.glob("*.deb"))
    version = _answer("dpkg-deb", "--field", str(package), "Version")
    same = re.match(rf"{re.escape(tool.version)}(?![\d.])", version)
    order = ("dpkg", "--compare-versions", version, "ge", way.at_least)
    if not same or subprocess.run(order, check=False).returncode != 0:
        raise LabError(
            f"{tool.name}: this machine's Debian has {way.package} {version}, the lab "
            f"needs {way.at_least} or a later revision of it; use Debian 12, or a "
            "network that reaches github.com"
        )
    step.note = version
    return package


def _own_lists(work: Path) -> tuple[str, ...]:
    """Options for package lists beside the machine's, which only root may renew."""
    (work / "lists").mkdir()
    (work / "cache").mkdir()
    settings = (
        f"Dir::State::Lists={work / 'lists'}",
        f"Dir::Cache={work / 'cache'}",
        "Acquire::Languages=none",
    )
    return tuple(word for text in settings for word in ("--option", text))


def _answer(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip()
