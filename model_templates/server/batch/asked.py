"""What a run is to do, and what tells it from any other run."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from . import store
from .store import Found, Refused

PART_ROWS = 65_536
"""Rows of a part, the least that is done again after a kill."""


class Asked(NamedTuple):
    """What a run is to do."""

    input: str
    output: str
    model: dict[str, Any]
    """Release, variant, version and digest: for the manifest."""
    shard: int = 0
    shards: int = 1
    part_rows: int = PART_ROWS


def inputs(address: str) -> list[Found]:
    """Return the files of an input; Refused when there are none."""
    found = store.files(address)
    if not found:
        raise Refused(f"{address}: there is nothing at this address of the store")
    return found


def identity(files: list[Found], asked: Asked) -> str:
    """Return what names a run: the content that it reads, the model, the cut."""
    said = {
        "digest": asked.model["digest"],
        "release": asked.model["release"],
        "part_rows": asked.part_rows,
        "files": [described(found) for found in files],
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def described(found: Found) -> dict[str, Any]:
    """Return what the manifest says of a file."""
    return {"name": found.name, "size": found.size, "etag": found.etag}


def difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    """Say in what two runs differ."""
    if there.get("digest") != here["digest"]:
        return f"of {there.get('variant')}, another model"
    if there.get("part_rows") != here["part_rows"]:
        return "cut into parts of another size"
    return f"of another input, {there.get('input')}, or of what it was before"
