"""The text of a YAML file: where its entries begin and end, and changes in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ruamel.yaml.nodes import CollectionNode, Node, ScalarNode

_GAP = re.compile(r"(?:[ \t\r\n]+(?:#[^\n]*)?)*")
_REFERENCE = re.compile(r"\s*\*[^\s,\[\]{}]+")


class UnusualError(Exception):
    """The text is written in a way in which it cannot be changed in place."""


class _Change(NamedTuple):
    """Put `new` where the characters from `start` to `end` are."""

    start: int
    end: int
    new: str


class Entry(NamedTuple):
    """An entry of a mapping, and where it is in the text."""

    name: str
    key: Node
    value: Node
    start: int
    end: int
    """After its last character; a block's own mark is further down."""

    @property
    def column(self) -> int:
        """Of its key, from 0."""
        return int(self.key.start_mark.column)

    @property
    def is_reference(self) -> bool:
        """Whether its value is `*name`: the node is the one of `&name`, further up."""
        return _is_reference(self.key, self.value)


class Page:
    """A YAML text, the places in it, and what will be changed; raises UnusualError."""

    def __init__(self, content: str) -> None:
        """`content` has no byte order mark: the parser does not count it."""
        self.newline = "\r\n" if "\r\n" in content else "\n"
        self._ends = content.endswith("\n")
        self.content = content if self._ends else content + self.newline
        self._changes: list[_Change] = []

    def put(self, start: int, end: int, new: str) -> None:
        """Let `new` stand where the characters from `start` to `end` are."""
        self._changes.append(_Change(start, end, new))

    def put_lines(self, at: int, lines: Iterable[str]) -> None:
        """Let `lines` stand before the line that begins at `at`."""
        self.put(at, at, "".join(line + self.newline for line in lines))

    def changed(self) -> str:
        """The text with the changes; without a last newline when it had none."""
        parts, at = [], 0
        for change in sorted(self._changes, key=lambda change: change[:2]):
            if change.start < at or change.end < change.start:
                raise UnusualError
            parts += [self.content[at : change.start], change.new]
            at = change.end
        after = "".join([*parts, self.content[at:]])
        return after if self._ends else after.removesuffix(self.newline)

    def entry(self, key: Node, value: Node) -> Entry:
        """An entry with its place."""
        if not isinstance(key, ScalarNode):
            raise UnusualError
        start, end = key.start_mark.index, self._end(key, value)
        return Entry(key.value, key, value, start, end)

    def colon(self, key: Node) -> int:
        """Where the characters after a key's colon begin."""
        end = key.end_mark.index
        rest = self.content[end : self.next_line(end)].lstrip(" \t")
        if not rest.startswith(":"):
            raise UnusualError
        return self.content.index(":", end) + 1

    def comma(self, at: int) -> int | None:
        """Where the comma is that follows, if a comma follows."""
        gap = _GAP.match(self.content, at)
        assert gap
        return gap.end() if self.content.startswith(",", gap.end()) else None

    def above(self, entry: Entry, floor: int) -> int:
        """Where an entry's lines begin: its comments are right above it, in line."""
        if not self.begins_its_line(entry.start):
            raise UnusualError
        start = self._line(entry.start)
        comment = self.content[start : entry.start] + "#"
        while start > floor:
            above = self._line(start - 1)
            if above < floor or not self.content.startswith(comment, above):
                break
            start = above
        return start

    def below(self, entry: Entry) -> int:
        """Where the line after an entry is: deeper comments below are the entry's."""
        end = entry.end
        at = found = end if self.content[end - 1] == "\n" else self.next_line(end)
        while at < len(self.content):
            after = self.next_line(at)
            line = self.content[at:after]
            words = line.lstrip(" \t")
            if words.startswith("#") and len(line) - len(words) > entry.column:
                found = after
            elif words.strip():
                break
            at = after
        return found

    def next_line(self, at: int) -> int:
        """Where the next line begins."""
        return self.content.find("\n", at) + 1 or len(self.content)

    def begins_its_line(self, at: int) -> bool:
        """Whether nothing but spaces is before it in its line."""
        return not self.content[self._line(at) : at].strip(" ")

    def _line(self, at: int) -> int:
        return self.content.rfind("\n", 0, at) + 1

    def _end(self, key: Node, value: Node) -> int:
        if _is_reference(key, value):
            found = _REFERENCE.match(self.content, self.colon(key))
            if not found:
                raise UnusualError
            return found.end()
        if value.start_mark.index == value.end_mark.index:
            return self.colon(key)
        while isinstance(value, CollectionNode) and not value.flow_style:
            last = value.value[-1]
            if isinstance(last, tuple):
                return self._end(*last)
            value = last
        return int(value.end_mark.index)


def _is_reference(key: Node, value: Node) -> bool:
    return bool(value.start_mark.index < key.end_mark.index)
