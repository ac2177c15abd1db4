"""Tools out of Debian packages that are unpacked and never installed."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from labfactory import paths, tools
from labfactory.errors import LabError
from labfactory.progress import Progress
from labfactory.tools import children, download, store, table
from labfactory.tools.ways import Download, Tool, Unpacked

pytestmark = pytest.mark.skipif(
    not Path("/usr/bin/dpkg").exists(), reason="only Debian compares its versions"
)

APT = """#!/bin/sh
echo "apt-get $*" >>"$CALLS"
case "$*" in
*update*) touch "$CALLS.lists"; exit 0 ;;
esac
[ -z "$HOLD" ] || { echo begun >"$HOLD"; sleep 60; }
version=$OLD
case "$*" in *Dir::State::Lists=*) version=$NEW ;; esac
[ -n "$version" ] || { echo "E: Unable to locate package"; exit 100; }
echo "$version" >"workbench_1_amd64.deb"
"""

DPKG_DEB = """#!/bin/sh
case "$1" in
--field) cat "$2" ;;
--extract) mkdir -p "$3/usr/bin" && cp "$2" "$3/usr/bin/debian-vice" ;;
esac
"""


class Debian:
    """A machine with apt and dpkg whose lists name a version of one package."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = home / "bin"
        self.calls = home / "calls"
        self.stream = io.StringIO()
        self._patch = monkeypatch
        self.bin.mkdir()
        self.script("apt-get", APT)
        self.script("dpkg-deb", DPKG_DEB)
        # The real one: which version is the later is for Debian to say.
        (self.bin / "dpkg").symlink_to("/usr/bin/dpkg")
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        monkeypatch.setenv("CALLS", str(self.calls))
        monkeypatch.setenv("HOLD", "")
        monkeypatch.setattr(download, "_answers", {})
        self.has("1.2.0-5")

    def script(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def has(self, version: str, *, after_update: str | None = None) -> None:
        """What the machine's package lists name, and what fresh ones do."""
        self._patch.setenv("OLD", version)
        self._patch.setenv("NEW", version if after_update is None else after_update)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def ensure(self) -> None:
        tools.ensure(["vice"], Progress(self.stream))

    def without_apt(self) -> None:
        (self.bin / "apt-get").unlink()
        self._patch.setenv("PATH", str(self.bin))


def vice(way: Download | None = None) -> Tool:
    unpacked = Unpacked(
        package="workbench", executable="usr/bin/debian-vice", at_least="1.2.0-5"
    )
    return Tool(name="vice", version="1.2.0", unpacked=unpacked, download=way)


@pytest.fixture
def debian(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Debian]:
    before = dict(table.TOOLS)
    table.TOOLS["vice"] = vice()
    yield Debian(home, monkeypatch)
    table.TOOLS.clear()
    table.TOOLS.update(before)


def offer(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the tool be downloaded too; the list says what was."""
    address = "https://example.com/vice"
    table.TOOLS["vice"] = vice(Download(url=address, sums=f"{address}.sums"))
    fetched: list[str] = []

    def fetch(way: Download, folder: Path, step: object) -> None:
        fetched.append(way.url)
        (folder / "vice").write_text("released")

    monkeypatch.setattr(download, "_answers", {"https://example.com": True})
    monkeypatch.setattr(download, "fetch", fetch)
    return fetched


def left_over() -> list[str]:
    folder = store.folder(table.TOOLS["vice"])
    return [path.name for path in folder.parent.iterdir() if path != folder]


def test_the_executable_is_all_that_is_kept_under_the_name_of_the_tool(
    debian: Debian,
) -> None:
    debian.ensure()

    assert tools.path("vice").read_text() == "1.2.0-5\n"
    assert [path.name for path in tools.path("vice").parent.iterdir()] == ["vice"]
    assert [call.split()[-2:] for call in debian.called()] == [
        ["download", "workbench"]
    ]


def test_nobody_has_to_be_root_and_nothing_is_installed(
    debian: Debian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    debian.ensure()

    assert tools.path("vice").exists()
    assert not [call for call in debian.called() if "install" in call]


@pytest.mark.parametrize("version", ["1.2.0-5", "1.2.0-5+deb12u1", "1.2.0+ds-6"])
def test_a_later_revision_of_the_same_version_will_do(
    debian: Debian, version: str
) -> None:
    debian.has(version)

    debian.ensure()

    assert tools.path("vice").read_text() == f"{version}\n"
    assert f"unpack vice: {version}" in debian.stream.getvalue()


@pytest.mark.parametrize("version", ["1.2.0-4", "1.2.01-6", "1.2.0.1-6", "1.3.0-1"])
def test_an_older_revision_or_another_version_is_refused_in_a_sentence(
    debian: Debian, version: str
) -> None:
    debian.has(version)

    with pytest.raises(LabError) as failure:
        debian.ensure()

    assert f"Debian has workbench {version}" in str(failure.value)
    assert "needs 1.2.0-5 or a later revision" in str(failure.value)
    assert tools.find("vice") is None
    assert not left_over()


@pytest.mark.parametrize("before", ["", "1.2.0-4"], ids=["unknown", "stale"])
def test_lists_that_do_not_know_the_revision_are_renewed_beside_the_machines(
    debian: Debian, before: str
) -> None:
    debian.has(before, after_update="1.2.0-5")

    debian.ensure()

    first, update, second = debian.called()
    assert "Dir::State::Lists" not in first
    assert update.endswith("update")
    assert f"Dir::State::Lists={paths.cache()}" in update
    assert f"Dir::Cache={paths.cache()}" in second
    assert tools.path("vice").read_text() == "1.2.0-5\n"
    assert not left_over()


def test_debian_comes_before_the_release_file_which_gets_no_security_updates(
    debian: Debian, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = offer(monkeypatch)

    debian.ensure()

    assert fetched == []
    assert tools.path("vice").read_text() == "1.2.0-5\n"


def test_another_debian_takes_the_release_file(
    debian: Debian, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = offer(monkeypatch)
    debian.has("1.3.0-1")

    debian.ensure()

    assert fetched == ["https://example.com/vice"]
    assert "downloading it instead" in debian.stream.getvalue()
    assert tools.path("vice").read_text() == "released"


def test_a_machine_without_apt_takes_the_release_file(
    debian: Debian, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = offer(monkeypatch)
    debian.without_apt()

    debian.ensure()

    assert fetched == ["https://example.com/vice"]
    assert debian.called() == []


def test_a_machine_with_neither_is_told_so(debian: Debian) -> None:
    debian.without_apt()

    with pytest.raises(LabError, match=r"vice: no apt-get here .* Debian's workbench"):
        debian.ensure()


def test_a_package_without_the_executable_is_a_sentence(debian: Debian) -> None:
    debian.script("dpkg-deb", DPKG_DEB.replace("debian-vice", "debian-clamp"))

    with pytest.raises(LabError, match="has no usr/bin/debian-vice"):
        debian.ensure()

    assert tools.find("vice") is None


def test_an_interrupted_download_leaves_nothing_and_is_not_tried_another_way(
    debian: Debian, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    fetched = offer(monkeypatch)
    gate = home / "gate"
    os.mkfifo(gate)
    monkeypatch.setenv("HOLD", str(gate))
    failures: list[LabError] = []

    def work() -> None:
        try:
            debian.ensure()
        except LabError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert gate.read_text() == "begun\n"
    tools.stop()
    thread.join(30)

    assert isinstance(failures[0], children.Stopped)
    assert fetched == []
    assert len(debian.called()) == 1
    assert not left_over()


def test_a_raised_revision_is_another_folder_and_the_old_tool_stays(
    debian: Debian,
) -> None:
    debian.ensure()
    first = tools.path("vice")
    raised = Unpacked(package="workbench", executable="usr/bin/v", at_least="1.2.0-6")

    table.TOOLS["vice"] = Tool(name="vice", version="1.2.0", unpacked=raised)

    assert tools.find("vice") is None
    assert first.exists()
