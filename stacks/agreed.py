"""Agreements as they were written, which may be wrong anywhere.

What is absent or of another type is left out here: it is somebody else's complaint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from stacks.raw import Path, Tree, mapping, releases

_UNITS = {"m": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def agreements(lab: Tree) -> Iterator[tuple[Path, Tree]]:
    """Path and settings of each agreement."""
    for name, agreement in mapping(lab.get("agreements")).items():
        if isinstance(agreement, Mapping):
            yield ("agreements", name), agreement


def covered(agreement: Tree) -> list[str | None]:
    """The releases that an agreement names; None alone for the lab as a whole."""
    found = agreement.get("covers") or []
    if not isinstance(found, list | tuple):
        return []
    return [each for each in found if isinstance(each, str)] if found else [None]


def under(lab: Tree, agreement: Tree) -> Iterator[tuple[str, Tree]]:
    """Name and settings of each release that `agreement` is about."""
    named = covered(agreement)
    others = {each for _, other in agreements(lab) for each in covered(other)}
    for path, release in releases(lab):
        name = str(path[-1])
        if name in named or (named == [None] and name not in others):
            yield name, release


def names(lab: Tree) -> list[str]:
    """Names of the releases that there are."""
    return [str(path[-1]) for path, _ in releases(lab)]


def number(section: Tree, key: str) -> float | None:
    """A number in `section`."""
    found = section.get(key)
    return found if type(found) in (int, float) else None


def day(value: object) -> str | None:
    """A day as year-month-day, whoever wrote it; days in this form sort by time."""
    found = re.match(r"\d{4}-\d\d-\d\d", str(value))
    return found[0] if found else None


def amount(value: object) -> int | None:
    """Thousandths of a core, or bytes."""
    found = re.fullmatch(r"(\d{1,9})(m|Ki|Mi|Gi|Ti)", str(value))
    return int(found[1]) * _UNITS[found[2]] if found else None


def host(endpoint: object) -> str | None:
    """Host and port of an endpoint, as both may be written in several ways."""
    try:
        address = urlsplit(endpoint if isinstance(endpoint, str) else "")
        port = address.port or {"https": 443, "http": 80}.get(address.scheme)
    except ValueError:
        return None
    return f"{address.hostname}:{port}" if address.hostname else None
