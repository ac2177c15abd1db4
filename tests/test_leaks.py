"""Secret values are found wherever and however they are spelled, and never told."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labfactory.errors import LabError
from labfactory.leaks import Leak, forms, scan

SECRET = 'pass/wörd+"<&>\\ of-the\nlab'

SPELLINGS: dict[str, tuple[str, Callable[[str], str]]] = {
    "plain": ("plain", lambda text: text),
    "base64": ("base64", lambda text: base64.b64encode(text.encode()).decode()),
    "url-safe-base64": (
        "base64",
        lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    ),
    "url": ("URL", lambda text: quote(text, safe="")),
    "url-path": ("URL", quote),
    "url-small": (
        "URL",
        lambda text: (
            quote(text, safe="")
            .replace("%2B", "%2b")
            .replace("%C3", "%c3")
            .replace("%B6", "%b6")
            .replace("%3C", "%3c")
            .replace("%3E", "%3e")
            .replace("%5C", "%5c")
            .replace("%0A", "%0a")
            .replace("%2F", "%2f")
        ),
    ),
    "hex": ("hex", lambda text: text.encode().hex()),
    "hex-capitals": ("hex", lambda text: text.encode().hex().upper()),
    "json": ("JSON", lambda text: json.dumps({"a": text})),
    "json-unicode": ("JSON", lambda text: json.dumps([text], ensure_ascii=False)),
    "json-in-json": ("JSON", lambda text: json.dumps(json.dumps({"a": text}))),
    "json-of-go": (
        "JSON",
        lambda text: (
            json.dumps(text)
            .replace("<", "\\u003c")
            .replace(">", "\\u003e")
            .replace("&", "\\u0026")
        ),
    ),
}


@pytest.mark.parametrize(("form", "spell"), SPELLINGS.values(), ids=[*SPELLINGS])
def test_a_secret_is_found_in_every_spelling(
    form: str, spell: Callable[[str], str]
) -> None:
    text = f"before {spell(SECRET)} after".encode()

    assert Leak("seed", "log", form) in scan({"seed": SECRET}, [("log", text)])


@given(
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
    value=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8),
)
def test_a_part_of_what_is_in_base64_is_found(
    before: bytes, after: bytes, value: str
) -> None:
    content = base64.b64encode(before + value.encode() + after)

    found = scan({"seed": value}, [("x", content)])

    assert Leak("seed", "x", "base64") in found


def test_nothing_is_found_where_nothing_is() -> None:
    values = {"seed": SECRET, "key": "kO3-aV9_qq81"}
    almost = f"{SECRET[:-1]} kO3-aV9_qq8".encode()

    assert scan(values, [("a", almost), ("b", b"")]) == []


def test_leaks_are_told_by_name_and_place_alone() -> None:
    other = "another-value"
    sources = [("b", SECRET.encode()), ("a", f"{SECRET}{other}".encode())]

    found = scan({"seed": SECRET, "key": other}, [*sources, *sources])

    assert found == [
        Leak("key", "a", "plain"),
        Leak("seed", "a", "plain"),
        Leak("seed", "b", "plain"),
    ]
    assert not any(text in repr(found) for text in (SECRET, repr(SECRET)[1:-1], other))


def test_a_value_that_would_be_found_by_chance_is_refused_without_telling_it() -> None:
    with pytest.raises(LabError, match="'pin'") as refused:
        scan({"pin": "0815"}, [])
    assert "0815" not in str(refused.value)


def test_a_form_that_is_not_different_from_plain_is_not_told_beside_it() -> None:
    assert [*forms("seed", "abcdefgh")] == ["plain", "base64", "hex"]


def test_sources_are_taken_one_at_a_time() -> None:
    taken = []

    def sources() -> Iterator[tuple[str, bytes]]:
        for name in ("a", "b"):
            taken.append(name)
            yield name, SECRET.encode()

    assert [each.where for each in scan({"seed": SECRET}, sources())] == ["a", "b"]
    assert taken == ["a", "b"]
