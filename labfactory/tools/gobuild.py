"""Tools from Go modules, through the ordinary Go client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from labfactory import paths
from labfactory.errors import LabError
from labfactory.progress import Progress, Step
from labfactory.tools import store
from labfactory.tools.children import Children
from labfactory.tools.estimates import Estimates
from labfactory.tools.present import present
from labfactory.tools.table import TOOLS
from labfactory.tools.ways import FromModule, GoBuild

POLL_SECONDS = 0.5


def go() -> Path | None:
    """The Go toolchain: the machine's if it is new enough, else the one from PyPI."""
    tool = TOOLS["go"]
    if store.stored(tool):
        return store.executable(tool)
    return present(tool)


def environment() -> dict[str, str]:
    """The environment of every Go command.

    The flags are the same for all groups, so that they share compiled packages; the
    user's proxy and checksum settings are left as they are.
    """
    cache = paths.cache() / "go"
    found = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(cache / "build"),
        "GOFLAGS": "-buildvcs=false -mod=readonly -modcacherw",
        "GOMODCACHE": str(cache / "mod"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    found.pop("GOROOT", None)
    return found


def make(
    build: GoBuild,
    names: Sequence[str],
    progress: Progress,
    estimates: Estimates,
    children: Children,
) -> None:
    """Make the tools `names` of `build`, or wait while another process does."""
    with _alone(build.group, progress, children) as work:
        missing = [name for name in names if not store.stored(TOOLS[name])]
        if not missing:
            return
        estimate = estimates.of(build)
        with progress.step(build.title, estimate=estimate) as step:
            cold = estimates.begin(build)
            _compile(build, missing, work, step, children)
            estimates.end(build, step.elapsed, cold=cold)


@contextmanager
def _alone(group: str, progress: Progress, children: Children) -> Iterator[Path]:
    """An empty work folder that this process alone uses; two would do double work."""
    work = paths.cache() / "go" / "work" / group
    work.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{work}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with progress.step(f"wait for another lab that builds tools/{group}"):
            _acquire(lock, children)
    try:
        shutil.rmtree(work, ignore_errors=True)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        lock.release()


def _acquire(lock: FileLock, children: Children) -> None:
    while True:
        children.check()
        try:
            lock.acquire(timeout=POLL_SECONDS)
        except Timeout:
            continue
        return


def _compile(
    build: GoBuild, names: Sequence[str], work: Path, step: Step, children: Children
) -> None:
    client = go()
    if client is None:
        raise LabError("Go: neither on this machine nor installed from PyPI")
    source, out = _copy(build.group, work), work / "out"
    out.mkdir()
    # Compilers write gigabytes; /tmp is often in memory.
    environ = {**environment(), "GOTMPDIR": str(_folder(work / "tmp"))}
    for file in build.needs:
        shutil.copy(_from_module(client, file, source, step), source)
    # With several packages Go chooses the names itself, from the packages' own.
    target = out / names[0] if len(build.packages) == 1 else f"{out}{os.sep}"
    tags = ("-tags", build.tags) if build.tags else ()
    children.run(
        step,
        [
            *(client, "build", "-trimpath", *tags),
            *("-ldflags", f"-s -w {build.ldflags}".rstrip(), "-o", target),
            *(build.packages[name] for name in names),
        ],
        cwd=source,
        env=environ,
    )
    for name in names:
        with store.placing(TOOLS[name]) as new:
            _install(build, name, out / name, new)
            for file in build.beside:
                root = _copy(file.group, work)
                found = _from_module(client, file, root, step)
                # The module's archive has lost the mode of scripts.
                shutil.copy(found, new)
                (new / found.name).chmod(0o755)


def _install(build: GoBuild, name: str, built: Path, folder: Path) -> None:
    if not build.wrapper:
        shutil.move(built, folder / name)
        return
    shutil.move(built, folder / f"{name}-real")
    wrapper = folder / name
    wrapper.write_text(
        "#!/bin/sh\n"
        f'real=$(dirname "$(readlink -f "$0")")/{name}-real\n'
        f"{build.wrapper}\n"
    )
    wrapper.chmod(0o755)


def _copy(group: str, work: Path) -> Path:
    """A copy of the group's files, to build in: the checkout stays as it is."""
    root = paths.PROJECT / "tools" / group
    target = work / "source" / group
    for file in store.sources(group):
        place = target / file.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    return target


def _from_module(client: Path, file: FromModule, source: Path, step: Step) -> Path:
    """A file of a module that the go.mod in `source` pins; fetches the module."""
    command = [str(client), "mod", "download", "-json", file.module]
    step.write(f"$ {' '.join(command)}")
    result = subprocess.run(
        command,
        cwd=source,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        facts = json.loads(result.stdout)
    except ValueError:
        facts = {"Error": result.stderr.strip()}
    if result.returncode != 0 or "Dir" not in facts:
        raise LabError(
            f"{step.title}: {file.module} cannot be fetched ({facts.get('Error')})"
        )
    found = Path(facts["Dir"]) / file.path
    if not found.exists():
        raise LabError(f"{step.title}: {file.module} has no {file.path}")
    return found


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
