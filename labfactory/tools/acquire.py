"""Get several tools at once, each by the first way that works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from labfactory.errors import LabError
from labfactory.progress import Progress, clock
from labfactory.tools import apt, gobuild, pypi, store, unpack
from labfactory.tools.children import Children, Stopped
from labfactory.tools.estimates import Estimates
from labfactory.tools.table import TOOLS, build_of
from labfactory.tools.ways import GoBuild, Tool

WORKERS = 6
OnReady = Callable[[str], None]


class Acquisition:
    """One call of `ensure` for tools that are missing.

    Packages, wheels and downloads come in threads while the calling thread runs the Go
    builds one after the other: each of those uses every core by itself.
    """

    def __init__(
        self, missing: Sequence[str], progress: Progress, on_ready: OnReady | None
    ) -> None:
        """Plan nothing yet; `missing` is in the order in which tools are needed."""
        self._tools = [TOOLS[name] for name in missing]
        self._progress = progress
        self._on_ready = on_ready
        self._children = Children()
        self._estimates = Estimates()
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._refused: list[Tool] = []

    def run(self) -> None:
        """Get the tools; the first failure ends everything that still runs."""
        system = apt.packages(self._tools)
        if system:
            apt.check(system)
        fetched = self._downloads()
        later = {tool.name for group in fetched for tool in group}
        with ThreadPoolExecutor(WORKERS) as pool:
            try:
                futures = [pool.submit(self._fetch, group) for group in fetched]
                futures += [
                    pool.submit(self._unpack, tool)
                    for tool in self._tools
                    if tool.unpacked and tool.name not in later
                ]
                if system:
                    futures.append(pool.submit(self._install_packages, system))
                futures += [
                    pool.submit(self._install_wheel, tool)
                    for tool in self._tools
                    if tool.wheel
                ]
                for future in futures:
                    future.add_done_callback(self._note)
                self._build([tool for tool in self._tools if tool.name not in later])
                for future in futures:
                    with suppress(Exception):
                        future.result()
                self._build(self._refused)
            except BaseException as error:
                self._fail(error)
        if self._failure:
            raise self._failure

    def _downloads(self) -> list[list[Tool]]:
        """Tools with a release file on a host that answers, by release file."""
        from labfactory.tools import download  # brings httpx, which few commands need

        found: dict[str, list[Tool]] = {}
        possible = [
            tool
            for tool in self._tools
            if tool.download
            and download.offered(tool.download)
            and not (tool.unpacked and unpack.possible())
        ]
        download.reachable(tool.download for tool in possible if tool.download)
        for tool in possible:
            if tool.download and download.answers(tool.download):
                found.setdefault(download.address(tool.download), []).append(tool)
        return list(found.values())

    def _fetch(self, group: Sequence[Tool]) -> None:
        """Download tools; what cannot be had that way is left for a build."""
        from labfactory.tools import download

        for tool in group:
            assert tool.download
            try:
                with (
                    self._progress.step(f"download {tool.name}") as step,
                    store.placing(tool) as new,
                ):
                    self._children.check()
                    download.fetch(tool.download, new, step)
            except Stopped:
                raise
            except LabError as error:
                if build_of(tool.name) is None:
                    raise
                self._progress.say(f"    {error}; building it instead")
                with self._lock:
                    self._refused.append(tool)
            else:
                self._ready(tool)

    def _unpack(self, tool: Tool) -> None:
        """Take a tool out of its Debian package, or else download it."""
        from labfactory.tools import download

        try:
            with (
                self._progress.step(f"unpack {tool.name}", estimate=6) as step,
                store.placing(tool) as new,
            ):
                unpack.fetch(tool, new, step, self._children)
        except Stopped:
            raise
        except LabError as error:
            if not (tool.download and download.reachable([tool.download])):
                raise
            self._progress.say(f"    {error}; downloading it instead")
            self._fetch([tool])
        else:
            self._ready(tool)

    def _install_packages(self, packages: Sequence[str]) -> None:
        with self._progress.step("install Debian packages", estimate=30) as step:
            step.write(" ".join(packages))
            apt.install(packages, step, self._children)
        for tool in self._tools:
            if tool.debian:
                self._ready(tool)

    def _install_wheel(self, tool: Tool) -> None:
        with self._progress.step(f"install {tool.name}", estimate=10) as step:
            pypi.install(tool, step, self._children)
        self._ready(tool)

    def _build(self, tools: Sequence[Tool]) -> None:
        builds = plan([tool.name for tool in tools])
        if not builds:
            return
        if gobuild.go() is None:
            self._install_wheel(TOOLS["go"])
        seconds = sum(self._estimates.of(build) for build, _ in builds)
        count = sum(len(names) for _, names in builds)
        self._progress.say(
            f"  {count} tools to build here, about {clock(seconds)} in all"
        )
        for build, names in builds:
            self._children.check()
            gobuild.make(build, names, self._progress, self._estimates, self._children)
            for name in names:
                self._ready(TOOLS[name])

    def _ready(self, tool: Tool) -> None:
        # Go itself may come along unasked.
        if self._on_ready and tool in self._tools:
            self._on_ready(tool.name)

    def _note(self, future: Future[None]) -> None:
        if not future.cancelled() and (error := future.exception()):
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Keep the failure that came first; the others are its consequences."""
        with self._lock:
            if self._failure is None or isinstance(self._failure, Stopped):
                self._failure = error
        self._children.stop()


def plan(names: Sequence[str]) -> list[tuple[GoBuild, list[str]]]:
    """The Go builds that make `names`, in the order in which they are needed."""
    found: dict[str, tuple[GoBuild, list[str]]] = {}
    for name in names:
        build = build_of(name)
        if build:
            found.setdefault(build.title, (build, []))[1].append(name)
    return list(found.values())
