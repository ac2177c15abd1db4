"""What a caller sent, in KServe's v1 or v2 protocol, as the model's input."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson
from kserve import InferRequest

from .contract import Contract
from .loose import Loose
from .refusal import Array, Reason, Refusal, kind, listed
from .rows import Rows

DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": object,
}
V1_KEYS = frozenset({"instances", "dataframe_split", "params", "signature_name"})
SPLIT_KEYS = frozenset({"columns", "data", "index"})


class Asked(NamedTuple):
    """One request, understood: the model's input, its parameters, the caller's id."""

    data: Any
    params: dict[str, Any] | None = None
    id: str | None = None


def v1(body: bytes, takes: Contract | Loose | Rows) -> Asked:
    """Read `{"instances": [...]}` or `{"dataframe_split": {...}}`."""
    message = _object(body)
    if unknown := [key for key in message if key not in V1_KEYS]:
        raise Refusal(
            Reason.BODY,
            f"the body has {listed(unknown)}; "
            "it takes 'instances' or 'dataframe_split', and 'params'",
        )
    if ("instances" in message) == ("dataframe_split" in message):
        raise Refusal(
            Reason.BODY,
            "the body must have either 'instances', a list of rows, or "
            "'dataframe_split', an object with 'columns' and 'data'",
        )
    params = message.get("params")
    if params is not None and not isinstance(params, dict):
        raise Refusal(Reason.BODY, f"params must be an object, got {kind(params)}")
    if "instances" in message:
        return Asked(takes.of_rows(message["instances"]), params)
    return Asked(_split(message["dataframe_split"], takes), params)


def v2(
    body: bytes, takes: Contract | Loose | Rows, json_bytes: int | None = None
) -> Asked:
    """Read one tensor of all columns or one tensor per column.

    `json_bytes` is the length of the JSON part where binary tensors follow it.
    """
    if json_bytes is not None:
        id_, tensors = _binary(body, json_bytes)
    else:
        message = _object(body)
        inputs = message.get("inputs")
        if not isinstance(inputs, list) or not inputs:
            raise Refusal(Reason.BODY, "the body must have 'inputs', a list of tensors")
        tensors = dict(_tensor(tensor, at) for at, tensor in enumerate(inputs))
        if len(tensors) < len(inputs):
            raise Refusal(Reason.BODY, "two inputs have the same name")
        id_ = message.get("id")
        if id_ is not None and not isinstance(id_, str):
            raise Refusal(Reason.BODY, f"id must be a string, got {kind(id_)}")
    return Asked(_columns(tensors, takes), None, id_)


def _columns(tensors: dict[str, Array], takes: Contract | Loose | Rows) -> Any:
    [name, *others] = tensors
    if not others and name not in takes.names:
        array = tensors[name]
        if isinstance(takes, Contract) and array.ndim == 1 and len(takes.names) == 1:
            array = array.reshape(-1, 1)
        if isinstance(takes, Contract) and array.ndim != 2:
            raise Refusal(
                Reason.LENGTH,
                f"input {name!r} has shape {list(array.shape)}; the model takes "
                f"[rows, {len(takes.names)}], or one input per column",
            )
        return takes.of_array(array, f"input {name!r}")
    columns = {}
    for name, array in tensors.items():
        if isinstance(takes, Contract):
            if array.ndim != 1 and array.shape[1:] != (1,):
                raise Refusal(
                    Reason.LENGTH,
                    f"input {name!r} has shape {list(array.shape)}; "
                    "one input per column takes [rows] or [rows, 1]",
                )
            array = array.ravel()
        elif isinstance(takes, Rows) and array.shape[1:] == (1,):
            array = array.ravel()
        columns[name] = array.tolist()
    return takes.of_columns(columns)


def _tensor(tensor: Any, at: int) -> tuple[str, Array]:
    where = f"inputs[{at}]"
    if not isinstance(tensor, dict):
        raise Refusal(Reason.BODY, f"{where} must be an object, got {kind(tensor)}")
    missing = [
        key for key in ("name", "shape", "datatype", "data") if key not in tensor
    ]
    if missing:
        raise Refusal(Reason.BODY, f"{where} lacks {listed(missing)}")
    name, shape, datatype = tensor["name"], tensor["shape"], tensor["datatype"]
    if not isinstance(name, str):
        raise Refusal(Reason.BODY, f"{where}: name must be a string, got {kind(name)}")
    where = f"input {name!r}"
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise Refusal(
            Reason.BODY, f"{where}: datatype must be one of {', '.join(DTYPES)}"
        )
    if not isinstance(shape, list) or not all(
        type(size) is int and size >= 0 for size in shape
    ):
        raise Refusal(Reason.BODY, f"{where}: shape must be a list of whole numbers")
    data = _flat(tensor["data"], where)
    if len(data) != math.prod(shape):
        raise Refusal(
            Reason.LENGTH, f"{where}: {len(data)} values don't fill the shape {shape}"
        )
    return name, _typed(data, datatype, where).reshape(shape)


def _flat(data: Any, where: str) -> list[Any]:
    if not isinstance(data, list):
        raise Refusal(Reason.BODY, f"{where}: data must be a list, got {kind(data)}")
    flat: list[Any] = data
    while list in (kinds := set(map(type, flat))):
        if kinds != {list}:
            raise Refusal(Reason.LENGTH, f"{where}: data mixes lists and values")
        if len(set(map(len, flat))) > 1:
            raise Refusal(Reason.LENGTH, f"{where}: rows have different lengths")
        flat = list(chain.from_iterable(flat))
    return flat


def _typed(data: list[Any], datatype: str, where: str) -> Array:
    accepted: set[type] = {int}
    if datatype == "BYTES":
        accepted = {str, type(None)}
    elif datatype == "BOOL":
        accepted = {bool}
    elif datatype.startswith("FP"):
        accepted = {int, float, type(None)}
    if not set(map(type, data)) <= accepted:
        wrong = next(value for value in data if type(value) not in accepted)
        raise Refusal(
            Reason.NULL if wrong is None else Reason.WRONG_TYPE,
            f"{where}: data must be {datatype}, got {kind(wrong)}",
        )
    try:
        with np.errstate(over="ignore"):
            return np.array(data, DTYPES[datatype])
    except OverflowError:
        raise Refusal(
            Reason.WRONG_TYPE, f"{where}: a number is beyond {datatype}"
        ) from None


def _binary(body: bytes, json_bytes: int) -> tuple[str | None, dict[str, Array]]:
    try:
        request = InferRequest.from_bytes(body, json_bytes, "")
        return request.id, {
            tensor.name: _decoded(tensor.as_numpy()) for tensor in request.inputs
        }
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(
            Reason.BODY, f"the binary request can't be read: {str(error).strip()[:200]}"
        ) from None


def _decoded(array: Array) -> Array:
    if array.dtype != object:
        return array
    texts = [v.decode() if isinstance(v, bytes) else v for v in array.ravel()]
    return np.array(texts, object).reshape(array.shape)


def _split(split: Any, takes: Contract | Loose | Rows) -> Any:
    if not isinstance(split, dict) or not {"columns", "data"} <= split.keys():
        raise Refusal(
            Reason.BODY, "dataframe_split must be an object with 'columns' and 'data'"
        )
    if unknown := sorted(split.keys() - SPLIT_KEYS):
        raise Refusal(Reason.BODY, f"dataframe_split has {listed(unknown)}")
    columns, data = split["columns"], split["data"]
    if not isinstance(columns, list) or not isinstance(data, list):
        raise Refusal(Reason.BODY, "dataframe_split: columns and data must be lists")
    names = [str(column) for column in columns]
    if len(set(names)) < len(names):
        raise Refusal(Reason.BODY, "dataframe_split: two columns have the same name")
    if names == takes.names:
        return takes.of_rows(data, "data")
    for at, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(names):
            raise Refusal(
                Reason.LENGTH, f"data[{at}] must be a list of {len(names)} values"
            )
    return takes.of_rows([dict(zip(names, row, strict=True)) for row in data], "data")


def _object(body: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(Reason.NOT_JSON, f"the body is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise Refusal(
            Reason.BODY, f"the body must be a JSON object, got {kind(message)}"
        )
    return message
