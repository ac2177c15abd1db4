"""A column of a file as the array that the model's contract makes of it, quickly.

What is not plainly right is marked, and left to the contract itself to judge.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from model_server.columns import Column, ColumnError

Array = Any
"""A NumPy array."""
Converted = tuple[Array, Array]
"""The values, and which of them are in doubt."""

DTYPES = {
    "double": "float64",
    "float": "float32",
    "long": "int64",
    "integer": "int32",
    "boolean": "bool",
    "string": "object",
    "datetime": "datetime64[ns]",
    "binary": "object",
}
"""NumPy's names of the arrays that a contract's columns become."""
MISSING: dict[str, Any] = {
    "double": np.nan,
    "float": np.nan,
    "string": None,
    "datetime": np.datetime64("NaT"),
    "binary": None,
}
"""What stands for null, in the types that have such a value."""


def decoded(cells: Any) -> Converted:
    """Return the bytes of a CSV column as text; what is no UTF-8 becomes null."""
    return _cast(cells, pa.string())


def convert(column: Column, cells: Any, *, text: bool) -> Converted:
    """Return `cells` (an Arrow array) as the column's array, and which are in doubt.

    With `text` they are the words of a CSV file, whatever the column's type.
    """
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if found := QUICK[column.type](column, cells, text):
        return found
    return _one_by_one(column, values(column.type, cells, text=text))


def values(kind: str, cells: Any, *, text: bool) -> list[Any]:
    """Return `cells` as a caller of the API would send them to a column of `kind`."""
    found = [plain(value) for value in cells.to_pylist()]
    return [_meant(kind, value) for value in found] if text else found


def plain(value: Any) -> Any:
    """Return a value of a file as JSON has it."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return float(value) if hasattr(value, "as_integer_ratio") else str(value)


def _meant(kind: str, word: str | None) -> Any:
    """Return what a word of a CSV file stands for; a word that is none stays one."""
    if word is None or kind in ("string", "datetime", "binary"):
        return word
    word = word.strip()
    if kind == "boolean":
        return {"true": True, "false": False}.get(word.lower(), word)
    for number in (int, float):
        try:
            return number(word)
        except ValueError:
            continue
    return word


def _numbers(column: Column, cells: Any, text: bool) -> Converted | None:
    types = pa.types
    if not (text or types.is_integer(cells.type) or types.is_floating(cells.type)):
        return None
    if text:
        found, doubts = _cast(pc.utf8_trim_whitespace(cells), pa.float64())
    else:
        found, doubts = cells.cast(pa.float64(), safe=False), _none(cells)
    with np.errstate(over="ignore"):
        array = found.to_numpy(zero_copy_only=False).astype(DTYPES[column.type])
    doubts = doubts | np.isinf(array)
    if column.required:
        doubts |= np.isnan(array)
    return array, doubts


def _whole(column: Column, cells: Any, text: bool) -> Converted | None:
    limits = np.iinfo(DTYPES[column.type])
    if not (text or pa.types.is_integer(cells.type)):
        return None
    if text:
        cells = pc.utf8_trim_whitespace(cells)
    found, doubts = _cast(cells, pa.int64())
    doubts = doubts | np.asarray(found.is_null())
    array = found.fill_null(0).to_numpy(zero_copy_only=False)
    doubts |= (array < limits.min) | (array > limits.max)
    return array.astype(DTYPES[column.type]), doubts


def _booleans(column: Column, cells: Any, text: bool) -> Converted | None:
    if text:
        words = pc.utf8_lower(pc.utf8_trim_whitespace(cells))
        known = pc.is_in(words, pa.array(["true", "false"]))
        return _filled(pc.equal(words, "true"), False, ~np.asarray(known))
    if not pa.types.is_boolean(cells.type):
        return None
    return _filled(cells, False, np.asarray(cells.is_null()))


def _strings(column: Column, cells: Any, text: bool) -> Converted | None:
    if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
        return None
    return _objects(column, cells)


def _times(column: Column, cells: Any, text: bool) -> Converted | None:
    if text or not pa.types.is_timestamp(cells.type):
        return None
    # Arrow keeps times with a zone in UTC, which is what the contract makes of them.
    utc = cells.view(pa.timestamp(cells.type.unit))
    found, doubts = _cast(utc, pa.timestamp("ns"))
    array = found.to_numpy(zero_copy_only=False)
    return array, doubts | (np.isnat(array) if column.required else False)


def _binary(column: Column, cells: Any, text: bool) -> Converted | None:
    if text or not pa.types.is_binary(cells.type):
        return None
    return _objects(column, cells)


QUICK: dict[str, Callable[[Column, Any, bool], Converted | None]] = {
    "double": _numbers,
    "float": _numbers,
    "long": _whole,
    "integer": _whole,
    "boolean": _booleans,
    "string": _strings,
    "datetime": _times,
    "binary": _binary,
}
"""Conversions of whole columns; None where the cells are not of the usual kind."""


def _objects(column: Column, cells: Any) -> Converted:
    absent = np.asarray(cells.is_null()) if column.required else _none(cells)
    return cells.to_numpy(zero_copy_only=False), absent


def _filled(cells: Any, value: Any, doubts: Array) -> Converted:
    return cells.fill_null(value).to_numpy(zero_copy_only=False), doubts


def _none(cells: Any) -> Array:
    return np.zeros(len(cells), bool)


def _cast(cells: Any, wanted: Any) -> Converted:
    """Return `cells` as an Arrow array of `wanted`; null, and in doubt, what is not."""
    try:
        return cells.cast(wanted), _none(cells)
    except pa.ArrowInvalid:
        if len(cells) == 1:
            return pa.nulls(1, wanted), np.ones(1, bool)
    middle = len(cells) // 2
    left, left_doubts = _cast(cells[:middle], wanted)
    right, right_doubts = _cast(cells[middle:], wanted)
    return pa.concat_arrays([left, right]), np.concatenate([left_doubts, right_doubts])


def _one_by_one(column: Column, found: list[Any]) -> Converted:
    array: Array = np.full(len(found), MISSING.get(column.type, 0), DTYPES[column.type])
    absent = np.array([value is None for value in found])
    allowed = not column.required and column.type in MISSING
    doubts = np.zeros(len(found), bool) if allowed else absent.copy()
    _fill(column, found, np.flatnonzero(~absent), array, doubts)
    return array, doubts


def _fill(
    column: Column, found: list[Any], places: Array, array: Array, doubts: Array
) -> None:
    """Convert what the contract takes, by halves where it refuses some."""
    if not len(places):
        return
    try:
        array[places] = column.array([found[place] for place in places])
    except (ColumnError, TypeError):
        if len(places) == 1:
            doubts[places] = True
            return
        middle = len(places) // 2
        _fill(column, found, places[:middle], array, doubts)
        _fill(column, found, places[middle:], array, doubts)
