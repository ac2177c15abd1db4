"""What a model accepts and answers, and what a caller notices when that changes.

The rules follow from what the model server does: it takes rows as objects and as lists
in the columns' order, refuses columns it does not know, and checks type and presence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from labfactory.releases.models.columns import Column, Contract, Output, of

__all__ = ["Change", "Column", "Contract", "Difference", "Output", "compare", "of"]

WIDER: Mapping[str, frozenset[str]] = {
    "integer": frozenset({"long", "double"}),
    "long": frozenset({"double"}),
    "float": frozenset({"double"}),
    "datetime": frozenset({"string"}),
    "binary": frozenset({"string"}),
}
"""Types that take every value of a type as it is: no `float` holds every `integer`."""


@dataclass(frozen=True)
class Change:
    """One column, output or parameter that differs, and the sentence about it."""

    column: str
    """Its name; empty when the change is about the whole."""
    what: str
    breaking: bool = False


@dataclass(frozen=True)
class Difference:
    """What a caller of the stable variant notices of a candidate."""

    kind: Literal["same", "compatible", "breaking"]
    changes: tuple[Change, ...] = ()
    """Those that break callers come first."""

    @property
    def columns(self) -> tuple[str, ...]:
        """A sentence about each column that differs."""
        return tuple(change.what for change in self.changes)


def compare(stable: Contract, candidate: Contract) -> Difference:
    """Return what callers of `stable` notice when `candidate` answers instead.

    Breaking is what may refuse, or misread, a call that was right before, or change
    the form of its answer: a column that is gone, new (even an optional one: rows
    that are lists get another length), at another place, required where it was
    optional, or of a type that does not take every old value; a declared range or set
    of categories that is narrower than what was allowed; an output that is gone or of
    another type; a second output beside a single one, which may turn values into
    objects. A contract that is not known is breaking, too: nobody can tell.

    Compatible is what callers need not notice: a wider type, a column that is optional
    now, a further output or parameter, and a range that was only learnt: it tells what
    the training data had, and refuses nothing.
    """
    if unknown := [
        Change("", f"the {whose} has no signature, so nobody can tell", breaking=True)
        for whose, one in (("stable", stable), ("candidate", candidate))
        if one.inputs is None
    ]:
        return Difference("breaking", tuple(unknown))
    changes = [
        *_inputs(stable.inputs or (), candidate.inputs or ()),
        *_outputs(stable.outputs, candidate.outputs),
        *_params(stable.params, candidate.params),
    ]
    changes.sort(key=lambda change: not change.breaking)
    if changes and changes[0].breaking:
        return Difference("breaking", tuple(changes))
    return Difference("compatible" if changes else "same", tuple(changes))


def _inputs(old: Sequence[Column], new: Sequence[Column]) -> Iterator[Change]:
    before, after = {c.name: c for c in old}, {c.name: c for c in new}
    for name, column in before.items():
        if name in after:
            yield from _column(column, after[name])
        else:
            text = f"column {name!r} is gone: who sends it is refused"
            yield Change(name, text, breaking=True)
    for name, column in after.items():
        if name not in before:
            kind = "required" if column.required else "optional, but lengthens lists"
            yield Change(name, f"column {name!r} is new and {kind}", breaking=True)
    if before.keys() == after.keys():
        for was, now in zip(before, after, strict=True):
            if was != now:
                text = f"column {now!r} is where {was!r} was: lists are misread"
                yield Change(now, text, breaking=True)


def _column(old: Column, new: Column) -> Iterator[Change]:
    where = f"column {old.name!r}"
    if old.type != new.type:
        text = f"{where} takes {new.type} where it took {old.type}"
        yield Change(old.name, text, breaking=not _takes(new.type, old.type))
    if old.required != new.required:
        text = f"{where} is {'required' if new.required else 'optional'} now"
        yield Change(old.name, text, breaking=new.required)
    if _limits(old) == _limits(new):
        return
    was, now = values(old), values(new)
    if new.declared and now:
        before = was if old.declared and was else "anything"
        text = f"{where} allows {now} where it allowed {before}"
        yield Change(old.name, text, breaking=not _within(old, new))
    elif old.declared and was:
        yield Change(old.name, f"{where} allows anything where it allowed {was}")
    elif was and now:
        yield Change(old.name, f"{where} knows {now} where it knew {was}")


def _within(old: Column, new: Column) -> bool:
    """Whether the declared range of `new` takes all that `old` allowed."""
    if not old.declared:
        return False
    lowest = new.min is None or (old.min is not None and old.min >= new.min)
    highest = new.max is None or (old.max is not None and old.max <= new.max)
    known = new.categories is None or (
        old.categories is not None and set(old.categories) <= set(new.categories)
    )
    return lowest and highest and known


def _limits(column: Column) -> tuple[object, ...]:
    known = None if column.categories is None else frozenset(column.categories)
    return column.declared, column.min, column.max, known


def values(column: Output) -> str:
    """Return the range and categories of a column in words; empty without any."""
    if not isinstance(column, Column):
        return ""
    words = []
    if column.min is not None or column.max is not None:
        least = "…" if column.min is None else f"{column.min:.6g}"
        most = "…" if column.max is None else f"{column.max:.6g}"
        words.append(f"{least} to {most}")
    if column.categories is not None:
        words.append(", ".join(map(str, column.categories)) or "no category")
    return "; ".join(words)


def _outputs(
    old: Sequence[Output] | None, new: Sequence[Output] | None
) -> Iterator[Change]:
    if old is None:
        return
    if new is None:
        yield Change("", "the candidate does not say what it answers", breaking=True)
        return
    before, after = {o.name: o for o in old}, {o.name: o for o in new}
    for name, output in before.items():
        if name not in after:
            yield Change(name, f"output {name!r} is gone", breaking=True)
        elif output.type != after[name].type:
            text = f"output {name!r} is {after[name].type} where it was {output.type}"
            yield Change(name, text, breaking=True)
    for name in after.keys() - before.keys():
        text = f"output {name!r} is new"
        yield Change(name, text, breaking=len(before) == 1)


def _params(old: Sequence[Output], new: Sequence[Output]) -> Iterator[Change]:
    before, after = {p.name: p for p in old}, {p.name: p for p in new}
    for name, param in before.items():
        if name not in after:
            yield Change(name, f"parameter {name!r} is gone", breaking=True)
        elif param.type != (type_ := after[name].type):
            text = f"parameter {name!r} takes {type_} where it took {param.type}"
            yield Change(name, text, breaking=not _takes(type_, param.type))
    for name in after:
        if name not in before:
            yield Change(name, f"parameter {name!r} is new")


def _takes(type_: str, old: str) -> bool:
    return type_ == old or type_ in WIDER.get(old, ())
