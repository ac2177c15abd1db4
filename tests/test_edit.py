"""An edit of a stack file changes the release it is about, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labfactory.errors import LabError
from labfactory.settings.edit import set_variant
from stacks import load, text
from stacks.load import SettingsError
from stacks.schema import VariantConfig

OLD: dict[str, Any] = {
    "version": 1,
    "artifact": "s3://mlflow/1/models/m-1/artifacts",
    "digest": f"sha256:{'0a' * 32}",
}
NEW: dict[str, Any] = {
    "version": 12,
    "artifact": "s3://mlflow/1/models/m-12/artifacts",
    "digest": f"sha256:{'1b' * 32}",
}
FILE = f"""\
# yaml-language-server: $schema=schema.json
config:
  labfactory:seed:
    secure: v1:abc   # made by `lab new`
  labfactory:lab:
    name:    demo
    owner: 'vision'
    credentials_issued: 2026-11-21
    cluster: {{target: embedded,   name: demo}}

    platform: {{ kind: own }}
    storage:
        kind: minio
        capacity: "20Gi"
        buckets:
        - mlflow
        -   datasets
    tracking: {{capacity: 5Gi, bucket: mlflow}}
    releases:
      # the one that everybody uses
      iris:
        template: mlflow   # a file
        variants:
          v1:   # since Monday
            digest: "{OLD["digest"]}"
            version: 1  # in the registry
            artifact: '{OLD["artifact"]}'
            role: stable
            traffic: 100
      # nothing after this
  # the end
encryptionsalt: v1:def
"""
HEAD, RELEASES = (
    FILE[: FILE.index("    releases:")],
    FILE[FILE.index("    releases:") :],
)
TAIL = "  # the end\nencryptionsalt: v1:def\n"


@pytest.fixture(autouse=True)
def templates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "template_names", lambda: frozenset({"mlflow"}))


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "Pulumi.demo.yaml"
    file.write_bytes(FILE.encode())
    yield file
    left = [each.name for each in tmp_path.iterdir()]
    assert left == ["Pulumi.demo.yaml"], "a temporary file was left behind"


def edit(
    path: Path, release: str = "iris", variant: str = "v12", **pinned: Any
) -> bool:
    return set_variant(path, release, variant, **{**NEW, **pinned})


def served(path: Path) -> dict[str, dict[str, VariantConfig]]:
    releases = load.read(path).releases
    return {name: dict(release.variants) for name, release in releases.items()}


def test_only_the_four_values_of_the_variant_change(path: Path) -> None:
    assert edit(path)

    assert path.read_text() == (
        FILE.replace("v1:   #", "v12:   #")
        .replace("version: 1 ", "version: 12 ")
        .replace(OLD["artifact"], NEW["artifact"])
        .replace(OLD["digest"], NEW["digest"])
    )
    assert served(path)["iris"]["v12"].version == 12


def test_a_release_that_is_new_follows_the_others_in_their_style(path: Path) -> None:
    assert edit(path, release="wine")

    added = f"""\
      wine:
        template: mlflow
        variants:
          v12:
            version: 12
            artifact: "{NEW["artifact"]}"
            digest: "{NEW["digest"]}"
            role: stable
            traffic: 100
"""
    before = "      # nothing after this\n"
    assert path.read_text() == FILE.replace(before, added + before)


@pytest.mark.parametrize(
    "releases",
    [
        "",
        "    releases: {}\n",
        "    releases: {}   # none yet\n",
        "    releases: {iris: {template: mlflow, variants: {v1: {version: 1, "
        f'artifact: "{OLD["artifact"]}", digest: "{OLD["digest"]}", role: stable, '
        "traffic: 100}}}}\n",
        "    releases: {iris: {template: mlflow, variants: {v1: {version: 1, "
        f'artifact: "{OLD["artifact"]}", digest: "{OLD["digest"]}", role: stable, '
        "traffic: 100}}},}  # one\n",
        RELEASES[: RELEASES.index("  # the end")],
    ],
    ids=["absent", "empty", "empty-comment", "flow", "flow-comma", "block"],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("tail", ["", TAIL])
def test_a_release_is_added_to_whatever_is_there(
    path: Path, releases: str, newline: str, tail: str
) -> None:
    content = (HEAD + releases + tail).replace("\n", newline)
    path.write_bytes(content.encode())
    there = served(path)

    assert edit(path, release="wine")

    wine = VariantConfig.model_validate({**NEW, "role": "stable", "traffic": 100})
    assert served(path) == {**there, "wine": {"v12": wine}}
    changed = path.read_bytes().decode()
    assert changed.count("\n") == changed.count(newline)
    assert changed.startswith(HEAD.replace("\n", newline))
    assert changed.endswith(tail.replace("\n", newline))
    assert [c for c in comments(changed) if c not in comments(content)] == []
    assert comments(changed) == comments(content)


def test_a_file_in_one_line_stays_in_one_line(path: Path) -> None:
    path.write_text(
        'config: {"labfactory:lab": {name: demo, owner: vision, credentials_issued: '
        '"2026-11-21", cluster: {target: embedded, name: demo}, platform: {kind: own}, '
        "storage: {kind: minio, capacity: 20Gi, buckets: [mlflow]}, tracking: "
        "{capacity: 5Gi, bucket: mlflow}, releases: {}}}"
    )

    assert edit(path)
    assert edit(path, release="wine")

    assert list(served(path)) == ["iris", "wine"]
    assert path.read_text().count("\n") == 0


def test_a_file_without_a_last_newline_gets_the_release_on_a_line_of_its_own(
    path: Path,
) -> None:
    path.write_text(HEAD.rstrip("\n"))

    assert edit(path)

    assert list(served(path)) == ["iris"]


def test_a_byte_order_mark_stays_and_shifts_nothing(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + FILE.encode())

    assert edit(path)

    assert path.read_bytes().startswith(b"\xef\xbb\xbf# yaml")
    assert list(served(path)["iris"]) == ["v12"]


def test_an_edit_that_changes_nothing_leaves_the_file_alone(path: Path) -> None:
    before = path.stat()

    assert not edit(path, variant="v1", **OLD)

    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert path.read_text() == FILE


def test_the_template_of_a_release_that_is_there_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "template_names", lambda: frozenset({"mlflow", "own"}))
    path.write_text(FILE.replace("template: mlflow", "template: own"))

    edit(path)

    assert load.read(path).releases["iris"].template == "own"


def test_the_mode_of_the_file_is_kept(path: Path) -> None:
    path.chmod(0o640)

    edit(path)

    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(path: Path) -> None:
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    link = elsewhere / "Pulumi.demo.yaml"
    link.symlink_to(path)

    edit(link)

    assert link.is_symlink()
    assert list(served(path)["iris"]) == ["v12"]
    link.unlink()
    elsewhere.rmdir()


@pytest.mark.parametrize(
    ("release", "pinned", "sentence"),
    [
        ("Iris", {}, "releases.Iris: is not a release's name"),
        ("iris", {"version": 0}, "releases.iris.variants.v12.version: is too small"),
        ("iris", {"digest": "sha256:0"}, "variants.v12.digest: is not a digest"),
        ("iris", {"artifact": "s3://else/x"}, "a bucket that the lab does not have"),
        ("wine", {"template": "mlflwo"}, 'did you mean "mlflow"?'),
    ],
)
def test_an_edit_that_would_break_the_file_is_refused(
    path: Path, release: str, pinned: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError) as error:
        edit(path, release=release, **pinned)

    assert sentence in str(error.value)
    assert path.read_text() == FILE


def test_a_file_with_mistakes_is_not_edited(path: Path) -> None:
    path.write_text(FILE.replace("20Gi", "20GB"))

    with pytest.raises(SettingsError, match=r"storage.capacity: is not a size"):
        edit(path)


def test_releases_that_share_their_settings_are_left_to_a_person(path: Path) -> None:
    shared = FILE.replace("      iris:\n", "      iris: &same\n").replace(
        "      # nothing", "      wine: *same\n      # nothing"
    )
    path.write_text(shared)

    with pytest.raises(LabError, match=r"YAML anchors.*edit the file by hand"):
        edit(path, release="wine")

    assert path.read_text() == shared


def test_a_crash_while_writing_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", crash)

    with pytest.raises(OSError, match="No space left"):
        edit(path)

    assert path.read_text() == FILE


def comments(content: str) -> list[str]:
    return [
        line[line.index("#") :].rstrip() for line in content.splitlines() if "#" in line
    ]


REMARK = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12
).map(lambda said: f"# {said}")


@st.composite
def decorated(draw: st.DrawFn) -> str:
    """FILE with comments, blank lines and spaces where a person may put them."""
    lines = []
    for line in FILE.splitlines():
        if draw(st.integers(0, 3)) == 0:
            lines.append(" " * draw(st.integers(0, 12)) + draw(REMARK))
        if draw(st.integers(0, 5)) == 0:
            lines.append(" " * draw(st.integers(0, 3)))
        if "#" not in line and draw(st.integers(0, 3)) == 0:
            line += " " * draw(st.integers(1, 9)) + draw(REMARK)
        lines.append(line + " " * draw(st.integers(0, 2)))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return newline.join(lines) + draw(st.sampled_from(["", newline]))


on_any_file = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@on_any_file
@given(content=decorated())
def test_an_edit_and_its_reverse_give_the_same_bytes(path: Path, content: str) -> None:
    path.write_bytes(content.encode())

    assert edit(path)
    assert comments(path.read_bytes().decode()) == comments(content)
    assert set_variant(path, "iris", "v1", **OLD)

    assert path.read_bytes() == content.encode()


@on_any_file
@given(content=decorated())
def test_a_release_is_added_without_touching_any_line(path: Path, content: str) -> None:
    path.write_bytes(content.encode())
    before = path.read_bytes().decode().splitlines()

    assert edit(path, release="wine")

    after = path.read_bytes().decode().splitlines()
    start = after.index("      wine:")
    assert after[:start] + after[start + 9 :] == before
    assert not edit(path, release="wine")


def test_what_is_read_back_is_what_yaml_says(path: Path) -> None:
    edit(path)

    lab = text.parse(path.read_bytes()).data["config"]["labfactory:lab"]
    assert lab["releases"]["iris"]["variants"] == {
        "v12": {**NEW, "role": "stable", "traffic": 100}
    }
