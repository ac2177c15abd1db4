"""Look for secret values where none of them may be, however they are spelled."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from labfactory.errors import LabError

SHORTEST = 8
"""Letters of a value below which it would be found by chance."""


@dataclass(frozen=True, order=True)
class Leak:
    """A secret that was found: its name, where, and how it was spelled there."""

    name: str
    where: str
    form: str


def scan(values: Mapping[str, str], sources: Iterable[tuple[str, bytes]]) -> list[Leak]:
    """Every value, by its name, that is in a source; sorted, each place once.

    `sources` are names of places and what is there; they are taken one at a time. No
    value is in what is returned or raised.
    Raises LabError for a value that is too short to look for.
    """
    spelled = {name: forms(name, value) for name, value in values.items()}
    found = {
        Leak(name, where, form)
        for where, content in sources
        for name, spellings in spelled.items()
        for form, spellings_of_form in spellings.items()
        if any(each in content for each in spellings_of_form)
    }
    return sorted(found)


def forms(name: str, value: str) -> dict[str, frozenset[bytes]]:
    """How a value may be spelled, by the name of the form.

    A form that spells it no other than plain is left out. Raises LabError when the
    value is too short.
    """
    if len(value) < SHORTEST:
        raise LabError(
            f"value {name!r}: has fewer than {SHORTEST} letters, and would be found by "
            "chance; leave it out, or make the secret longer"
        )
    raw = value.encode()
    quoted = quote(value, safe="")
    spelled = {
        "plain": {raw},
        "base64": {*_base64(raw)},
        "URL": {text.encode() for text in (quoted, _lower(quoted), quote(value))},
        "hex": {raw.hex().encode(), raw.hex().upper().encode()},
        "JSON": {*_json(value)},
    }
    return {
        form: frozenset(texts if form == "plain" else texts - {raw})
        for form, texts in spelled.items()
        if form == "plain" or texts - {raw}
    }


def _base64(raw: bytes) -> Iterator[bytes]:
    """What is the same in every text in base64 that the value is a part of.

    It depends on how many bytes precede it, by three; at its ends letters have bits of
    what is beside it.
    """
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        first = -(-before * 8 // 6)
        whole = (before + len(raw)) * 8 // 6
        part = encoded[first:whole]
        yield part
        yield part.replace(b"+", b"-").replace(b"/", b"_")


def _json(value: str) -> Iterator[bytes]:
    """Inside of a JSON text, and of one that is a text in another, as in states."""
    for is_ascii in (True, False):
        once = json.dumps(value, ensure_ascii=is_ascii)[1:-1]
        yield once.encode()
        # Go writes these so that a browser takes them for no tag.
        safe = once
        for letter in "<>&":
            safe = safe.replace(letter, f"\\u{ord(letter):04x}")
        yield safe.encode()
        yield json.dumps(once)[1:-1].encode()
        yield json.dumps(safe)[1:-1].encode()


def _lower(quoted: str) -> str:
    """The same with hexadecimal digits in small letters."""
    head, *rest = quoted.split("%")
    return "%".join([head, *(each[:2].lower() + each[2:] for each in rest)])
