"""What was posted to the service, as labels and what is wrong with the others. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from labfactory.guard.feedback.judge import is_number

MOST_LABELS = 10_000
LONGEST_ID = 200
"""Characters of a request id that the log of predictions keeps."""
LONGEST_LABEL = 1_000
FIELDS = frozenset({"id", "row", "label"})
HOW = 'send {"labels": [{"id": "<x-request-id>", "row": 0, "label": 1.5}, …]}'


class Label(NamedTuple):
    """The right answer to one row of one request."""

    place: int
    """Its place among those that were posted together."""
    id: str
    row: int
    value: bool | float | int | str


class Refused(NamedTuple):
    """A label that is not taken."""

    place: int
    id: str | None
    reason: str
    kind: str
    """One word, for the metric: `form`, `row`, `label` or `duplicate`."""

    def told(self) -> dict[str, Any]:
        """Return it as the answer has it."""
        return {"index": self.place, "id": self.id, "reason": self.reason}


class Unreadable(ValueError):
    """What was posted holds no labels at all: one sentence."""


def read(body: bytes) -> tuple[list[Label], list[Refused]]:
    """Return the labels in a body, and those whose form is wrong.

    Raises Unreadable when there is no list of labels to take any from.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise Unreadable(f"the body is not JSON; {HOW}") from None
    posted = message.get("labels") if isinstance(message, dict) else None
    if not isinstance(posted, list) or message.keys() != {"labels"}:
        raise Unreadable(
            f"the body must be an object with a list `labels` alone; {HOW}"
        )
    if len(posted) > MOST_LABELS:
        raise Unreadable(
            f"labels: there are {len(posted)}, and {MOST_LABELS} are taken at a time; "
            "send them in several requests"
        )
    labels, refused = [], []
    for index, entry in enumerate(posted):
        if wrong := _wrong(entry):
            refused.append(Refused(index, _id(entry), wrong, "form"))
        else:
            row = entry.get("row", 0)
            labels.append(Label(index, entry["id"], row, entry["label"]))
    return labels, refused


def _wrong(entry: Any) -> str | None:
    """Everything that is wrong with the form of an entry; None when nothing is."""
    if not isinstance(entry, Mapping):
        return "must be an object with id, label and, if need be, row"
    found = [f"has no {name}" for name in ("id", "label") if name not in entry]
    if unknown := sorted(entry.keys() - FIELDS):
        listed = ", ".join(repr(name[:40]) for name in unknown[:5])
        found.append(f"has {listed}; it may have id, row and label")
    id_, row = entry.get("id", "id"), entry.get("row", 0)
    if not isinstance(id_, str) or not 0 < len(id_) <= LONGEST_ID:
        found.append(f"id must be the request's x-request-id, up to {LONGEST_ID} long")
    if type(row) is not int or row < 0:
        found.append("row must be a whole number from 0")
    label = entry.get("label", "")
    if isinstance(label, str):
        if len(label) > LONGEST_LABEL:
            found.append(f"label must be at most {LONGEST_LABEL} characters long")
    elif not isinstance(label, bool) and not is_number(label):
        found.append("label must be a finite number, true, false or text")
    return "; ".join(found) or None


def _id(entry: Any) -> str | None:
    found = entry.get("id") if isinstance(entry, Mapping) else None
    return found[:LONGEST_ID] if isinstance(found, str) else None
