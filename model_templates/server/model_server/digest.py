"""The content digest that pins a variant: one value for a whole folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

CARD = ".lab-card.html"
"""The model's card, at the root of its folder: told of the model, no part of it."""
REFERENCE = ".lab-reference.json"
"""What the model has learned from, in bins: at the same place, and no part of it."""


def tree_digest(folder: Path | str) -> str:
    """Return `sha256:<hex>` over every file below `folder` but what tells of it.

    The hash is over one line per file, `<sha256 of content>  <relative path>`, sorted
    by path: what `find -type f | LC_ALL=C sort | xargs sha256sum | sha256sum` gives.
    Exactly two names are left out: `CARD` and `REFERENCE`, and only at the root.
    Raises FileNotFoundError when there is no file to pin.
    """
    root = Path(folder)
    files = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*")
        if path.is_file()
    }
    for about in (CARD, REFERENCE):
        files.pop(about, None)
    if not files:
        raise FileNotFoundError(f"{root}: there is no file below this folder")
    tree = hashlib.sha256()
    for name in sorted(files, key=str.encode):
        with files[name].open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        tree.update(f"{content}  {name}\n".encode())
    return f"sha256:{tree.hexdigest()}"


def mismatch(folder: Path | str, expected: str) -> str:
    """Return what is wrong with the artifact if this is not its digest."""
    try:
        found = tree_digest(folder)
    except OSError as error:
        return f"{folder}: there is no model ({error})"
    if found == expected:
        return ""
    return (
        f"{folder}: the artifact is not the one that was released (expected "
        f"{expected}, found {found}); it was changed in the store, or the release's "
        "digest belongs to another version"
    )
