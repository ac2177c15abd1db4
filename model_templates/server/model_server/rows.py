"""Input for an endpoint that is not ours: rows as they came, nothing converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .refusal import Array, Reason, Refusal, kind


class Rows:
    """Takes any rows that are all objects or all lists: it has no signature."""

    names: tuple[str, ...] = ()

    def of_rows(self, rows: Any, where: str = "instances") -> list[Any]:
        """Return `rows`; Refusal when they are none."""
        if not isinstance(rows, list):
            raise Refusal(Reason.BODY, f"{where} must be a list, got {kind(rows)}")
        if not rows:
            raise Refusal(Reason.EMPTY, f"{where} is empty; send at least one row")
        for number, row in enumerate(rows):
            if not isinstance(row, dict | list):
                raise Refusal(
                    Reason.BODY,
                    f"{where}[{number}] must be an object with the columns' names or "
                    f"a list of values, got {kind(row)}",
                )
        if len(set(map(type, rows))) > 1:
            raise Refusal(Reason.BODY, f"{where} mixes lists and objects")
        return rows

    def of_columns(self, values: Mapping[str, Sequence[Any]]) -> list[Any]:
        """Return one object per row of named columns of the same length."""
        lengths = sorted({len(column) for column in values.values()})
        if len(lengths) > 1:
            raise Refusal(Reason.LENGTH, f"columns have different lengths: {lengths}")
        rows = [
            dict(zip(values, row, strict=True))
            for row in zip(*values.values(), strict=True)
        ]
        return self.of_rows(rows, "inputs")

    def of_array(self, array: Array, where: str) -> list[Any]:
        """Return a list per row; values without rows are rows of one value."""
        if array.ndim < 2:
            array = array.reshape(-1, 1)
        return self.of_rows(array.tolist(), where)
