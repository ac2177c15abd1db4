"""How right a variant was, where somebody knows the right answers. Pure but `read`."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from labfactory.errors import LabError
from labfactory.releases.comparison.compare_agreement import by_id

if TYPE_CHECKING:
    from labfactory.releases.comparison.compare import Record

Labels = Mapping[tuple[str, int], str]
"""The right answers, by request id and number of the row."""


@dataclass(frozen=True)
class Quality:
    """Predictions beside the right answers."""

    measure: Literal["accuracy", "mean absolute error"]
    value: float | None
    """None when no label met a prediction."""
    rows: int
    """Predictions that have a label."""


def read_labels(path: str) -> Labels:
    """Read a CSV file with the columns request_id, label and, if need be, row.

    Raises LabError when it is no such file.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := {"request_id", "label"} - {*(reader.fieldnames or ())}:
                raise LabError(
                    f"{path}: has no column {' and '.join(sorted(missing))}; labels "
                    "are a CSV file with request_id,label and, for requests of several "
                    "rows, row (from 0)"
                )
            return _labels(reader, path)
    except OSError as error:
        raise LabError(
            f"{path}: cannot be read ({error.strerror}); is it the right file?"
        ) from None
    except (UnicodeDecodeError, csv.Error):
        raise LabError(f"{path}: is not a CSV file in UTF-8; write one") from None


def quality(
    within: Mapping[str, Sequence[Record]], labels: Labels
) -> dict[str, Quality]:
    """Return the quality of each variant, all in the same measure.

    The measure is the mean absolute error when a label or a prediction has a fraction,
    else the accuracy.
    """
    pairs = {variant: _pairs(records, labels) for variant, records in within.items()}
    everything = [value for found in pairs.values() for pair in found for value in pair]
    numeric = any(map(_has_fraction, everything))
    return {
        variant: _error(found) if numeric else _accuracy(found)
        for variant, found in pairs.items()
    }


def _labels(reader: csv.DictReader[str], path: str) -> Labels:
    found: dict[tuple[str, int], str] = {}
    for line in reader:
        row = (line.get("row") or "0").strip()
        if not row.isdecimal() or None in (line["request_id"], line["label"]):
            raise LabError(
                f"{path}:{reader.line_num}: is no label (row must be a whole number "
                "from 0, request_id and label must be there); correct the line"
            )
        found[line["request_id"].strip(), int(row)] = line["label"].strip()
    return found


def _pairs(records: Sequence[Record], labels: Labels) -> list[tuple[str, Any]]:
    """Labels with their predictions; a prediction that is no single value has none."""
    answered = by_id(records)
    found = []
    for (id_, row), label in labels.items():
        record = answered.get(id_)
        if record and record.predictions and row < len(record.predictions):
            predicted = record.predictions[row]
            if isinstance(predicted, str | int | float):
                found.append((label, predicted))
    return found


def _error(pairs: Sequence[tuple[str, Any]]) -> Quality:
    numbers = [(number(a), number(b)) for a, b in pairs]
    errors = [abs(a - b) for a, b in numbers if a is not None and b is not None]
    mean = sum(errors) / len(errors) if errors else None
    return Quality("mean absolute error", mean, len(errors))


def _accuracy(pairs: Sequence[tuple[str, Any]]) -> Quality:
    right = sum(word(label) == word(predicted) for label, predicted in pairs)
    return Quality("accuracy", right / len(pairs) if pairs else None, len(pairs))


def word(value: Any) -> str | float:
    """`1`, `1.0` and "1" are one class; so are `true` and "True"."""
    found = number(value)
    return str(value).casefold() if found is None else found


def number(value: Any) -> float | None:
    """The finite number that a value is, or spells; None when it does neither."""
    if isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (OverflowError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _has_fraction(value: Any) -> bool:
    found = number(value)
    return found is not None and not found.is_integer()
