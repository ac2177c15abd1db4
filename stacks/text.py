"""A stack file as text: its data, where each setting stands, and keys written twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from stacks.raw import Path, Problem


class NotYamlError(Exception):
    """The text is not YAML; the message says why and what to do, without the text."""

    def __init__(self, line: int | None, message: str) -> None:
        """`line` counts from 1; None when the file as a whole is meant."""
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class StackText:
    """What a stack file says."""

    data: Any
    """Its content: mappings, lists, texts, numbers, dates."""
    lines: Mapping[Path, int]
    """Line of each key and list item, from 1."""
    twice: tuple[Problem, ...]
    """Keys that stand twice in the same mapping."""

    def line(self, path: Path) -> int | None:
        """Line of a setting, or of the nearest section around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def parse(content: bytes) -> StackText:
    """Read a stack file's bytes; raises NotYamlError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotYamlError(None, "is not a text in UTF-8; save it as UTF-8") from None
    try:
        loader = _loader()
        root = loader.compose(text)
        data = loader.constructor.construct_document(root) if root else None
    except MarkedYAMLError as error:
        raise _sentence(error) from None
    except (YAMLError, ValueError, RecursionError):
        raise NotYamlError(
            None,
            "is not YAML that can be read (a control character, a number of thousands "
            "of digits, or brackets hundreds deep); remove it",
        ) from None
    keys = list(_keys(root, (), ()))
    twice = [
        (key.path, f"is there twice (lines {key.first} and {key.line}); keep one")
        for key in keys
        if key.first
    ]
    return StackText(data, {key.path: key.line for key in reversed(keys)}, tuple(twice))


def compose(text: str) -> Node | None:
    """The tree of a YAML text with the position of each node; None when empty."""
    root: Node | None = _loader().compose(text)
    return root


class _Key(NamedTuple):
    path: Path
    line: int
    first: int | None = None
    """Line of the same key further up in the same mapping."""


class _Constructor(SafeConstructor):
    """Dates stay texts, as Pulumi hands them on: an impossible one has a line."""


_Constructor.add_constructor(
    "tag:yaml.org,2002:timestamp", _Constructor.construct_yaml_str
)


def _loader() -> YAML:
    loader = YAML(typ="safe", pure=True)
    loader.Constructor = _Constructor
    loader.allow_duplicate_keys = True
    return loader


def _keys(node: Node | None, path: Path, above: tuple[Node, ...]) -> Iterator[_Key]:
    """Each key and list item below `node`; a reference to a node above ends there."""
    if node is None or node in above:
        return
    above = (*above, node)
    if isinstance(node, MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                line = key.start_mark.line + 1
                yield _Key((*path, key.value), line, first.get(key.value))
                first.setdefault(key.value, line)
                yield from _keys(value, (*path, key.value), above)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield _Key((*path, index), item.start_mark.line + 1)
            yield from _keys(item, (*path, index), above)


def _sentence(error: MarkedYAMLError) -> NotYamlError:
    """Our own words: the parser's may quote the file, and so a secret."""
    problem = str(error.problem or "")
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else None
    if "\\t" in problem or "tab" in problem:
        return NotYamlError(line, "is not YAML (a tab indents it); indent with spaces")
    if "alias" in problem:
        return NotYamlError(
            line, "is not YAML (`*` begins a reference); quote texts that begin with *"
        )
    if "document" in problem:
        return NotYamlError(
            line, "is not one YAML document but several; remove the lines `---`"
        )
    return NotYamlError(
        line,
        "is not YAML; compare indentation, colons, brackets and quotes of this line "
        "with the ones above",
    )
