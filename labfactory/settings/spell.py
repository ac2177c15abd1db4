"""How a value is written as YAML: quoted where it must be, in the style of others.

A text is written plainly only when each reader of a stack file takes it for that text:
our own parser follows YAML 1.2, Pulumi's and many editors' follow YAML 1.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import yaml
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from stacks import text

Tree = Mapping[str, Any]


def scalar(value: object, like: Node | None = None) -> str:
    """One value on one line, quoted as `like` is when that can hold it."""
    if not isinstance(value, str):
        return _dumped(value, None)
    style = like.style if isinstance(like, ScalarNode) else None
    if style == "'" and value.isprintable():
        return _dumped(value, "'")
    if style not in ("'", '"') and _is_plain(value):
        return value
    return _dumped(value, '"')


def flow(value: object, like: Node | None = None) -> str:
    """A whole tree on one line: `{name: value, list: [one, two]}`."""
    if isinstance(value, Mapping):
        entries = [f"{scalar(k)}: {flow(v, child(like, k))}" for k, v in value.items()]
        return f"{{{', '.join(entries)}}}"
    if is_list(value):
        return f"[{', '.join(flow(each, _item(like)) for each in value)}]"
    return scalar(value, like)


def block(tree: Tree, like: Node | None, column: int, step: int) -> list[str]:
    """The entries of `tree`, a line each, from `column` on; deeper ones by `step`.

    `like` is a mapping with such entries, or None: what it has in one line is
    written in one line, and what it has in quotes is quoted.
    """
    lines = []
    for key, value in tree.items():
        name = f"{' ' * column}{scalar(key)}:"
        model = child(like, key) or last_group(like, value)
        in_one_line = isinstance(model, MappingNode) and model.flow_style
        if isinstance(value, Mapping) and value and not in_one_line:
            lines += [name, *block(value, model, column + step, step)]
        else:
            lines.append(f"{name} {flow(value, model)}")
    return lines


def items(values: Sequence[Any], like: Node | None, column: int) -> list[str]:
    """A list, a line for each item."""
    return [f"{' ' * column}- {flow(each, _item(like))}" for each in values]


def child(node: Node | None, name: str) -> Node | None:
    """The value of an entry of a mapping; None when there is none."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == name:
                found: Node = value
                return found
    return None


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether `value` is written as a list."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def last_group(like: Node | None, value: object) -> Node | None:
    """The entry that a new group of settings should look like."""
    if not isinstance(like, MappingNode) or not isinstance(value, Mapping):
        return None
    names = set(value)
    for _, node in reversed(like.value):
        # Releases are like releases and variants like variants; not `match` alike.
        if isinstance(node, MappingNode) and names & {k.value for k, _ in node.value}:
            found: Node = node
            return found
    return None


def _item(like: Node | None) -> Node | None:
    return like.value[0] if isinstance(like, SequenceNode) and like.value else None


def _is_plain(value: str) -> bool:
    if not re.fullmatch(r"[\w./-]+", value, re.ASCII):
        return False
    if _dumped(value, None) != value:
        return False
    try:
        return bool(text.parse(value.encode()).data == value)
    except text.NotYamlError:
        return False


def _dumped(value: object, style: str | None) -> str:
    written = yaml.safe_dump(
        value, default_style=style, width=math.inf, allow_unicode=True
    )
    return written.removesuffix("\n").removesuffix("\n...")
