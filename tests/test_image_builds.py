"""How images are built, and how they reach a node or a registry."""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import images as catalogue
from labfactory import images, tools
from labfactory.errors import LabError
from labfactory.images import debian, workshop
from labfactory.progress import Progress

EVERY = (catalogue.BASE, *catalogue.NAMES)


# Debian's root


def apt_folder(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        stem, _, kind = name.rpartition("_")
        (tmp_path / "sources.list.d" / f"{stem}.{kind}").write_text(text)
    return tmp_path


def test_both_spellings_of_a_debian_source_are_used(tmp_path: Path) -> None:
    line = "deb [signed-by=/k.gpg] https://mirror.example.com/debian bookworm main"
    stanza = (
        "Types: deb\nURIs: https://mirror.example.com/debian-security\n"
        "Suites: bookworm-security\nComponents: main\nSigned-By: /k.gpg"
    )
    apt = apt_folder(tmp_path, debian_sources=f"# ours\n{stanza}\n")
    (apt / "sources.list").write_text(f"# deb x bookworm main\n{line}\n")

    assert debian.sources(apt) == [line, stanza]


def test_the_archives_of_others_are_left_out(tmp_path: Path) -> None:
    apt = apt_folder(
        tmp_path,
        docker_list="deb https://download.example.com bookworm stable\n",
        newer_list="deb https://mirror.example.com/debian trixie main\n",
        sources_list="deb-src https://mirror.example.com/debian bookworm main\n",
        node_sources="Types: deb\nURIs: https://x.example.com\nSuites: nodistro\n"
        "Components: main\n",
        off_sources="Types: deb\nURIs: https://x.example.com\nSuites: bookworm\n"
        "Components: main\nEnabled: no\n",
    )

    assert debian.sources(apt) == []


def test_the_list_of_packages_is_read_without_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "packages"
    path.write_text("# why\npython3\n\ndash  # a shell\n")

    assert debian.packages(path) == ["python3", "dash"]


# Building, loading, pushing: with stand-ins for buildah, mmdebstrap, uv and ctr

BUILDAH = """
log=$HOME/buildah.log
echo "$@" >> "$log"
case "$1" in
push)
    for last; do :; done
    archive=${last#oci-archive:}
    [ "$last" = "$archive" ] || echo image > "${archive%%:*}"
    ;;
esac
"""

CTR = """
echo "$@" >> "$HOME/ctr.log"
case "$*" in
*import*)
    for last; do :; done
    file=${last##*/}
    file=${file%.tar}
    echo "localhost/labfactory/${file%-*}:${file##*-}" >> "$HOME/loaded"
    ;;
*list*) cat "$HOME/loaded" ;;
esac
"""

MMDEBSTRAP = """
for word; do case "$word" in */root.tar) echo root > "$word" ;; esac; done
"""

Install = Callable[[str, str], None]


@pytest.fixture
def stand_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a script in the place of a tool; every tool begins as a harmless one."""
    folder = home / "tools"
    folder.mkdir()
    (home / "loaded").touch()
    (home / "ctr.log").touch()
    monkeypatch.setenv("HOME", str(home))

    def install(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\nset -e\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def path(name: str) -> Path:
        if not (folder / name).exists():
            install(name, "")
        return folder / name

    monkeypatch.setattr(tools, "path", path)
    monkeypatch.setattr(tools, "uv", lambda: path("uv"))
    install("buildah", BUILDAH)
    install("ctr", CTR)
    install("mmdebstrap", MMDEBSTRAP)
    return install


@pytest.fixture
def progress() -> Progress:
    return Progress(io.StringIO())


def left_over() -> set[str]:
    """What is in the cache beside whole archives."""
    return {p.name for p in workshop.folder().iterdir() if p.suffix != ".tar"}


@pytest.mark.usefixtures("stand_in")
def test_every_image_and_the_base_become_archives(
    home: Path, progress: Progress
) -> None:
    images.build(catalogue.NAMES, progress)

    assert all(images.archive(name).exists() for name in EVERY)
    assert left_over() == {"lock"}


@pytest.mark.usefixtures("stand_in")
def test_the_base_is_made_once_for_all_that_stand_on_it(
    home: Path, progress: Progress
) -> None:
    images.base(progress)
    images.build(["lab"], progress)
    images.build(["postgres"], progress)

    built = re.findall(r"--tag \S+/(\S+):", (home / "buildah.log").read_text())
    assert built == ["base", "lab", "postgres"]


@pytest.mark.usefixtures("stand_in")
def test_an_image_is_built_after_what_it_stands_on(
    home: Path, progress: Progress
) -> None:
    images.build(["keeper", "lab"], progress)

    log = (home / "buildah.log").read_text()
    assert re.findall(r"--tag \S+/(\S+):", log) == ["base", "lab", "keeper"]
    assert f"BASE={catalogue.reference('lab')} --tag" in log
    assert f"BASE={catalogue.reference(catalogue.BASE)} --tag" in log


@pytest.mark.usefixtures("stand_in")
def test_what_an_image_stands_on_is_taken_from_its_archive(
    home: Path, progress: Progress
) -> None:
    images.build(["lab"], progress)
    (home / "buildah.log").unlink()

    images.build(["keeper"], progress)

    log = (home / "buildah.log").read_text()
    assert re.findall(r"--tag \S+/(\S+):", log) == ["keeper"]
    assert re.findall(r"pull .*/(\w+)-\w+\.tar", log) == ["lab"]


@pytest.mark.usefixtures("stand_in")
def test_every_tool_of_an_image_lies_in_the_build_context(
    stand_in: Install, home: Path, progress: Progress
) -> None:
    listing = '(for last; do :; done; ls "$last" > "$HOME/context")'
    stand_in("buildah", f'{BUILDAH}\n[ "$1" != build ] || {listing}')

    images.build(["keeper"], progress)

    there = set((home / "context").read_text().split())
    assert {"restic", "rclone", "minio", "labfactory"} <= there


@pytest.mark.usefixtures("stand_in")
def test_what_is_there_is_not_built_again(home: Path, progress: Progress) -> None:
    images.build(["pause", "minio"], progress)
    (home / "buildah.log").unlink()

    images.build(["minio", "pause", "minio"], progress)

    assert not (home / "buildah.log").exists()


def test_a_build_that_fails_names_its_log_and_leaves_no_half_archive(
    stand_in: Install, progress: Progress
) -> None:
    stand_in("buildah", BUILDAH + '[ "$1" != push ] || { echo broken; exit 7; }')

    with pytest.raises(LabError, match=r"(?s)image pause: .*exit code 7.*broken.*log"):
        images.build(["pause"], progress)

    assert not images.archive("pause").exists()
    stand_in("buildah", BUILDAH)
    images.build(["pause"], progress)
    assert images.archive("pause").read_text() == "image\n"
    assert left_over() == {"lock"}


@pytest.mark.usefixtures("stand_in")
def test_what_a_killed_build_left_is_removed_by_the_next(progress: Progress) -> None:
    workshop.folder().mkdir(parents=True)
    (workshop.folder() / "pause-000000000000.part").write_text("half")
    (workshop.folder() / "work-killed" / "overlay").mkdir(parents=True)

    images.build(["pause"], progress)

    assert left_over() == {"lock"}


def test_a_source_that_is_edited_during_its_copy_is_copied_again(
    home: Path,
    stand_in: Install,
    progress: Progress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Asked for the archive twice and before the copy; after it there is another.
    answers = iter(["a" * 12] * 5)
    monkeypatch.setattr(catalogue, "tag", lambda name: next(answers, "b" * 12))

    images.build(["pause"], progress)

    assert [path.name for path in workshop.folder().glob("*.tar")] == [
        f"pause-{'b' * 12}.tar"
    ]


def test_a_full_disk_is_said_in_a_sentence(
    stand_in: Install, progress: Progress
) -> None:
    stand_in("buildah", 'echo "write /x: no space left on device"; exit 1')

    with pytest.raises(LabError, match=r"the disk became full \(.* GB are free\)"):
        images.build(["pause"], progress)


@pytest.mark.usefixtures("stand_in")
def test_a_cache_that_cannot_be_written_is_said_in_a_sentence(
    home: Path, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("LABFACTORY_CACHE", str(home / "file"))

    with pytest.raises(LabError, match=r"cannot be written .*LABFACTORY_CACHE"):
        images.build(["pause"], progress)


@pytest.mark.usefixtures("stand_in")
def test_three_archives_of_an_image_are_kept_the_latest_used(
    progress: Progress,
) -> None:
    workshop.folder().mkdir(parents=True)
    for age in range(5):
        (workshop.folder() / f"pause-{age:012x}.tar").write_text("old")

    images.build(["pause"], progress)

    kept = {path.name for path in workshop.folder().glob("*.tar")}
    assert len(kept) == 3
    assert images.archive("pause").name in kept


@pytest.mark.usefixtures("stand_in")
def test_a_node_gets_only_the_images_that_it_lacks(
    home: Path, progress: Progress
) -> None:
    (home / "loaded").write_text(catalogue.reference("pause") + "\n")

    images.load(home / "node.sock", ["pause", "minio"], progress)
    images.load(home / "node.sock", ["pause", "minio"], progress)

    imported = re.findall(r"import \S+/(\w+)-", (home / "ctr.log").read_text())
    assert imported == ["minio"]


def test_an_image_that_does_not_arrive_is_named(
    stand_in: Install, home: Path, progress: Progress
) -> None:
    stand_in("ctr", "")

    with pytest.raises(LabError, match=r"does not list localhost/labfactory/pause:"):
        images.load(home / "node.sock", ["pause"], progress)


def test_a_node_that_does_not_answer_is_said_in_a_sentence(
    stand_in: Install, home: Path, progress: Progress
) -> None:
    stand_in("ctr", "echo connection refused >&2; exit 1")

    with pytest.raises(LabError, match=r"does not answer \(connection refused\)"):
        images.load(home / "node.sock", ["pause"], progress)


@pytest.mark.usefixtures("stand_in")
def test_a_registry_gets_what_a_cluster_of_its_own_does_not_have(
    home: Path, progress: Progress
) -> None:
    images.push("registry.example.com/lab/", ["minio", "coredns"], progress)

    pushed = re.findall(r"docker://(\S+)", (home / "buildah.log").read_text())
    assert pushed == [catalogue.reference("minio", "registry.example.com/lab")]


def test_packages_and_code_lie_in_the_build_context_and_nothing_else_does(
    stand_in: Install, home: Path, progress: Progress
) -> None:
    listing = '(for last; do :; done; cd "$last" && find . -type f) > "$HOME/context"'
    stand_in("buildah", f'{BUILDAH}\n[ "$1" != build ] || {listing}')
    stand_in("uv", 'while [ "$1" != --target ]; do shift; done; mkdir "$2"; >"$2/x.py"')

    images.build(["guard"], progress)

    found = {line.removeprefix("./") for line in (home / "context").read_text().split()}
    expected = {"Containerfile", "requirements.txt", "site-packages/x.py"}
    assert found == expected | set(catalogue.copied("guard"))


def test_an_image_without_packages_asks_for_none(
    stand_in: Install, progress: Progress
) -> None:
    stand_in("uv", "exit 1")

    images.build(["pause", "kube-state-metrics", "prometheus"], progress)

    assert images.archive("prometheus").exists()
