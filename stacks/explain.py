"""Every mistake in a lab's settings as a setting's path and a sentence.

pydantic finds them, but its own sentences are written for programmers, name the tags
of its unions and quote rejected values: none of its text gets past this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stacks import rules
from stacks.promises import BackupsConfig
from stacks.raw import Path, Problem, TemplateFacts, near_miss, shown
from stacks.schema import PROJECT, LabConfig
from stacks.section import Section

_SECRET = re.compile(
    r"passw|secret|token|credential|private|api[-_]?key|access[-_]?key|key[-_]id", re.I
)
_KINDS = {
    type(None): "nothing",
    bool: "yes or no",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a group of settings",
}


_GROUPS = ("dict_type", "mapping_type", "model_attributes_type", "model_type")
_SENTENCES = {
    "greater_than_equal": "is too small; write at least {ge:.10g}",
    "greater_than": "is too small; write more than {gt:.10g}",
    "less_than_equal": "is too large; write at most {le:.10g}",
    "too_short": "is empty; add at least one entry",
    "int_type": "is not a whole number; write it without quotes, point or unit",
    "float_type": "is not a number; write it without quotes or unit, such as 0.002",
    "bool_type": "is neither true nor false; write one of the two, without quotes",
    "finite_number": "is not a number that ends; write one such as 0.002",
}


class Place(NamedTuple):
    """Where pydantic found a mistake, in terms of the file."""

    path: Path
    """Keys and list positions, without pydantic's own tags."""
    around: Any
    """Type of the section that the setting is in."""
    kind: Any
    """Type of the setting; None when there is no such setting."""


def check(
    raw: object,
    templates: frozenset[str],
    facts: Callable[[str], TemplateFacts | None],
) -> tuple[LabConfig | None, list[Problem]]:
    """Validate `raw`: the settings, or None and every mistake in them.

    `facts` knows each of `templates`.
    """
    if not isinstance(raw, Mapping):
        return None, [((), not_a("group of settings", raw))]
    problems = [*rules.broken(raw), *rules.misfits(raw, templates, facts)]
    try:
        lab = LabConfig.model_validate(raw)
    except ValidationError as error:
        found = error.errors(include_url=False)
        own = [explain(each) for each in found if each["type"] != "rule"]
        return None, [*own, *problems]
    return (None if problems else lab), problems


def explain(error: ErrorDetails) -> Problem:
    """One of pydantic's findings as a path and a sentence."""
    place = find(error["loc"])
    facts = error.get("ctx", {})
    key, members = variants_of(place.kind)
    match error["type"]:
        case "union_tag_not_found":
            return (*place.path, key), f"is missing; add it: {_either(members)}"
        case "union_tag_invalid":
            return (*place.path, key), _unknown_word(facts["tag"], tuple(members))
        case "missing":
            return place.path, f"is missing; add it{_meaning(place)}"
        case "extra_forbidden":
            return place.path, _unknown(place)
        case "literal_error":
            return place.path, _unknown_word(error["input"], get_args(place.kind))
        case "mistake":
            return place.path, str(facts["text"])
    if error["type"] in _GROUPS:
        return place.path, not_a("group of settings", error["input"])
    if error["type"] == "tuple_type":
        return place.path, not_a("list", error["input"])
    sentence = _SENTENCES.get(
        error["type"], "is not valid; the table of settings in README.md says what is"
    )
    return place.path, sentence.format(**facts)


def find(loc: tuple[int | str, ...]) -> Place:
    """Follow pydantic's location through the schema."""
    path: list[int | str] = []
    around: Any = None
    kind: Any = LabConfig
    for part in loc:
        members = variants_of(kind)[1]
        if members:
            kind = members[str(part)]
            continue
        if part == "[key]":
            continue
        path.append(part)
        around, kind = kind, _below(kind, part)
    return Place(tuple(path), around, kind)


def plain(kind: Any) -> Any:
    """A type without its notes, and without the None of what may be left out."""
    if get_origin(kind) is Annotated:
        return plain(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        members = [each for each in get_args(kind) if each is not type(None)]
        if len(members) == 1:
            return plain(members[0])
    return kind


def variants_of(kind: Any) -> tuple[str, dict[str, type[Section]]]:
    """The key that tells a union's members apart, and the members by its value."""
    members: dict[str, type[Section]] = {}
    key = ""
    kind = plain(kind)
    if get_origin(kind) in (Union, UnionType):
        for member in get_args(kind):
            key = next(iter(member.model_fields))
            [word] = get_args(member.model_fields[key].annotation)
            members[word] = member
    return key, members


def written(path: Path) -> str:
    """A path as the file spells it: `storage.buckets[0]`; `labfactory:lab` for all."""
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return shown(text).removeprefix(".") or f"{PROJECT}:lab"


def _below(kind: Any, part: int | str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Section):
        field = kind.model_fields.get(str(part))
        return plain(field.annotation) if field else None
    if get_origin(kind) is Mapping:
        return plain(get_args(kind)[1])
    return plain(get_args(kind)[0]) if get_origin(kind) is tuple else None


_UNIONS = [
    variants_of(field.annotation)
    for section in (LabConfig, BackupsConfig)
    for field in section.model_fields.values()
]


def _meaning(place: Place) -> str:
    field = place.around.model_fields[str(place.path[-1])]
    text = str(field.description or "").split(";")[0].rstrip(".").replace("\n", " ")
    return f": {text[:1].lower()}{text[1:]}" if text else ""


def _unknown(place: Place) -> str:
    key = str(place.path[-1])
    known = tuple(place.around.model_fields)
    if _SECRET.search(key):
        return (
            "is not a setting, and secrets do not belong here; remove it, replace the "
            "secret where it is in use, and give secrets to "
            "`pulumi config set --secret`"
        )
    near = near_miss(key, known)
    if key in LabConfig.model_fields and not near:
        return f"belongs directly below {PROJECT}:lab; indent it less"
    for discriminator, members in _UNIONS:
        if place.around in members.values():
            for word, member in members.items():
                if key in member.model_fields:
                    return (
                        f"is a setting of `{discriminator}: {word}` only; remove it "
                        f"or change `{discriminator}`"
                    )
    listed = f" (there is: {', '.join(known)})" if len(known) < 10 else ""
    hint = near or "; remove it or choose one of these"
    return f"is not a setting{listed}{hint}"


def _unknown_word(given: object, words: tuple[Any, ...]) -> str:
    several = len(words) > 1 and isinstance(given, str)
    hint = near_miss(str(given), words) if several else ""
    return f"is not a known value; write {_either(words)}{hint}"


def _either(words: Any) -> str:
    return " or ".join(str(word) for word in words)


def not_a(wanted: str, given: object) -> str:
    """Say that `given` is no list, or no group of settings, but something else."""
    how = {
        "list": "write [ONE, TWO]",
        "group of settings": "write its settings below it, as KEY: VALUE",
    }[wanted]
    if given is None:
        return f"is empty; {how}, or remove the line"
    found = _KINDS.get(type(given), "something else")
    return f"is {found} and not a {wanted}; {how}"
