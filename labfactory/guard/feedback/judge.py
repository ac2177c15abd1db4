"""Whether a label can be one of a prediction, and whether it says the same. Pure."""

from __future__ import annotations

import math
from typing import Any

from labfactory.releases.comparison.compare_agreement import is_same
from labfactory.releases.comparison.compare_quality import number, word

TRUTHS = ("true", "false")


def misfit(label: Any, predicted: Any) -> str | None:
    """Why `label` cannot be the right answer where `predicted` is one; None if it can.

    A label of another kind would be wrong whatever the model says, and would be held
    against it.
    """
    match predicted:
        case bool():
            if word(label) not in TRUTHS:
                return "the model answers true or false; the label must be one of them"
        case int() | float():
            if not is_number(label):
                return "the model answers numbers; the label must be a finite number"
        case str():
            if is_number(label) and number(predicted) is None:
                return "the model answers text; the label must be text"
        case list() | dict():
            return "the model answers more than one value for a row; no label fits that"
    return None


def is_right(label: Any, predicted: Any, tolerance: float | None) -> bool:
    """Whether a label that fits says what was predicted.

    A prediction that is null, as where the model's number was none, is not right.
    """
    if predicted is None:
        return False
    if is_number(predicted) and is_number(label):
        return is_same(float(label), float(predicted), tolerance)
    return word(label) == word(predicted)


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number that is finite as a double."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
