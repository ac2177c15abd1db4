"""Models whose signature is not plain columns: tensors, nested types, or none at all.

MLflow's own check of the call stands; what it does not take becomes a refusal too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .refusal import Array, Reason, Refusal, kind


class Loose:
    """The input a model takes when its columns can't be checked one by one."""

    def __init__(self, schema: Any) -> None:
        """Take an MLflow input schema, or None for a model without a signature."""
        tensors = schema is not None and schema.is_tensor_spec()
        self._tensors = {spec.name: spec for spec in schema.inputs} if tensors else {}
        self.names: list[str] = [name for name in self._tensors if name]

    def of_rows(self, rows: Any, where: str = "instances") -> Any:
        """Return the array, the named arrays or the frame that `rows` stand for."""
        if not isinstance(rows, list):
            raise Refusal(Reason.BODY, f"{where} must be a list, got {kind(rows)}")
        if not rows:
            raise Refusal(Reason.EMPTY, f"{where} is empty; send at least one row")
        objects = [isinstance(row, dict) for row in rows]
        if self.names:
            if not all(objects):
                raise Refusal(
                    Reason.BODY,
                    f"each row of {where} must be an object of named tensors",
                )
            return self.of_columns(
                {name: [row.get(name) for row in rows] for name in rows[0]}
            )
        if all(objects):
            return pd.DataFrame(rows)
        if any(objects):
            raise Refusal(Reason.BODY, f"{where} mixes lists and objects")
        return _array(rows, self._tensors.get(None), where)

    def of_columns(self, values: Mapping[str, Sequence[Any]]) -> Any:
        """Return named arrays for a model of named tensors, else a frame."""
        if not self.names:
            try:
                return pd.DataFrame(dict(values))
            except ValueError as error:
                raise Refusal(Reason.LENGTH, str(error)) from None
        for name in self.names:
            if name not in values:
                raise Refusal(Reason.MISSING_COLUMN, f"input {name!r} is missing")
        return {
            name: _array(values[name], self._tensors[name], name) for name in self.names
        }

    def of_array(self, array: Array, where: str) -> Any:
        """Return one unnamed tensor, in the type the model takes."""
        return self.of_rows(array.tolist(), where)


def _array(values: Sequence[Any], spec: Any, where: str) -> Array:
    try:
        array = np.array(values)
    except ValueError:
        raise Refusal(
            Reason.LENGTH, f"{where}: the rows don't all have the same length"
        ) from None
    if spec is None:
        return array
    numeric = spec.type.kind in "iuf"
    if numeric and (array.dtype.kind not in "iuf" or not np.isfinite(array).all()):
        raise Refusal(Reason.WRONG_TYPE, f"{where} takes finite numbers ({spec.type})")
    shape = tuple(spec.shape)
    fits = len(shape) == array.ndim and all(
        want in (-1, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise Refusal(
            Reason.LENGTH,
            f"{where} has shape {list(array.shape)}; the model takes {list(shape)}",
        )
    if not np.can_cast(array.dtype, spec.type, "same_kind" if numeric else "safe"):
        raise Refusal(Reason.WRONG_TYPE, f"{where} takes {spec.type}")
    return array.astype(spec.type, copy=False)
