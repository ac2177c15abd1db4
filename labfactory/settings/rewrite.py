"""Change a stack file's text and leave everything else in it as it was, byte for byte.

Only the characters of what differs are replaced, at the positions that the YAML
parser reports: comments, order, quotes, indentation and encrypted values stay. A
comment belongs to an entry when it is on the entry's lines, below them and indented
more than its key, or in the lines right above the key and in line with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml.nodes import MappingNode

from labfactory.errors import LabError
from labfactory.settings.entries import change, same
from labfactory.settings.page import Page, UnusualError
from stacks import load, text
from stacks.explain import written

Path = tuple[str, ...]
_BOM = "\ufeff"


def rewrite(content: bytes, wanted_lab: Mapping[str, Any], *, source: str) -> bytes:
    """Return `content`, a stack file, with the settings `wanted_lab`.

    Raises stacks.load.SettingsError when these are not valid, or when `content` has
    no settings; LabError when they can't be written without changing something else.
    """
    try:
        data = text.parse(content).data
        old = data[load.LAB[0]][load.LAB[1]]
    except (text.NotYamlError, KeyError, TypeError):
        load.parse_file(content, source=source)
        raise
    changed = next(differences(old, wanted_lab), None)
    if changed is None:
        return content
    config = {**data[load.LAB[0]], load.LAB[1]: wanted_lab}
    wanted = {**data, load.LAB[0]: config}
    try:
        after = _replaced(content.decode(), data, wanted).encode()
        found = text.parse(after).data
        wrong = next(differences(found, wanted), None)
    except (UnusualError, text.NotYamlError):
        wrong = changed
    if wrong is not None:
        setting = written(wrong[2:] if wrong[:2] == load.LAB else wrong)
        raise LabError(
            f"{source}: {setting} cannot be changed alone (it is shared with other "
            "settings by YAML anchors, or written in an unusual way); edit the file "
            f"by hand: change {written(changed)}"
        )
    load.parse_file(after, source=source)
    return after


def differences(old: object, new: object, path: Path = ()) -> Iterator[Path]:
    """Each setting that is not the same in both trees."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            if key in old and key in new:
                yield from differences(old[key], new[key], (*path, key))
            else:
                yield (*path, key)
    elif not same(old, new):
        yield path


def _replaced(content: str, old: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    start = 1 if content.startswith(_BOM) else 0
    page = Page(content[start:])
    root = text.compose(page.content)
    if not isinstance(root, MappingNode):
        raise UnusualError
    change(page, root, old, wanted)
    return content[:start] + page.changed()
