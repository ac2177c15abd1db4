"""Change a stack file and leave everything else in it as it was, byte for byte.

Only the characters of the changed values are replaced, at the positions that the YAML
parser reports: comments, order, quotes, indentation and encrypted values stay.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from labfactory.errors import LabError
from stacks import load, text

Tree = Mapping[str, Any]
_BOM = "\ufeff"


@dataclass(frozen=True)
class _Edit:
    """Put `new` where the characters from `start` to `end` are."""

    start: int
    end: int
    new: str


def set_variant(
    path: Path,
    release: str,
    variant: str,
    *,
    version: int,
    artifact: str,
    digest: str,
    template: str = "mlflow",
) -> bool:
    """Let `release` serve this version, as its only variant; True when that is new.

    A release that is not there is added at the end, with `template`; one that is there
    keeps its own template, replicas and resources. The file is replaced at once or not
    at all. Raises stacks.load.SettingsError when the file, or what it would become, is
    not valid, and LabError when it cannot be edited without touching other settings.
    """
    load.read(path)
    content = path.read_bytes()
    before = content.decode()
    pinned = {"version": version, "artifact": artifact, "digest": digest}
    wanted = copy.deepcopy(text.parse(content).data)
    releases = _lab(wanted).setdefault("releases", {})
    if release in releases:
        [old] = releases[release]["variants"].values()
        # A new object: YAML's references share one, and it must change here alone.
        releases[release] = {
            **releases[release],
            "variants": {variant: {**old, **pinned}},
        }
    else:
        served = {**pinned, "role": "stable", "traffic": 100}
        releases[release] = {"template": template, "variants": {variant: served}}

    after = _applied(before, _edits(before, release, releases[release]))
    if after == before:
        return False
    try:
        load.parse_file(after.encode(), source=load.named(path))
        unchanged = text.parse(after.encode()).data == wanted
    except text.NotYamlError:
        unchanged = False
    if not unchanged:
        raise LabError(
            f"{load.named(path)}: release {release} cannot be edited alone (its "
            "settings are shared with others by YAML anchors, or are written in an "
            "unusual way); edit the file by hand"
        )
    _replace(path, after.encode())
    return True


def _edits(content: str, release: str, wanted: Tree) -> list[_Edit]:
    root = text.compose(content.removeprefix(_BOM))
    shift = len(content) - len(content.removeprefix(_BOM))
    lab = _child(_child(root, load.LAB[0]), load.LAB[1])
    releases = _child(lab, "releases")
    present = _child(releases, release)
    if present is not None:
        edits = _renewed(_child(present, "variants"), wanted["variants"])
    elif isinstance(releases, MappingNode) and releases.value:
        edits = _inserted(content[shift:], releases, {release: wanted})
    else:
        edits = _inserted(content[shift:], lab, {"releases": {release: wanted}})
    return [_Edit(e.start + shift, e.end + shift, e.new) for e in edits]


def _renewed(variants: Node | None, wanted: Tree) -> list[_Edit]:
    """Rename the only variant and replace those of its values that differ."""
    assert isinstance(variants, MappingNode)
    [(key, pinned)] = variants.value
    [(name, values)] = wanted.items()
    edits = [] if key.value == name else [_over(key, name)]
    for field in ("version", "artifact", "digest"):
        node = _child(pinned, field)
        if node is not None and node.value != str(values[field]):
            edits.append(_over(node, values[field]))
    return edits


def _over(node: Node, value: object) -> _Edit:
    style = node.style if isinstance(node, ScalarNode) else None
    quote = style if style in ("'", '"') else ""
    return _Edit(node.start_mark.index, node.end_mark.index, f"{quote}{value}{quote}")


def _inserted(content: str, mapping: Node | None, entry: Tree) -> list[_Edit]:
    """Add `entry` at the end of a mapping, in the style that the mapping has."""
    assert isinstance(mapping, MappingNode)
    [(name, value)] = entry.items()
    last_key, last = mapping.value[-1]
    if mapping.flow_style:
        at = last.end_mark.index
        empty = _child(mapping, name)
        if empty is not None:
            return [_Edit(empty.start_mark.index, empty.end_mark.index, _flow(value))]
        return [_Edit(at, at, f", {name}: {_flow(value)}")]
    edits = []
    empty = _child(mapping, name)
    if empty is not None:
        # `releases: {}` becomes `releases:` with the new release in the lines below.
        colon = content.rindex(":", 0, empty.start_mark.index) + 1
        edits.append(_Edit(colon, empty.end_mark.index, ""))
        last, entry = empty, value
    column = last_key.start_mark.column
    step = _step(mapping) or 2
    newline = "\r\n" if "\r\n" in content else "\n"
    lines = _block(entry, column + (step if empty is not None else 0), step)
    at = _end(last)
    if content[at - 1] != "\n":
        at = content.find("\n", at) + 1 or len(content)
    missing = "" if content[:at].endswith("\n") else newline
    edits.append(_Edit(at, at, missing + "".join(line + newline for line in lines)))
    return edits


def _end(node: Node) -> int:
    """Where the last character of a node is; a block's own mark is further down."""
    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _step(mapping: MappingNode) -> int | None:
    """By how many columns a block below `mapping` is indented."""
    for key, value in mapping.value:
        if isinstance(value, MappingNode) and not value.flow_style:
            return int(value.start_mark.column - key.start_mark.column)
    return None


def _block(tree: Tree, column: int, step: int) -> list[str]:
    lines = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            lines += [f"{' ' * column}{key}:", *_block(value, column + step, step)]
        else:
            lines.append(f"{' ' * column}{key}: {_scalar(value)}")
    return lines


def _flow(value: object) -> str:
    if not isinstance(value, Mapping):
        return _scalar(value)
    return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"


def _scalar(value: object) -> str:
    return f'"{value}"' if ":" in str(value) else str(value)


def _applied(content: str, edits: list[_Edit]) -> str:
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        content = content[: edit.start] + edit.new + content[edit.end :]
    return content


def _child(node: Node | None, name: str) -> Node | None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == name:
                found: Node = value
                return found
    return None


def _lab(data: Any) -> dict[str, Any]:
    lab: dict[str, Any] = data[load.LAB[0]][load.LAB[1]]
    return lab


def _replace(path: Path, content: bytes) -> None:
    """Write the whole file beside the old one, then put it in its place."""
    path = path.resolve()
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            shutil.copymode(path, file.name)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
