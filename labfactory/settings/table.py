"""The table of all settings in docs/settings.md, made from the schema's docstrings.

`python -m labfactory.settings.table` writes it between the markers.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from labfactory import paths
from labfactory.errors import LabError
from stacks.explain import plain, variants_of
from stacks.schema import LabConfig
from stacks.section import Section
from stacks.spelling import Spelling

BEGIN, END = "<!-- settings -->", "<!-- /settings -->"
ONE = {"policies": "policy"}
"""What one of several is called, where it is not the same without its last letter."""
PAGE = paths.PROJECT / "docs" / "settings.md"


class Row(NamedTuple):
    """One setting, as a reader sees it."""

    setting: str
    how: str
    default: str
    meaning: str


def render() -> str:
    """The Markdown table of all settings."""
    rows = [Row("setting", "written as", "default", "meaning"), Row(*4 * ["---"])]
    rows += _rows(LabConfig, "")
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(page: str) -> str:
    """`page` with the table between its markers; raises LabError without markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise LabError(f"{PAGE.name}: has no markers {BEGIN} and {END}; put them back")
    return f"{before}{begin}\n{render()}{end}{after}"


def _rows(section: type[Section], path: str, where: str = "") -> Iterator[Row]:
    for name, field in section.model_fields.items():
        yield from _setting(f"{path}{name}", field, where)


def _setting(path: str, field: FieldInfo, where: str) -> Iterator[Row]:
    kind: Any = field.annotation
    meaning = " ".join((field.description or "").split())
    if variants_of(kind)[1]:
        yield from _kinds(kind, path, _default(field), meaning)
        return
    if isinstance(kind, type) and issubclass(kind, Section):
        yield from _rows(kind, f"{path}.", where)
        return
    section = plain(kind)
    if isinstance(section, type) and issubclass(section, Section):
        yield Row(f"`{path}`{where}", "the settings below", "nothing", meaning)
        yield from _rows(section, f"{path}.", where)
        return
    yield Row(f"`{path}`{where}", _how(kind, field), _default(field), meaning)
    if get_origin(kind) is Mapping:
        below = get_args(kind)[1]
        several = path.split(".")[-1]
        one = f"{path}.{ONE.get(several, several.removesuffix('s')).upper()}"
        if isinstance(below, type) and issubclass(below, Section):
            yield from _rows(below, f"{one}.", where)
        elif variants_of(below)[1]:
            yield from _kinds(below, one, "required", "What it is.")


def _kinds(kind: Any, path: str, default: str, meaning: str) -> Iterator[Row]:
    """Settings that depend on what one of them says."""
    key, members = variants_of(kind)
    each = " or ".join(f"`{word}`" for word in members)
    yield Row(f"`{path}.{key}`", each, default, meaning)
    for word, member in members.items():
        rows = list(_rows(member, f"{path}.", f" ({word})"))
        yield from rows[1:]


def _how(kind: Any, field: FieldInfo | None = None) -> str:
    """A type in words."""
    notes: list[Any] = list(field.metadata) if field else []
    if get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        for note in more:
            notes += note.metadata if isinstance(note, FieldInfo) else [note]
    for note in notes:
        if isinstance(note, Spelling):
            longest = f", at most {note.longest} characters" if note.why else ""
            return f"{note.how}{longest}".replace("|", r"\|")
    if get_origin(kind) is Literal:
        return " or ".join(f"`{word}`" for word in get_args(kind))
    if type(None) in get_args(kind):
        return _how(next(each for each in get_args(kind) if each is not type(None)))
    if get_origin(kind) is Mapping:
        return f"names, each with {_each(get_args(kind)[1])}"
    if get_origin(kind) is tuple:
        return f"list; each: {_how(get_args(kind)[0])}"
    words = {datetime.date: "year-month-day", bool: "true or false", float: "number"}
    return words.get(kind, "whole number") + _within(notes)


def _within(notes: Iterable[Any]) -> str:
    """Where a number has to lie."""
    found = ""
    for note in notes:
        match note:
            case Ge():
                found += f" from {_number(note.ge)}"
            case Gt():
                found += f" above {_number(note.gt)}"
            case Le():
                found += f" to {_number(note.le)}"
    return found


def _number(value: Any) -> str:
    return format(value, "f").rstrip("0") if value and value < 0.001 else str(value)


def _each(kind: Any) -> str:
    below = isinstance(kind, type) and issubclass(kind, Section)
    below = below or bool(variants_of(kind)[1])
    return "the settings below" if below else _how(kind)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None or field.default == {}:
        return "nothing"
    if isinstance(field.default, tuple):
        return f"`[{', '.join(field.default)}]`"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default}`"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
