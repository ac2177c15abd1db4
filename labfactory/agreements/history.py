"""The history of an agreement: that of its lines in the settings file, in git."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

SECONDS = 30
ENTRY = ("config", "labfactory:lab", "agreements")
"""Where a stack file has its agreements."""


@dataclass(frozen=True)
class Change:
    """The last commit that touched an agreement."""

    day: str
    """Year-month-day."""
    by: str
    subject: str
    commit: str


def last_changes(path: Path) -> dict[str, Change]:
    """The last change of each agreement in the stack file at `path`, by name.

    Of what is committed; nothing without git, or for what git does not have yet.
    """
    if shutil.which("git") is None:
        return {}
    text = _git(path, "show", f"HEAD:./{path.name}")
    found = {}
    for name, (first, last) in _lines(text).items():
        change = _last(path, first, last)
        if change:
            found[name] = change
    return found


def _last(path: Path, first: int, last: int) -> Change | None:
    form = "--format=%cs%x00%an%x00%s%x00%h"
    lines = f"-L{first},{last}:{path.name}"
    told = _git(path, "log", "-1", "--no-patch", form, lines).strip().split("\0")
    if len(told) != 4:
        return None
    day, by, subject, commit = told
    return Change(day, by, subject, commit)


def _lines(text: str) -> dict[str, tuple[int, int]]:
    """First and last line of each agreement, counted from 1."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return {}
    for key in ENTRY:
        node = _child(node, key)
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {
        key.value: (key.start_mark.line + 1, _end(value)) for key, value in node.value
    }


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for found, value in node.value if found.value == key), None)


def _end(node: yaml.Node) -> int:
    """The last line with a value; a block's own end is where the next one begins."""
    parts = [part for pair in node.value for part in pair] if _is_map(node) else []
    if isinstance(node, yaml.SequenceNode):
        parts = node.value
    return max([node.start_mark.line + 1, *map(_end, parts)])


def _is_map(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode)


def _git(path: Path, *words: str) -> str:
    """What git prints; nothing when it refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(path.parent), *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""
