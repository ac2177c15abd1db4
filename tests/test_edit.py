"""An edit of a stack file changes what it is about, and nothing else."""

from __future__ import annotations

import copy
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from labfactory.errors import LabError
from labfactory.settings.edit import edit
from labfactory.settings.rewrite import rewrite
from stacks import load, text
from stacks.load import SettingsError

Tree = dict[str, Any]
Operation = Callable[[Tree], Tree]
OLD: Tree = {
    "version": 1,
    "artifact": "s3://mlflow/1/models/m-1/artifacts",
    "digest": f"sha256:{'0a' * 32}",
}
NEW: Tree = {
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


def lab_of(content: bytes) -> Tree:
    lab: Tree = text.parse(content).data["config"]["labfactory:lab"]
    return lab


def rewritten(content: str | bytes, operation: Operation) -> str:
    """The text after an edit; a file of its own, without looking at a disk."""
    before = content.encode() if isinstance(content, str) else content
    wanted = operation(copy.deepcopy(lab_of(before)))
    return rewrite(before, wanted, source="stacks/Pulumi.demo.yaml").decode()


def with_release(name: str, **settings: Any) -> Operation:
    def operation(lab: Tree) -> Tree:
        served = {**NEW, "role": "stable", "traffic": 100}
        release = {"template": "mlflow", "variants": {"v12": served}, **settings}
        lab["releases"] = {**(lab.get("releases") or {}), name: release}
        return lab

    return operation


def with_candidate(lab: Tree) -> Tree:
    variants = lab["releases"]["iris"]["variants"]
    variants["v1"]["traffic"] = 90
    variants["v12"] = {**NEW, "role": "candidate", "traffic": 10}
    return lab


def without_candidate(lab: Tree) -> Tree:
    variants = lab["releases"]["iris"]["variants"]
    variants["v1"]["traffic"] = 100
    del variants["v12"]
    return lab


def test_only_the_value_that_differs_changes() -> None:
    def renewed(lab: Tree) -> Tree:
        lab["releases"]["iris"]["variants"]["v1"] |= {**NEW, "version": 1}
        return lab

    assert rewritten(FILE, renewed) == (
        FILE.replace(OLD["artifact"], NEW["artifact"]).replace(
            OLD["digest"], NEW["digest"]
        )
    )


def test_a_release_that_is_new_follows_the_others_in_their_style() -> None:
    added = f"""\
      wine:
        template: mlflow
        variants:
          v12:
            version: 12
            artifact: '{NEW["artifact"]}'
            digest: "{NEW["digest"]}"
            role: stable
            traffic: 100
"""
    before = "      # nothing after this\n"
    assert rewritten(FILE, with_release("wine")) == FILE.replace(before, added + before)


def test_a_variant_among_variants_on_one_line_is_on_one_line() -> None:
    served = f"{{version: 1, artifact: '{OLD['artifact']}', digest: "
    served += f'"{OLD["digest"]}", role: stable,   traffic: 100}}'
    lines = f"          v1:   {served}  # since Monday\n          # no v2\n"
    content = f"{HEAD}    releases:\n      iris:\n        template: mlflow\n"
    content += f"        variants:\n{lines}{TAIL}"

    after = rewritten(content, with_candidate)

    candidate = served.replace(OLD["artifact"], NEW["artifact"])
    candidate = candidate.replace(OLD["digest"], NEW["digest"]).replace("   ", " ")
    candidate = candidate.replace("version: 1,", "version: 12,")
    candidate = candidate.replace("stable, traffic: 100", "candidate, traffic: 10")
    end = "  # since Monday\n"
    assert after == content.replace("traffic: 100}", "traffic: 90}").replace(
        end, f"{end}          v12: {candidate}\n"
    )
    assert rewritten(after, without_candidate) == content


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
    releases: str, newline: str, tail: str
) -> None:
    content = (HEAD + releases + tail).replace("\n", newline)
    there = lab_of(content.encode()).get("releases") or {}

    changed = rewritten(content, with_release("wine"))

    wine = {**NEW, "role": "stable", "traffic": 100}
    assert lab_of(changed.encode())["releases"] == {
        **there,
        "wine": {"template": "mlflow", "variants": {"v12": wine}},
    }
    assert changed.count("\n") == changed.count(newline)
    assert changed.startswith(HEAD.replace("\n", newline))
    assert changed.endswith(tail.replace("\n", newline))
    assert comments(changed) == comments(content)


def test_a_file_in_one_line_stays_in_one_line(path: Path) -> None:
    path.write_text(
        'config: {"labfactory:lab": {name: demo, owner: vision, credentials_issued: '
        '"2026-11-21", cluster: {target: embedded, name: demo}, platform: {kind: own}, '
        "storage: {kind: minio, capacity: 20Gi, buckets: [mlflow]}, tracking: "
        "{capacity: 5Gi, bucket: mlflow}, releases: {}}}"
    )

    edit(path, with_release("iris")).write()
    edit(path, with_release("wine")).write()

    assert list(load.read(path).releases) == ["iris", "wine"]
    assert path.read_text().count("\n") == 0


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_without_a_last_newline_stays_one(newline: str) -> None:
    content = (HEAD + RELEASES[: RELEASES.index("      # noth")]).rstrip("\n")
    content = content.replace("\n", newline)

    after = rewritten(content, with_candidate)

    assert after.endswith("traffic: 10")
    assert rewritten(after, without_candidate) == content


def test_a_byte_order_mark_stays_and_shifts_nothing() -> None:
    mark = "\ufeff"

    assert rewritten(mark + FILE, with_candidate) == (
        mark + rewritten(FILE, with_candidate)
    )


def test_an_edit_that_changes_nothing_leaves_the_file_alone(path: Path) -> None:
    before = path.stat()

    edit(path, lambda lab: lab).write()

    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert path.read_text() == FILE


def test_an_edit_is_seen_before_it_is_written(path: Path) -> None:
    found = edit(path, with_candidate)

    assert found.settings.releases["iris"].variants["v12"].traffic == 10
    assert path.read_text() == FILE
    found.write()
    assert load.read(path) == found.settings


@pytest.mark.parametrize(
    ("serve", "line"),
    [
        ("serve: [api]   # ways", "serve: [api, batch]   # ways"),
        (
            "serve:   # ways\n          - 'api'  # through the gateway",
            "serve:   # ways\n          - 'api'\n          - 'batch'  # through the "
            "gateway",
        ),
    ],
)
def test_a_list_is_replaced_in_its_style(serve: str, line: str) -> None:
    def both(lab: Tree) -> Tree:
        lab["releases"]["iris"]["serve"] = ["api", "batch"]
        return lab

    head = HEAD.replace(
        "    tracking:", "    predictions: {bucket: datasets}\n    tracking:"
    )
    content = head + RELEASES.replace(
        "        template:", f"        {serve}\n        template:"
    )

    assert rewritten(content, both) == content.replace(serve, line)


BLOCK = f"""\
          # the one that serves
          v1:
            version: 1
            artifact: {OLD["artifact"]}
            digest: {OLD["digest"]}
            role: stable
            traffic: 100
          # of both

          # to be tried
          # by everybody
          v12:   # since Monday
            version: 12
            # in the store
            artifact: {NEW["artifact"]}
            digest: {NEW["digest"]}
            role: candidate   # not yet

            # its share
            traffic: 0  # none
            # more follows
          # the next one comes in May
"""


def test_comments_go_with_the_entry_that_they_belong_to() -> None:
    head = f"{HEAD}    releases:\n      iris:\n        template: mlflow\n"
    content = f"{head}        variants:\n{BLOCK}{TAIL}"

    after = rewritten(content, without_candidate)

    start, end = BLOCK.index("          # to be"), BLOCK.index("          # the next")
    assert after == content.replace(BLOCK[start:end], "")


def test_what_is_left_empty_is_empty_braces() -> None:
    def cleared(lab: Tree) -> Tree:
        return {**lab, "releases": {}}

    assert lab_of(rewritten(FILE, cleared).encode())["releases"] == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("role: candidate, traffic: 0}", "role: candidate}"),
        ("traffic: 0, role: candidate}", "role: candidate}"),
        ("traffic: 0, role: candidate,}", "role: candidate,}"),
        ("role: candidate, traffic: 0 ,  }", "role: candidate ,  }"),
        ("role: candidate,\n   traffic: 0}", "role: candidate,\n   }"),
        (
            "role: candidate,  # not yet\n   # its share\n   traffic: 0,  # none\n  }",
            "role: candidate,  # not yet\n  }",
        ),
        (
            "\n   traffic: 0,  # none\n   # not yet\n   role: candidate\n  }",
            "\n   # not yet\n   role: candidate\n  }",
        ),
        (
            "traffic: 0,  # none\n   role: candidate}",
            "\n   role: candidate}",
        ),
    ],
)
def test_an_entry_in_braces_goes_with_its_comma(before: str, after: str) -> None:
    def unsaid(lab: Tree) -> Tree:
        del lab["releases"]["iris"]["variants"]["v12"]["traffic"]
        return lab

    start = f"          v12: {{version: 12, artifact: {NEW['artifact']}, "
    start += f'digest: "{NEW["digest"]}", '
    releases = RELEASES.replace("      # noth", start + before + "\n      # noth")
    content = HEAD + releases

    changed = rewritten(content, unsaid)

    wanted = content.replace(start + before, start + after)
    assert changed.replace(", \n", ",\n") == wanted.replace(", \n", ",\n")


def test_entries_in_lines_within_braces_get_a_line_each() -> None:
    def explained(lab: Tree) -> Tree:
        variant = lab["releases"]["iris"]["variants"]["v12"]
        variant |= {"role": "rejected", "because": "slow"}
        return lab

    text = "          v12: {\n            version: 12,\n            artifact: "
    text += f'{NEW["artifact"]},\n            digest: "{NEW["digest"]}",\n'
    text += "            role: candidate\n          }\n"
    content = HEAD + RELEASES.replace("      # nothing", f"{text}      # nothing")

    assert rewritten(content, explained) == content.replace(
        "role: candidate\n", "role: rejected,\n            because: slow\n"
    )


REASON = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=80),
    st.from_regex(r"[-?:,\[\]{}#&*!|>'\"%@` a-z0-9\\]{1,40}", fullmatch=True),
    st.sampled_from(["yes", "null", "1e5", "0o17", "2026-11-21", "~", "1_000", ".inf"]),
).filter(lambda said: said == said.strip() != "")
STYLES = ["because: old", "because: 'old'", 'because: "old"', "because: |-\n   old"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(reason=REASON, style=st.sampled_from([*STYLES[:3], ""]), braces=st.booleans())
def test_any_reason_is_read_back(reason: str, style: str, braces: bool) -> None:
    def explained(lab: Tree) -> Tree:
        new = {"role": "rejected", "because": reason}
        lab["releases"]["iris"]["variants"]["v12"] |= new
        return lab

    entries = [f"{key}: {json.dumps(value)}" for key, value in NEW.items()]
    entries += ["role: rejected", style] if style else ["role: candidate"]
    between = ", " if braces else "\n            "
    lines = between.join(entries)
    shown = f"{{{lines}}}" if braces else f"\n            {lines}"
    candidate = f"          v12: {shown}  # new\n"
    content = HEAD + RELEASES.replace("      # noth", f"{candidate}      # noth")

    after = rewritten(content, explained)

    variants = lab_of(after.encode())["releases"]["iris"]["variants"]
    assert variants["v12"]["because"] == reason
    # Pulumi and editors read YAML 1.1, in which `yes` and `1_000` are no texts.
    lab = yaml.safe_load(after)["config"]["labfactory:lab"]
    assert lab["releases"]["iris"]["variants"]["v12"]["because"] == reason
    assert "  # new\n" in after


@pytest.mark.parametrize("style", STYLES)
def test_a_value_keeps_its_quotes_where_they_can_hold_it(style: str) -> None:
    def explained(lab: Tree) -> Tree:
        lab["releases"]["iris"]["variants"]["v12"]["because"] = "new"
        return lab

    text = "          v12:\n            version: 12\n            artifact: "
    text += f'{NEW["artifact"]}\n            digest: "{NEW["digest"]}"\n'
    style = style.replace("\n   ", "\n               ")
    text += f"            role: rejected\n            {style}\n"
    releases = RELEASES.replace("      # nothing", f"{text}      # nothing")

    after = rewritten(HEAD + releases, explained)

    wanted = style.replace("old", "new") if "|" not in style else "because: new"
    assert after == HEAD + releases.replace(style, wanted)


def test_a_price_is_written_as_a_number() -> None:
    def vendor(lab: Tree) -> Tree:
        external = {"url": "https://api.example.com/v1", "cost_per_call": 0.0000015}
        new = {"external": external, "role": "candidate", "traffic": 0}
        lab["releases"]["iris"]["variants"]["vendor"] = new
        return lab

    lab = lab_of(rewritten(FILE, vendor).encode())

    external = lab["releases"]["iris"]["variants"]["vendor"]["external"]
    assert external["cost_per_call"] == 0.0000015


def test_names_that_yaml_takes_for_something_else_are_quoted() -> None:
    after = rewritten(FILE, with_release("null"))

    assert list(lab_of(after.encode())["releases"]) == ["iris", "null"]


def test_the_mode_of_the_file_is_kept(path: Path) -> None:
    path.chmod(0o640)

    edit(path, with_candidate).write()

    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(
    path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path_factory.mktemp("elsewhere") / "Pulumi.demo.yaml"
    link.symlink_to(path)

    edit(link, with_candidate).write()

    assert link.is_symlink()
    assert list(load.read(path).releases["iris"].variants) == ["v1", "v12"]


@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        (with_release("Iris"), "releases.Iris: is not a release's name"),
        (with_release("wine", template="mlflwo"), 'did you mean "mlflow"?'),
        (with_release("wine", replicas=0), "releases.wine.replicas: is too small"),
        (
            with_release("wine", variants={"v12": {**NEW, "role": "stable"}}),
            "get 0 per cent of the requests",
        ),
    ],
)
def test_an_edit_that_would_break_the_file_is_refused(
    path: Path, operation: Operation, sentence: str
) -> None:
    with pytest.raises(SettingsError) as error:
        edit(path, operation)

    assert sentence in str(error.value)
    assert path.read_text() == FILE


def test_a_file_with_mistakes_is_not_edited(path: Path) -> None:
    path.write_text(FILE.replace("20Gi", "20GB"))

    with pytest.raises(SettingsError, match=r"storage.capacity: is not a size"):
        edit(path, with_candidate)


@pytest.mark.parametrize(
    ("shared", "setting"),
    [
        (
            FILE.replace("      iris:\n", "      iris: &same\n").replace(
                "      # nothing", "      wine: *same\n      # nothing"
            ),
            "releases.iris.variants.v1.traffic",
        ),
        (
            FILE.replace("traffic: 100", "<<: {traffic: 100}"),
            "releases.iris.variants.v1.traffic",
        ),
        (
            FILE.replace(
                "            traffic: 100", "            ? traffic\n            : 100"
            ),
            "releases.iris.variants.v1.traffic",
        ),
    ],
    ids=["anchor", "merge", "question-mark"],
)
def test_what_is_written_in_unusual_ways_is_left_to_a_person(
    path: Path, shared: str, setting: str
) -> None:
    path.write_text(shared)

    with pytest.raises(LabError, match="edit the file by hand") as error:
        edit(path, with_candidate)

    assert f"Pulumi.demo.yaml: {setting}" in str(error.value)
    assert path.read_text() == shared


def test_a_release_can_be_added_after_one_that_is_a_reference() -> None:
    content = FILE.replace("      iris:\n", "      iris: &same\n").replace(
        "      # nothing", "      wine: *same  # alike\n      # nothing"
    )

    after = rewritten(content, with_release("port"))

    assert list(lab_of(after.encode())["releases"]) == ["iris", "wine", "port"]
    assert "      wine: *same  # alike\n      port:\n" in after


def test_a_full_disk_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(LabError, match=r"cannot be written \(No space left"):
        edit(path, with_candidate).write()

    assert path.read_text() == FILE


def test_a_file_that_somebody_else_has_changed_is_left_as_it_is(path: Path) -> None:
    found = edit(path, with_candidate)
    path.write_text(FILE + "# a note\n")

    with pytest.raises(LabError, match="has changed since it was read"):
        found.write()

    assert path.read_text() == FILE + "# a note\n"


def test_the_new_file_is_on_the_disk_before_it_takes_the_place_of_the_old(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("folder" if folder else "file")
        fsync(descriptor)

    def replaced(source: str, target: Path) -> None:
        done.append("place")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)

    edit(path, with_candidate).write()

    assert done == ["file", "place", "folder"]


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


on_any_file = settings(max_examples=25, deadline=None, derandomize=True)


@on_any_file
@given(content=decorated())
def test_a_candidate_comes_and_goes_without_a_trace(content: str) -> None:
    after = rewritten(content, with_candidate)

    assert comments(after) == comments(content)
    assert rewritten(after, without_candidate) == content


@on_any_file
@given(content=decorated())
def test_a_release_is_added_without_touching_any_line(content: str) -> None:
    before = content.splitlines()

    after = rewritten(content, with_release("wine")).splitlines()

    start = after.index("      wine:")
    assert after[:start] + after[start + 9 :] == before
