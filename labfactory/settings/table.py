"""The table of all settings in README.md, made from the schema's own docstrings.

`python -m labfactory.settings.table` writes it between the markers.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from labfactory import paths
from labfactory.errors import LabError
from stacks.explain import plain, variants_of
from stacks.schema import LabConfig, Section
from stacks.spelling import Spelling

BEGIN, END = "<!-- settings -->", "<!-- /settings -->"


class Row(NamedTuple):
    """One setting, as a reader of README sees it."""

    setting: str
    how: str
    default: str
    meaning: str


def render() -> str:
    """The Markdown table of all settings."""
    rows = [Row("setting", "written as", "default", "meaning"), Row(*4 * ["---"])]
    rows += _rows(LabConfig, "")
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(readme: str) -> str:
    """`readme` with the table between its markers; raises LabError without markers."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise LabError(f"README.md: has no markers {BEGIN} and {END}; put them back")
    return f"{before}{begin}\n{render()}{end}{after}"


def _rows(section: type[Section], path: str, where: str = "") -> Iterator[Row]:
    for name, field in section.model_fields.items():
        yield from _setting(f"{path}{name}", field, where)


def _setting(path: str, field: FieldInfo, where: str) -> Iterator[Row]:
    kind: Any = field.annotation
    meaning = " ".join((field.description or "").split())
    key, members = variants_of(kind)
    if members:
        each = " or ".join(f"`{word}`" for word in members)
        yield Row(f"`{path}.{key}`", each, _default(field), meaning)
        for word, member in members.items():
            rows = list(_rows(member, f"{path}.", f" ({word})"))
            yield from rows[1:]
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
        if isinstance(below, type) and issubclass(below, Section):
            one = path.split(".")[-1].removesuffix("s").upper()
            yield from _rows(below, f"{path}.{one}.", where)


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
    if kind is datetime.date:
        return "year-month-day"
    least = next((note.ge for note in notes if isinstance(note, Ge)), None)
    most = next((note.le for note in notes if isinstance(note, Le)), None)
    number = "number" if kind is float else "whole number"
    return f"{number} from {least}" + (f" to {most}" if most else "")


def _each(kind: Any) -> str:
    below = isinstance(kind, type) and issubclass(kind, Section)
    return "the settings below" if below else _how(kind)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None or field.default == {}:
        return "nothing"
    if isinstance(field.default, tuple):
        return f"`[{', '.join(field.default)}]`"
    return f"`{field.default}`"


if __name__ == "__main__":
    readme = paths.PROJECT / "README.md"
    readme.write_text(filled(readme.read_text()))
