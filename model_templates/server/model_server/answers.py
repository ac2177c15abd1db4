"""What a model returned, as JSON: NumPy's types become plain ones, NaN becomes null."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson
import pandas as pd

from .refusal import Array

DATATYPES = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""NumPy's names of what the v2 protocol calls a datatype; all else is BYTES."""


def dumps(answer: Any) -> bytes:
    """Return `answer` as JSON; NaN and infinity, which JSON lacks, become null."""
    return orjson.dumps(answer, default=_plain)


def v1(result: Any, served_by: str) -> dict[str, Any]:
    """Return the body of a v1 answer."""
    return {"predictions": predictions(result), "served_by": served_by}


def predictions(result: Any) -> Any:
    """Return `result` as what v1 calls predictions: a list with one for each row."""
    if isinstance(result, pd.DataFrame):
        return result.to_dict("records")
    if isinstance(result, pd.Series | np.ndarray):
        return result.tolist()
    return result


def v2(result: Any, served_by: str, *, model: str, id_: str) -> dict[str, Any]:
    """Return the body of a v2 answer: an output per column, or one called `predict`."""
    if isinstance(result, pd.DataFrame):
        named = {str(name): result[name].to_numpy() for name in result.columns}
    elif isinstance(result, dict):
        named = {str(name): np.atleast_1d(value) for name, value in result.items()}
    else:
        named = {"predict": _array(result)}
    return {
        "model_name": model,
        "id": id_,
        "parameters": {"served_by": served_by},
        "outputs": [_output(name, array) for name, array in named.items()],
    }


def rows(result: Any) -> int:
    """Return how many rows `result` answers."""
    return len(result) if hasattr(result, "__len__") else 1


def head(result: Any, rows: int) -> Any:
    """Return a copy of the first `rows` rows, which keeps nothing else in memory.

    None where `result` has no rows to choose from.
    """
    if isinstance(result, pd.DataFrame | pd.Series | np.ndarray):
        return result[:rows].copy()
    return result[:rows] if isinstance(result, list) else None


def _array(result: Any) -> Array:
    try:
        return np.atleast_1d(result)
    except ValueError:  # lists of different lengths
        array: Array = np.empty(len(result), object)
        for at, row in enumerate(result):
            array[at] = row
        return array


def _output(name: str, array: Array) -> dict[str, Any]:
    datatype = DATATYPES.get(array.dtype.name, "BYTES")
    data = array.ravel().tolist()
    if datatype == "BYTES":
        data = [None if v is None else v if type(v) is str else str(v) for v in data]
    return {
        "name": name,
        "shape": list(array.shape),
        "datatype": datatype,
        "data": data,
    }


def _plain(value: Any) -> Any:
    match value:
        case np.generic():
            return value.item()
        case np.ndarray():
            return value.tolist()
        case pd.Timestamp():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
    return None if value is pd.NaT else str(value)
