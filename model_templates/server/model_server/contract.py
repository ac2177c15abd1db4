"""The model's contract: rows or columns as they came in, a checked DataFrame out.

A DataFrame that this module returns has the signature's columns, in its order and in
its types, so that MLflow's own (much slower) check of every call has nothing to add.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from .columns import CONVERTERS, Column, ColumnError
from .refusal import Array, Reason, Refusal, kind, listed

MOST = 5
"""Problems that one answer lists."""


class Contract:
    """The columns a model takes, and the quickest way to check rows against them."""

    def __init__(self, columns: Sequence[Column], *, named: bool = True) -> None:
        """Take the columns in the model's order; `named` is false for 0, 1, 2 …"""
        self.columns = tuple(columns)
        self.named = named
        self.names = [column.name for column in columns]
        self._known = set(self.names)
        self._index = pd.Index(self.names if named else range(len(self.names)))
        self._width = len(self.columns)
        self._plain = all(c.type == "double" for c in columns)
        self._pick = itemgetter(*self.names) if self._width > 1 else None

    @classmethod
    def of(cls, schema: Any) -> Contract | None:
        """Return the contract of an MLflow input schema.

        None when there is no schema, or one of tensors or nested types: those are
        left to MLflow's own check.
        """
        if schema is None or schema.is_tensor_spec():
            return None
        types = [getattr(spec.type, "name", "") for spec in schema.inputs]
        if not types or not all(type in CONVERTERS for type in types):
            return None
        named = schema.has_input_names()
        return cls(
            [
                Column(spec.name if named else str(i), types[i], spec.required)
                for i, spec in enumerate(schema.inputs)
            ],
            named=named,
        )

    def of_rows(self, rows: Any, where: str = "instances") -> pd.DataFrame:
        """Return the frame of `rows`: lists in the columns' order, or objects."""
        if not isinstance(rows, list):
            raise Refusal(Reason.BODY, f"{where} must be a list, got {kind(rows)}")
        if not rows:
            raise Refusal(Reason.EMPTY, f"{where} is empty; send at least one row")
        quick = self._quick(rows) if self._plain else None
        return self._carefully(rows, where) if quick is None else quick

    def of_columns(self, values: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
        """Return the frame of named columns; all must have the same length."""
        problems = [
            (Reason.MISSING_COLUMN, f"column {column.name!r} is missing")
            for column in self.columns
            if column.required and column.name not in values
        ]
        if unknown := [name for name in values if name not in self._known]:
            problems.append((Reason.UNKNOWN_COLUMN, self._not_known(unknown)))
        lengths = {len(column) for column in values.values()}
        if len(lengths) > 1:
            problems.append(
                (Reason.LENGTH, f"columns have different lengths: {sorted(lengths)}")
            )
        elif lengths == {0}:
            problems.append((Reason.EMPTY, "there are no rows; send at least one"))
        if problems:
            raise _refusal(problems)
        present = [column for column in self.columns if column.name in values]
        return self._frame(present, [values[column.name] for column in present], "row ")

    def of_array(self, array: Array, where: str) -> pd.DataFrame:
        """Return the frame of a two-dimensional array, one column per column."""
        rows, width = array.shape
        if width != self._width:
            raise Refusal(Reason.LENGTH, f"{where}: {self._count(width)}")
        if rows and self._plain and array.dtype.kind in "iuf":
            doubles: Array = array.astype(np.float64, copy=False)
            if np.isfinite(doubles).all():
                return pd.DataFrame(doubles, columns=self._index)
        return self.of_rows(array.tolist(), where)

    def _quick(self, rows: list[Any]) -> pd.DataFrame | None:
        """Return the frame of well-formed rows of numbers, None when in any doubt."""
        kinds = set(map(type, rows))
        if kinds == {dict} and self._pick and self.named:
            if set(map(len, rows)) != {self._width}:
                return None
            try:
                rows = [self._pick(row) for row in rows]
            except KeyError:
                return None
        elif kinds != {list} or set(map(len, rows)) != {self._width}:
            return None
        # NumPy would take "1.5", true and null for numbers without a word.
        if not set(map(type, chain.from_iterable(rows))) <= {int, float}:
            return None
        array = np.array(rows, np.float64)
        if not np.isfinite(array).all():
            return None
        return pd.DataFrame(array, columns=self._index)

    def _carefully(self, rows: list[Any], where: str) -> pd.DataFrame:
        """Go through the rows one by one: for mixed types, and to say what is wrong."""
        problems: list[tuple[Reason, str]] = []
        seen: set[str] = set()
        for number, row in enumerate(rows):
            at = f"{where}[{number}]"
            if isinstance(row, dict) and self.named:
                seen |= row.keys()
                unknown = [name for name in row if name not in self._known]
                if unknown:
                    problems.append(
                        (Reason.UNKNOWN_COLUMN, f"{at}: {self._not_known(unknown)}")
                    )
                missing = [
                    column.name
                    for column in self.columns
                    if column.required and column.name not in row
                ]
                if missing:
                    s, are = ("", "is") if len(missing) == 1 else ("s", "are")
                    text = f"{at}: column{s} {listed(missing)} {are} missing"
                    problems.append((Reason.MISSING_COLUMN, text))
            elif isinstance(row, list):
                seen |= self._known
                if len(row) != self._width:
                    text = f"{at}: {self._count(len(row))}"
                    problems.append((Reason.LENGTH, text))
            elif self._width == 1:
                seen |= self._known
            else:
                takes = "a list of values"
                if self.named:
                    takes += " or an object with the columns' names"
                text = f"{at} must be {takes}, got {kind(row)}"
                problems.append((Reason.BODY, text))
        if problems:
            raise _refusal(problems)
        present = [column for column in self.columns if column.name in seen]
        place = {name: number for number, name in enumerate(self.names)}
        values = [
            [_cell(row, column.name, place[column.name]) for row in rows]
            for column in present
        ]
        return self._frame(present, values, where)

    def _frame(
        self, columns: list[Column], values: Sequence[Sequence[Any]], where: str
    ) -> pd.DataFrame:
        arrays, problems = {}, []
        for column, cells in zip(columns, values, strict=True):
            try:
                arrays[column.name] = column.array(cells)
            except ColumnError as error:
                at = f"{where.rstrip()}[{error.row}]"
                text = f"{at}: column {column.name!r} {error.why}"
                problems.append((error.reason, text))
        if problems:
            raise _refusal(problems)
        frame = pd.DataFrame(arrays, copy=False)
        if not self.named:
            frame.columns = self._index
        return frame

    def _count(self, got: int) -> str:
        values = "value" if got == 1 else "values"
        text = f"{got} {values} where the model takes {self._width}"
        if self.named and got < self._width:
            text += f" (the first one missing is column {self.names[got]!r})"
        elif self.named:
            text += f" (the last column is {self.names[-1]!r})"
        return text

    def _not_known(self, unknown: list[str]) -> str:
        are = "is not a column" if len(unknown) == 1 else "are not columns"
        return f"{listed(unknown)} {are} of the model; it takes {listed(self.names)}"


def _cell(row: Any, name: str, place: int) -> Any:
    if isinstance(row, dict):
        return row.get(name)
    return row[place] if isinstance(row, list) else row


def _refusal(problems: list[tuple[Reason, str]]) -> Refusal:
    texts = [text for _, text in problems[:MOST]]
    if len(problems) > MOST:
        texts.append(f"and {len(problems) - MOST} more")
    return Refusal(problems[0][0], "; ".join(texts))
