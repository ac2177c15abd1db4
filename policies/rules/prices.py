"""Price books: what reserved things cost, with the day and the source of the prices.

A book is a file of `policies/prices/`; its name is the file's, without the suffix:
`currency` (EUR), `dated` ("2026-11-21"), `source` (where the prices are from),
`region` (or none), `rates` (a number for each of `NAMES`), `monthly` (what a resource
of a Pulumi type costs for a month; may be left out) and `beside` (sentences about what
is in no sum; may be left out).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "prices"
NAMES = ("cpu_hour", "gib_hour", "gib_month", "gpu_hour")
"""Prices that every lab needs: a core and a GiB of memory for an hour, a GiB of volume
for a month, a GPU for an hour."""
KEYS = {"currency", "region", "dated", "source", "rates", "monthly", "beside"}


class BookError(Exception):
    """A price book that cannot be used, as a sentence."""


@dataclass(frozen=True)
class Book:
    """Prices of one place, on one day."""

    name: str
    currency: str
    region: str | None
    dated: date
    source: str
    """Where the prices are from, for people."""
    rates: Mapping[str, float]
    """Some of `NAMES`, and what they cost."""
    monthly: Mapping[str, float] = field(default_factory=dict)
    """What a resource of a Pulumi type costs for a month."""
    beside: tuple[str, ...] = ()
    """What is in no sum: sentences."""

    def age(self, today: date) -> int:
        """Days since its prices were read."""
        return (today - self.dated).days


def names(folder: Path = FOLDER) -> list[str]:
    """The books that there are."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


@cache
def read_book(name: str, folder: Path = FOLDER) -> Book:
    """Return a price book. Raises BookError: all that is wrong, or which ones exist."""
    if name not in names(folder):
        raise BookError(
            f"there is no price book {name!r} (there is: {', '.join(names(folder))}); "
            "choose one of these, or write policies/prices/" + name + ".yaml"
        )
    try:
        tree = yaml.safe_load((folder / f"{name}.yaml").read_text())
    except yaml.YAMLError as error:
        raise BookError(
            f"the price book {name!r} is not YAML ({error}); mend it"
        ) from None
    if wrong := [*_problems(tree)]:
        raise BookError(
            f"the price book {name!r} is not valid: {', '.join(wrong)}; mend it"
        )
    return Book(
        name=name,
        currency=tree["currency"],
        region=tree.get("region"),
        dated=date.fromisoformat(str(tree["dated"])),
        source=tree["source"].strip(),
        rates={key: float(value) for key, value in tree["rates"].items()},
        monthly={k: float(v) for k, v in (tree.get("monthly") or {}).items()},
        beside=tuple(tree.get("beside") or ()),
    )


def rates(book: Book, own: Mapping[str, Any]) -> dict[str, float]:
    """What things cost: prices of `own` first, then the book's; by name or type.

    Raises BookError for a price that neither has.
    """
    said = {name: float(price) for name, price in own.items() if price is not None}
    found = {**book.monthly, **book.rates, **said}
    if missing := [name for name in NAMES if name not in found]:
        there = " and ".join(f"`costs.prices.{name}`" for name in missing)
        raise BookError(
            f"the price book {book.name!r} has no price {', '.join(missing)}; write it "
            f"there, or set {there}"
        )
    return found


def _problems(tree: Any) -> Iterator[str]:
    if not isinstance(tree, Mapping):
        yield "it has no sections"
        return
    for key in sorted({*map(str, tree)} - KEYS):
        yield f"it has `{key}`, which is no part of a book"
    if not re.fullmatch("[A-Z]{3}", str(tree.get("currency"))):
        yield "`currency` is not three capital letters, such as EUR"
    try:
        date.fromisoformat(str(tree.get("dated")))
    except ValueError:
        yield '`dated` is not a day, such as "2026-11-21"'
    if not isinstance(tree.get("source"), str) or not tree["source"].strip():
        yield "`source` does not say where the prices are from"
    yield from _wrong_prices(tree)


def _wrong_prices(tree: Mapping[str, Any]) -> Iterator[str]:
    for section in ("rates", "monthly"):
        found = tree.get(section, {})
        if not isinstance(found, Mapping):
            yield f"`{section}` is not a list of names with prices"
            continue
        for name, price in found.items():
            if section == "rates" and name not in NAMES:
                yield f"`rates.{name}` is no price (there is: {', '.join(NAMES)})"
            numbers = isinstance(price, int | float) and not isinstance(price, bool)
            if not numbers or not 0 <= price < float("inf"):
                yield f"`{section}.{name}` is not a number of at least 0"
