"""Input the model does not take: told to the caller with 400, counted by reason."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from kserve.errors import InvalidInput

Array = Any
"""A NumPy array; types are checked where NumPy need not be installed."""


class Reason(StrEnum):
    """Why a request was refused; the `reason` label of `lab_model_rejects_total`."""

    NOT_JSON = "not_json"
    BODY = "body"
    EMPTY = "empty"
    MISSING_COLUMN = "missing_column"
    UNKNOWN_COLUMN = "unknown_column"
    WRONG_TYPE = "wrong_type"
    NULL = "null"
    LENGTH = "length"
    MODEL = "model"


class Refusal(InvalidInput):  # type: ignore[misc]
    """One request that was refused; its text is the answer's `error`."""

    def __init__(self, reason: Reason, text: str) -> None:
        """Keep `reason` for the metrics and `text` for the caller."""
        super().__init__(text)
        self.kind = reason


class EndpointError(Exception):
    """An endpoint that is not ours failed; the text is the answer's `error`."""

    def __init__(self, text: str, status: int = 502) -> None:
        """Answer with `status`: 504 when time ran out, else 502."""
        super().__init__(text)
        self.status = status


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def kind(value: object) -> str:
    """Return what `value` is in JSON's words; the value itself is never repeated."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
    return f"a value of type {type(value).__name__}"


def listed(names: list[str], most: int = 5) -> str:
    """Return `'a', 'b' and 3 more`."""
    shown = ", ".join(repr(name) for name in names[:most])
    rest = len(names) - most
    return f"{shown} and {rest} more" if rest > 0 else shown
