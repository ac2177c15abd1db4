"""Let a mapping of a YAML text say something else, entry by entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ruamel.yaml.nodes import CollectionNode, MappingNode, SequenceNode

from labfactory.settings.page import Entry, Page, UnusualError
from labfactory.settings.spell import block, flow, is_list, items, last_group, scalar

Tree = Mapping[str, Any]


def change(page: Page, mapping: MappingNode, old: Tree, wanted: Tree) -> None:
    """Let `mapping`, which says `old`, say `wanted`; what is new comes last.

    Raises page.UnusualError when it is written in a way that cannot be changed.
    """
    entries = [page.entry(key, value) for key, value in mapping.value]
    for entry in entries:
        name = entry.name
        if name in old and name in wanted and not same(old[name], wanted[name]):
            _set(page, mapping, entry, old[name], wanted[name])
    gone = {name for name in old if name not in wanted}
    added = {name: value for name, value in wanted.items() if name not in old}
    if mapping.flow_style and (gone or added):
        _change_braces(page, mapping, entries, gone, added)
    elif gone or added:
        _change_lines(page, mapping, entries, gone, added)


def same(old: object, new: object) -> bool:
    """Whether both say the same; the numbers 1 and 1.0 do not."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(same(old[k], new[k]) for k in old)
    if is_list(old) and is_list(new):
        return len(old) == len(new) and all(map(same, old, new))
    return type(old) is type(new) and old == new


def _set(
    page: Page, parent: MappingNode, entry: Entry, old: object, wanted: object
) -> None:
    value = entry.value
    if entry.is_reference:
        raise UnusualError
    if isinstance(value, MappingNode) and isinstance(wanted, Mapping):
        if value.value and wanted:
            assert isinstance(old, Mapping)
            change(page, value, old, wanted)
            return
        if wanted and not parent.flow_style:
            _open(page, parent, entry, wanted)
            return
    start, end = value.start_mark.index, entry.end
    colon = page.colon(entry.key)
    if isinstance(value, CollectionNode) and not value.flow_style:
        if isinstance(value, SequenceNode) and is_list(wanted) and wanted:
            column = value.start_mark.column
            lines = page.newline.join(items(wanted, value, column))
            page.put(start, end, lines[column:])
        else:
            page.put(colon, end, f" {flow(wanted)}")
    elif start == value.end_mark.index:
        page.put(colon, colon, f" {flow(wanted)}")
    else:
        # The text of a block scalar reaches into the next line.
        rest = page.newline if page.content[end - 1] == "\n" else ""
        page.put(start, end, flow(wanted, value) + rest)


def _open(page: Page, parent: MappingNode, entry: Entry, wanted: Tree) -> None:
    """Let `releases: {}` become `releases:` with its entries in lines below."""
    step = _step(parent)
    page.put(page.colon(entry.key), entry.end, "")
    page.put_lines(page.below(entry), block(wanted, None, entry.column + step, step))


def _change_lines(
    page: Page,
    mapping: MappingNode,
    entries: list[Entry],
    gone: set[str],
    added: Tree,
) -> None:
    below = [page.below(entry) for entry in entries]
    kept = [
        end for entry, end in zip(entries, below, strict=True) if entry.name not in gone
    ]
    for entry, floor, end in zip(entries, [0, *below], below, strict=False):
        if entry.name in gone:
            page.put(page.above(entry, floor), end, "")
    lines = block(added, mapping, entries[0].column, _step(mapping))
    page.put_lines(kept[-1] if kept else below[-1], lines)


def _change_braces(
    page: Page,
    mapping: MappingNode,
    entries: list[Entry],
    gone: set[str],
    added: Tree,
) -> None:
    kept = [entry for entry in entries if entry.name not in gone]
    if not kept:
        start, end = mapping.start_mark.index, mapping.end_mark.index
        page.put(start, end, flow(added, mapping))
        return
    first = 0
    for number, entry in enumerate([*entries, None]):
        if entry is None or entry.name not in gone:
            if first < number:
                before = entries[first - 1] if first else None
                _cut(page, before, entries[first], entries[number - 1], entry)
            first = number + 1
    last = kept[-1]
    between = ", "
    rest = page.content[last.end : page.next_line(last.end)]
    if page.begins_its_line(last.start) and rest.strip() in ("", ","):
        between = f",{page.newline}{' ' * last.column}"
    for name, value in added.items():
        written = f"{scalar(name)}: {flow(value, last_group(mapping, value))}"
        page.put(last.end, last.end, between + written)


def _cut(
    page: Page, before: Entry | None, first: Entry, last: Entry, after: Entry | None
) -> None:
    """Take neighbours out of braces, from `first` to `last`, with one comma."""
    comma = page.comma(before.end) if before else None
    if not after and comma and "\n" not in page.content[comma : first.start]:
        page.put(comma, last.end, "")
        return
    comma = page.comma(last.end)
    end = last.end if comma is None else comma + 1
    line = page.next_line(end)
    rest = page.content[end:line]
    words = rest.strip()
    if words and not words.startswith("#"):
        spaces = len(rest) - len(rest.lstrip(" \t")) if after else 0
        page.put(first.start, end + spaces, "")
    elif page.begins_its_line(first.start):
        page.put(page.above(first, before.end if before else 0), line, "")
    else:
        start = len(page.content[: first.start].rstrip(" \t"))
        page.put(start, end + len(rest.rstrip()), "")


def _step(mapping: MappingNode) -> int:
    """By how many columns a block below `mapping` is indented; 2 when it has none."""
    for key, value in mapping.value:
        if isinstance(value, MappingNode) and not value.flow_style:
            return int(value.start_mark.column - key.start_mark.column)
    return 2
