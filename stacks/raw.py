"""Settings as they were written, which may be wrong anywhere.

What is absent or of another type is left out here: it is somebody else's complaint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

Tree = Mapping[str, Any]
Path = tuple[str | int, ...]
Problem = tuple[Path, str]
Rule = Callable[[Tree], Iterator[Problem]]


class TemplateFacts(NamedTuple):
    """What the settings must fit in a model template."""

    kind: str
    """`server`: the lab's own model server; `kserve`: one of KServe's."""
    paths: int
    """Beginnings of the URLs that callers reach."""


def mapping(value: object) -> Tree:
    """`value`, or nothing when it is no group of settings."""
    return value if isinstance(value, Mapping) else {}


def releases(lab: Tree) -> Iterator[tuple[Path, Tree]]:
    """Path and settings of each release."""
    for name, release in mapping(lab.get("releases")).items():
        yield ("releases", name), mapping(release)


def variants(path: Path, release: Tree) -> list[tuple[Path, Tree]]:
    """Path and settings of each variant of the release at `path`."""
    return [
        ((*path, "variants", name), variant)
        for name, variant in mapping(release.get("variants")).items()
        if isinstance(variant, Mapping)
    ]


def all_variants(lab: Tree) -> Iterator[tuple[Path, Tree]]:
    """Path and settings of each variant of each release."""
    for path, release in releases(lab):
        yield from variants(path, release)


def traffic(variant: Tree) -> int:
    """Per cent of the requests; 0 when it is absent or not a whole number."""
    weight = variant.get("traffic")
    return weight if type(weight) is int else 0


def buckets(lab: Tree) -> list[str]:
    """The lab's buckets, without names that no bucket can have."""
    found = mapping(lab.get("storage")).get("buckets")
    if not isinstance(found, list | tuple):
        return []
    # A name that is none may be anything, and these names are printed.
    named = [bucket for bucket in found if isinstance(bucket, str)]
    return [bucket for bucket in named if re.fullmatch("[a-z0-9-]{3,63}", bucket)]


def bucket_of(address: object) -> str | None:
    """BUCKET of s3://BUCKET/PATH."""
    found = re.match("s3://([^/]+)/", address) if isinstance(address, str) else None
    return found[1] if found else None


def near_miss(word: str, words: Collection[str]) -> str:
    """`; did you mean "…"?` when `word` is nearly one of `words`, else nothing."""
    close = get_close_matches(word, words, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def shown(key: object) -> str:
    """A key as text; one of somebody else's making must not steer the terminal."""
    return "".join(char if char.isprintable() else "?" for char in str(key))
