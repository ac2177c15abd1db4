"""What of a lab's settings waits until its models are back, and how it comes back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labfactory.errors import LabError
from labfactory.settings import history
from labfactory.settings.edit import edit
from labfactory.stack import Stack
from stacks import load, text
from stacks.load import SettingsError


def aside(stack: Stack) -> Path:
    """Where the settings are kept as they were before the restore."""
    return stack.file.with_name(f"{stack.file.stem}.before-restore.old")


def without_releases(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without releases, and without agreements about releases. Pure."""
    agreements = tree.get("agreements") or {}
    whole = {name: each for name, each in agreements.items() if not each.get("covers")}
    left = {**tree, "releases": {}}
    return {**left, "agreements": whole} if "agreements" in tree else left


def with_releases(
    tree: Mapping[str, Any],
    restored: Mapping[str, Any],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """The settings with the releases that were `restored`. Pure.

    Those that are there stay. A backup without settings leaves those of `before`, the
    settings as they were; agreements about releases come from there, too.
    """
    releases = tree.get("releases") or restored or before.get("releases") or {}
    if not releases:
        return dict(tree)
    agreements = {
        name: each
        for name, each in (before.get("agreements") or {}).items()
        if each.get("covers") and {*each["covers"]} <= releases.keys()
    }
    found = {**tree, "releases": dict(releases)}
    if agreements:
        found["agreements"] = {**agreements, **(tree.get("agreements") or {})}
    return found


def take_out(stack: Stack) -> bool:
    """Write the settings without releases; keep the file as it was beside it.

    Returns whether there were any.
    """
    if not stack.settings.releases:
        return False
    change = edit(stack.file, without_releases)
    aside(stack).write_bytes(change.before)
    change.write()
    return True


def put_back(stack: Stack, restored: Mapping[str, Any], source: str) -> str | None:
    """Write the restored releases; return a sentence about it, None when all stays.

    Raises LabError when they don't fit into the lab's settings; nothing is written.
    """
    kept = aside(stack)
    before: Mapping[str, Any] = {}
    if kept.exists():
        before = text.parse(kept.read_bytes()).data[load.LAB[0]][load.LAB[1]]
    try:
        change = edit(stack.file, lambda tree: with_releases(tree, restored, before))
    except SettingsError as error:
        raise LabError(
            f"lab {stack.name!r}: its data is back, but the releases do not fit into "
            f"its settings:\n{error}\nMend that and run the same command again: it "
            "restores nothing twice"
        ) from None
    if change.after == change.before:
        return None
    change.write()
    told = history.kept(
        stack.file,
        subject=f"Restore the releases of {source}",
        reason="Their models are back from a backup.",
    )
    if kept.exists():
        # A later restore must not take it for what was there before that one.
        done = kept.replace(f"{stack.file}.old")
        told = f"{told}; as it was before it is in {done.name}"
    return told
