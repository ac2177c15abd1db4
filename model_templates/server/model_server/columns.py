"""One column of the contract: plain values in, the array its type stands for out."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .refusal import Array, Reason, kind


class ColumnError(ValueError):
    """Value number `row` does not fit; `why` goes on after "column 'x'"."""

    def __init__(self, reason: Reason, row: int, why: str) -> None:
        """Keep the place and the reason apart, so that the caller words the whole."""
        super().__init__(why)
        self.reason = reason
        self.row = row
        self.why = why


@dataclass(frozen=True)
class Column:
    """A named input of the model; `type` is MLflow's name of a scalar type."""

    name: str
    type: str
    required: bool = True

    def array(self, values: Sequence[Any]) -> Array:
        """Return `values` as this column's array; ColumnError at the first misfit."""
        nothing = [value is None or value != value for value in values]
        if any(nothing) and (self.required or self.type not in NULLABLE):
            why = "is required and can't be null"
            if not self.required:
                why = f"can't be null, because {self.type} has no missing value"
            raise ColumnError(Reason.NULL, nothing.index(True), why)
        return CONVERTERS[self.type](values)


def _numbers(values: Sequence[Any], dtype: str) -> Array:
    for row, value in enumerate(values):
        if value is not None and type(value) not in (int, float):
            raise ColumnError(
                Reason.WRONG_TYPE, row, f"takes a number, got {kind(value)}"
            )
    with np.errstate(over="ignore"):
        array = np.array(
            [math.nan if value is None else value for value in values], np.float64
        ).astype(dtype)
    infinite = np.isinf(array)
    if infinite.any():
        row = int(infinite.argmax())
        raise ColumnError(
            Reason.WRONG_TYPE, row, f"takes a finite {dtype}, got a number beyond it"
        )
    return array


def _whole(values: Sequence[Any], dtype: str) -> Array:
    limits = np.iinfo(dtype)
    for row, value in enumerate(values):
        if type(value) not in (int, float):
            raise ColumnError(
                Reason.WRONG_TYPE, row, f"takes a whole number, got {kind(value)}"
            )
        if value != value // 1:
            raise ColumnError(
                Reason.WRONG_TYPE, row, "takes a whole number, got a fraction"
            )
        if not limits.min <= value <= limits.max:
            raise ColumnError(
                Reason.WRONG_TYPE, row, f"takes a {dtype}, got a number beyond it"
            )
    return np.array([int(value) for value in values], dtype)


def _only(accepted: type, said: str, dtype: Any) -> Callable[..., Array]:
    def convert(values: Sequence[Any]) -> Array:
        for row, value in enumerate(values):
            if value is not None and type(value) is not accepted:
                raise ColumnError(
                    Reason.WRONG_TYPE, row, f"takes {said}, got {kind(value)}"
                )
        array: Array = np.empty(len(values), dtype)
        array[:] = values
        return array

    return convert


def _times(values: Sequence[Any]) -> Array:
    times = []
    for row, value in enumerate(values):
        time = np.datetime64("NaT", "ns")
        if value is not None:
            try:
                stamp = pd.Timestamp(_text(value))
                if stamp is pd.NaT:
                    raise ValueError(value)
                if stamp.tzinfo is not None:
                    stamp = stamp.tz_convert("UTC").tz_localize(None)
                # Raises beyond the years 1677 to 2262, which NumPy would wrap around.
                time = stamp.as_unit("ns").to_datetime64()
            except ValueError:
                raise ColumnError(
                    Reason.WRONG_TYPE,
                    row,
                    f"takes a date and time as ISO 8601 text, got {kind(value)}",
                ) from None
        times.append(time)
    return np.array(times, "datetime64[ns]")


def _bytes(values: Sequence[Any]) -> Array:
    array: Array = np.empty(len(values), object)
    for row, value in enumerate(values):
        try:
            array[row] = (
                None if value is None else base64.b64decode(_text(value), validate=True)
            )
        except (ValueError, binascii.Error):
            raise ColumnError(
                Reason.WRONG_TYPE, row, f"takes base64 text, got {kind(value)}"
            ) from None
    return array


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError(value)
    return value


NULLABLE = frozenset({"double", "float", "string", "datetime", "binary"})
CONVERTERS: dict[str, Callable[[Sequence[Any]], Array]] = {
    "double": lambda values: _numbers(values, "float64"),
    "float": lambda values: _numbers(values, "float32"),
    "long": lambda values: _whole(values, "int64"),
    "integer": lambda values: _whole(values, "int32"),
    "boolean": _only(bool, "true or false", bool),
    "string": _only(str, "a string", object),
    "datetime": _times,
    "binary": _bytes,
}
