"""The columns of a model: from its signature, and from what was learnt of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from labfactory.errors import LabError


class Output(BaseModel):
    """One column, or the one tensor, that a model answers with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: str


class Column(Output):
    """One column that a model takes; `type` is MLflow's name of it."""

    required: bool = True
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    categories: tuple[str | bool | int | float, ...] | None = None
    declared: bool = False
    """Range and categories bind: another value is wrong, not only new to the model."""


class Contract(BaseModel):
    """The columns a model takes, in its order, and what it answers; None is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[Column, ...] | None = None
    outputs: tuple[Output, ...] | None = None
    params: tuple[Output, ...] = ()
    """Parameters that a call may set; each has a default."""


def of(
    signature: Mapping[str, Any] | None, learnt: Mapping[str, Any] | None
) -> Contract:
    """Return the contract of a model.

    `signature` is the one in its `MLmodel`; it decides on names, order, types and
    presence, because the server checks them. `learnt` is the content of
    `contract.json`: ranges and categories, and all the rest for a model without a
    signature. Raises LabError when the two contradict each other.
    """
    try:
        signed = _signed(signature or {})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LabError(
            "MLmodel: its signature can't be read; log the model again"
        ) from None
    if learnt is None:
        return signed
    try:
        said = Contract.model_validate_json(json.dumps(learnt))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, p['loc'])) or 'the file'}: {p['msg']}"
            for p in error.errors(include_url=False, include_input=False)
        )
        raise LabError(
            f"contract.json: it can't be read ({wrong}); correct it in the training "
            f"code, or leave the file out"
        ) from None
    return Contract(
        inputs=said.inputs
        if signed.inputs is None
        else _ranged(signed.inputs, said.inputs),
        outputs=said.outputs if signed.outputs is None else signed.outputs,
        params=signed.params or said.params,
    )


def _signed(signature: Mapping[str, Any]) -> Contract:
    """The contract that a signature alone tells."""
    parts: dict[str, list[dict[str, Any]] | None] = {}
    for part in ("inputs", "outputs", "params"):
        text = signature.get(part)
        parts[part] = json.loads(text) if isinstance(text, str) else text
    inputs, outputs = parts["inputs"], parts["outputs"]
    return Contract(
        inputs=None
        if inputs is None
        else tuple(
            Column(
                name=_name(spec, place),
                type=_type(spec),
                required=spec.get("required", True),
            )
            for place, spec in enumerate(inputs)
        ),
        outputs=None if outputs is None else _plain(outputs),
        params=_plain(parts["params"] or []),
    )


def _plain(specs: Sequence[Mapping[str, Any]]) -> tuple[Output, ...]:
    return tuple(
        Output(name=_name(spec, place), type=_type(spec))
        for place, spec in enumerate(specs)
    )


def _name(spec: Mapping[str, Any], place: int) -> str:
    return str(spec.get("name", place))


def _type(spec: Mapping[str, Any]) -> str:
    """Return the type in one word, or what tells a nested one from all others."""
    if tensor := spec.get("tensor-spec"):
        return f"tensor({tensor['dtype']}, {tensor['shape']})"
    inner = {k: v for k, v in spec.items() if k not in ("name", "required", "default")}
    if inner.keys() <= {"type", "shape"} and not inner.get("shape"):
        return str(spec["type"])
    return json.dumps(inner, sort_keys=True)


def _ranged(
    signed: Sequence[Column], learnt: Sequence[Column] | None
) -> tuple[Column, ...]:
    """The signed columns with what was learnt of them; LabError where they differ."""
    said = {column.name: column for column in learnt or ()}
    known = {column.name: column for column in signed}
    wrong = [f"{name!r} is not in it" for name in said if name not in known]
    wrong += [
        f"{name!r} is {known[name].type} there and {column.type} here"
        for name, column in said.items()
        if name in known and known[name].type != column.type
    ]
    if wrong:
        raise LabError(
            f"contract.json: it contradicts the model's signature "
            f"({', '.join(wrong[:5])}); log both from the same columns"
        )
    return tuple(
        said[column.name].model_copy(update={"required": column.required})
        if column.name in said
        else column
        for column in signed
    )
