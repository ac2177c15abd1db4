"""Compare what was brought back with what was kept; pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MOST_SHOWN = 20
RELATIVE = 1e-9
"""How far apart two numbers may be that a model has answered at different times."""

Tables = Mapping[str, Mapping[str, Any]]
Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]


def tables(kept: Tables, found: Tables) -> Iterator[str]:
    """Every difference between two databases, as sentences."""
    for name in sorted(kept.keys() | found.keys()):
        if name not in found:
            yield f"table {name}: is missing ({kept[name]['rows']} rows were kept)"
        elif name not in kept:
            yield f"table {name}: was not in the backup ({found[name]['rows']} rows)"
        elif kept[name]["rows"] != found[name]["rows"]:
            yield (
                f"table {name}: has {found[name]['rows']} rows, "
                f"{kept[name]['rows']} were kept"
            )
        elif kept[name]["sum"] != found[name]["sum"]:
            yield f"table {name}: has other content in its {kept[name]['rows']} rows"


def objects(kept: Objects, found: Objects) -> Iterator[str]:
    """Every difference between two stores, as sentences."""
    for bucket in sorted(kept.keys() | found.keys()):
        ours, theirs = kept.get(bucket, {}), found.get(bucket, {})
        for key in sorted(ours.keys() | theirs.keys()):
            where = f"object s3://{bucket}/{key}"
            if key not in theirs:
                yield f"{where}: is missing ({ours[key]['bytes']} bytes were kept)"
            elif key not in ours:
                yield f"{where}: was not in the backup"
            elif ours[key]["bytes"] != theirs[key]["bytes"]:
                yield (
                    f"{where}: has {theirs[key]['bytes']} bytes, "
                    f"{ours[key]['bytes']} were kept"
                )
            elif ours[key]["sha256"] != theirs[key]["sha256"]:
                yield f"{where}: has other content in its {ours[key]['bytes']} bytes"


def counts(what: str, kept: int, found: int) -> Iterator[str]:
    """One sentence when two numbers differ."""
    if kept != found:
        yield f"MLflow lists {found} {what}, {kept} were kept"


def digests(kept: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each model whose artifact is not what was pinned."""
    for name, digest in sorted(kept.items()):
        if name not in found:
            yield f"model {name}: its artifact is missing"
        elif digest != found[name]:
            yield f"model {name}: its artifact is {found[name]}, pinned is {digest}"


def answers(name: str, kept: Sequence[Any], found: Sequence[Any]) -> Iterator[str]:
    """A sentence when a restored model answers anything else."""
    if len(kept) != len(found):
        yield f"model {name}: gives {len(found)} answers, {len(kept)} were kept"
        return
    pairs = enumerate(zip(kept, found, strict=True))
    if wrong := [number for number, (a, b) in pairs if not equal(a, b)]:
        first = wrong[0]
        yield (
            f"model {name}: answers {len(wrong)} of {len(kept)} rows otherwise (row "
            f"{first}: {_short(found[first])}, kept was {_short(kept[first])})"
        )


def equal(one: Any, other: Any) -> bool:
    """Whether two answers are the same, numbers but for their last digits."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=RELATIVE)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            equal(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return type(one) is type(other) and one == other


def shown(problems: Sequence[str], most: int = MOST_SHOWN) -> list[str]:
    """The first of the sentences, and one that says how many more there are."""
    more = len(problems) - most
    return [*problems[:most], *([f"and {more} more differences"] if more > 0 else [])]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
