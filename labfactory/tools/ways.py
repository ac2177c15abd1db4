"""The ways to get a tool, as data."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(
    platform.machine(), platform.machine()
)
"""This machine's architecture in Go's words."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """Which versions of a tool that is on PATH already will do.

    The first version number in the output of `command arguments` must lie in
    `at_least <= version < below`; `beside` names another tool instead, which then has
    to be accepted and to lie in the same folder.
    """

    arguments: tuple[str, ...] = ()
    at_least: tuple[int, ...] = ()
    below: tuple[int, ...] = ()
    beside: str = ""


@dataclass(frozen=True, kw_only=True)
class Download:
    """An official release file.

    `url` may contain `{arch}`. `files` maps names inside a .tar.gz or a .zip to names
    in the tool's folder; the file in a .bz2 has the empty name. Without it the release
    file is the executable. `sha256` holds, by architecture, the sums known when this
    table was written; for the others `sums` is the address of the checksum file that
    the publisher keeps next to the release.
    """

    url: str
    files: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    sums: str = ""
    architectures: Mapping[str, str] = field(
        default_factory=lambda: {"amd64": "amd64", "arm64": "arm64"}
    )


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A package on PyPI that contains the executable; pinned in uv.lock."""

    package: str
    group: str
    executable: str


@dataclass(frozen=True, kw_only=True)
class Debian:
    """A package of the distribution, and what must exist for it to count as there."""

    package: str
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """A package of Debian that is unpacked: installing it would start a service.

    `executable` is the path in it, `beside` the paths of files that Debian's build of
    the tool reads. Whatever revision Debian has now will do, if it has the tool's
    version and is not older than `at_least`.
    """

    package: str
    executable: str
    at_least: str
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One executable and the ways to get it, tried in the order of the fields."""

    name: str
    version: str = ""
    accepted: Accepted | None = None
    debian: Debian | None = None
    wheel: Wheel | None = None
    unpacked: Unpacked | None = None
    download: Download | None = None


@dataclass(frozen=True, kw_only=True)
class FromModule:
    """A file of a Go module: copied, not compiled."""

    module: str
    path: str
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class GoBuild:
    """One `go build` in the folder `tools/<group>`, which has go.mod and go.sum.

    `packages` maps tools to packages; in a build of several, Go names each executable
    like its package. `needs` are put beside the sources, `beside` next to the
    executable; `wrapper` is shell that runs it as `$real`. `seconds` is how long it
    takes on two cores with an empty cache.
    """

    title: str
    group: str
    packages: Mapping[str, str]
    seconds: float
    ldflags: str = ""
    tags: str = ""
    needs: tuple[FromModule, ...] = ()
    beside: tuple[FromModule, ...] = ()
    wrapper: str = ""
