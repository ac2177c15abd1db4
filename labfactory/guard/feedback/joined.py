"""Labels and predictions of one release, joined by request id, and what came of it.

Either may come first. Counters start at 0 with the process: what was joined before it
started is known, so that it is not joined again, but is not counted again either.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from threading import Lock
from typing import Any, NamedTuple

from labfactory.guard.feedback.judge import is_right, misfit
from labfactory.guard.feedback.posted import Label, Refused
from labfactory.guard.feedback.rules import Rules, Tally
from labfactory.releases.comparison.compare import Record
from labfactory.releases.comparison.compare_agreement import is_same
from labfactory.releases.comparison.compare_quality import word

MOST_ROWS = 200_000
"""Predictions that are remembered; the oldest go."""
MOST_WAITING = 50_000
"""Requests with labels whose predictions have not come; the oldest go."""
REMEMBERED = 24 * 3600.0
"""Seconds after which a prediction is forgotten."""
PATIENCE = 600.0
"""Seconds that a label waits for its prediction."""


class Verdict(NamedTuple):
    """What is to be done with labels that were posted."""

    taken: list[Label]
    duplicates: int
    unknown: int
    """Those of the taken whose prediction has not come."""
    refused: list[Refused]


class _Said(NamedTuple):
    variant: str
    predictions: Sequence[Any]
    restored: bool

    def size(self) -> int:
        """What it takes of the room that there is, in rows."""
        return max(1, len(self.predictions))


class _Given(NamedTuple):
    value: Any
    restored: bool


class _Request:
    __slots__ = ("came", "given", "said")

    def __init__(self, came: float) -> None:
        self.came = came
        self.said: tuple[_Said, ...] = ()
        self.given: dict[int, _Given] | None = None

    def rows(self) -> int:
        return max(len(said.predictions) for said in self.said)

    def at(self, row: int) -> Iterator[tuple[_Said, Any]]:
        """Each variant's prediction for a row."""
        for said in self.said:
            if row < len(said.predictions):
                yield said, said.predictions[row]


class _Waiting(NamedTuple):
    until: float
    given: dict[int, _Given]


class Joined:
    """The join of one release; safe to use from several threads."""

    def __init__(
        self, rules: Rules, *, most: int = MOST_ROWS, waiting: int = MOST_WAITING
    ) -> None:
        """Remember `most` rows, and `waiting` requests without their predictions."""
        self.rules = rules
        self.tally = Tally()
        self.posting = Lock()
        """Held from the check of labels until they are added."""
        self._lock = Lock()
        self._most, self._most_waiting = most, waiting
        self._rows = 0
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._example: Any = None

    def predicted(
        self, variant: str, records: Iterable[Record], *, restored: bool = False
    ) -> None:
        """Take the answers that a variant has logged."""
        with self._lock:
            for record in records:
                if record.id and record.status == 200 and record.predictions:
                    self._predicted(variant, record, record.predictions, restored)
            while self._rows > self._most:
                self._forget()

    def check(self, labels: Sequence[Label]) -> Verdict:
        """Say what is to be done with labels; nothing changes."""
        found = Verdict([], 0, 0, [])
        new: dict[tuple[str, int], Any] = {}
        duplicates = unknown = 0
        with self._lock:
            for label in labels:
                known = self._requests.get(label.id)
                earlier = new.get((label.id, label.row), self._earlier(label, known))
                if earlier is not None and word(earlier) == word(label.value):
                    duplicates += 1
                elif wrong := self._wrong(label, known, earlier):
                    found.refused.append(wrong)
                else:
                    found.taken.append(label)
                    new[label.id, label.row] = label.value
                    unknown += known is None
        return found._replace(duplicates=duplicates, unknown=unknown)

    def add(self, labels: Iterable[Label], now: float) -> None:
        """Take labels that were checked, and are kept where a restart finds them."""
        with self._lock:
            for label in labels:
                self._add(label, _Given(label.value, False), now + PATIENCE)

    def restore(self, labels: Iterable[tuple[Label, float]], now: float) -> None:
        """Take labels with the times at which they came to an earlier process."""
        with self._lock:
            for label, came in labels:
                given, until = _Given(label.value, True), came + PATIENCE
                if label.id in self._requests or until > now:
                    self._add(label, given, until)

    def tidy(self, now: float) -> None:
        """Give up labels that waited too long, and forget old predictions."""
        with self._lock:
            for id_, waiting in list(self._waiting.items()):
                if waiting.until > now:
                    break
                self._give_up(id_)
            while self._requests:
                oldest = next(iter(self._requests.values()))
                if oldest.came > now - REMEMBERED:
                    break
                self._forget()

    def _predicted(
        self, variant: str, record: Record, predictions: Sequence[Any], restored: bool
    ) -> None:
        request = self._requests.get(record.id)
        if request is None:
            request = _Request(record.time.timestamp())
            self._requests[record.id] = request
        said = _Said(variant, predictions, restored)
        if earlier := [each for each in request.said if each.variant == variant]:
            # An id that came twice names no one request: nothing more is said of it.
            said = _Said(variant, (), restored)
            request.said = tuple(each for each in request.said if each not in earlier)
            self._rows -= sum(each.size() for each in earlier)
        self._rows += said.size()
        self._agree(request, said)
        request.said = (*request.said, said)
        self._example = predictions[0]
        for row, given in (request.given or {}).items():
            if row < len(said.predictions):
                self._judge(said, said.predictions[row], given)
        if waiting := self._waiting.pop(record.id, None):
            for row, given in waiting.given.items():
                self._attach(request, row, given)

    def _agree(self, request: _Request, new: _Said) -> None:
        """Compare an answer with those that came before it for the same request."""
        rule, shadows = self.rules.agreement, self.rules.shadows
        if rule is None or not new.predictions:
            return
        for old in request.said:
            shadow = new.variant if new.variant in shadows else old.variant
            if (old.variant in shadows) is (new.variant in shadows):
                continue
            if not old.predictions or (old.restored and new.restored):
                continue
            self.tally.compared[shadow] += 1
            self.tally.agreed[shadow] += is_same(
                list(old.predictions), list(new.predictions), rule.tolerance
            )

    def _add(self, label: Label, given: _Given, until: float) -> None:
        if request := self._requests.get(label.id):
            self._attach(request, label.row, given)
            return
        waiting = self._waiting.setdefault(label.id, _Waiting(until, {}))
        waiting.given[label.row] = given
        while len(self._waiting) > self._most_waiting:
            self._give_up(next(iter(self._waiting)))

    def _attach(self, request: _Request, row: int, given: _Given) -> None:
        """Judge what is predicted for a row by its label, now and later."""
        if row >= request.rows():
            self.tally.unknown += not given.restored
            return
        request.given = request.given or {}
        request.given[row] = given
        for said, predicted in request.at(row):
            self._judge(said, predicted, given)

    def _judge(self, said: _Said, predicted: Any, given: _Given) -> None:
        if self.rules.quality is None or (said.restored and given.restored):
            return
        if misfit(given.value, predicted):
            self.tally.refused["label"] += 1
            return
        self.tally.labelled[said.variant] += 1
        self.tally.wrong[said.variant] += not is_right(
            given.value, predicted, self.rules.quality.tolerance
        )

    def _earlier(self, label: Label, known: _Request | None) -> Any:
        """The label that a row has already; None when it has none."""
        given = known.given if known else None
        if waiting := self._waiting.get(label.id):
            given = waiting.given
        found = (given or {}).get(label.row)
        return found.value if found else None

    def _wrong(
        self, label: Label, known: _Request | None, earlier: Any
    ) -> Refused | None:
        def refused(kind: str, reason: str) -> Refused:
            return Refused(label.place, label.id, reason, kind)

        if earlier is not None:
            return refused(
                "duplicate", "the row has another label already; the first one counts"
            )
        if known and not known.rows():
            return refused("row", "id names several requests; no label fits it")
        if known and label.row >= known.rows():
            return refused(
                "row", f"row must be below {known.rows()}, the predictions logged"
            )
        predictions = [p for _, p in known.at(label.row)] if known else [self._example]
        for predicted in predictions:
            if reason := misfit(label.value, predicted):
                return refused("label", reason)
        return None

    def _give_up(self, id_: str) -> None:
        self.tally.unknown += len(self._waiting.pop(id_).given)

    def _forget(self) -> None:
        _, request = self._requests.popitem(last=False)
        self._rows -= sum(said.size() for said in request.said)
