"""One worker's share of a run: predict its parts, and close the run if all are there.

A run is named by what it reads and by the model. Its folder belongs to it alone: parts
that are there are finished, whoever wrote them; the rest is still to be done.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from . import store
from .asked import Asked, described, difference, identity, inputs
from .files import Piece, Rows, open_rows
from .parts import Counts, Part, counts, part_name
from .rows import Predictor, Rejected
from .store import Found, Refused

log = logging.getLogger("batch")
RUN, MANIFEST = "run.json", "manifest.json"
LENGTH = "length"


class Run:
    """A run, as one of its workers sees it."""

    def __init__(self, asked: Asked) -> None:
        """Look at the input; Refused when there is nothing to predict."""
        self._asked = asked
        self._output = asked.output
        if f"{asked.output}/".startswith(f"{asked.input}/"):
            raise Refused(
                f"{asked.output}: is inside of the input; write predictions elsewhere"
            )
        self._files = inputs(asked.input)
        self._identity = identity(self._files, asked)

    def finished(self) -> dict[str, Any] | None:
        """Return the manifest of this very run, or None; claims the folder for it.

        Raises Refused when the folder belongs to another run.
        """
        content = store.read(f"{self._output}/{RUN}")
        if content is None:
            self._claim()
            content = store.read(f"{self._output}/{RUN}") or b"{}"
        there = json.loads(content)
        if there.get("identity") != self._identity:
            raise Refused(
                f"{self._output}: holds the predictions of another run "
                f"({difference(there, self._claimed())}); give this one a folder of "
                "its own"
            )
        self._started = there["started"]
        manifest = store.read(f"{self._output}/{MANIFEST}")
        return json.loads(manifest) if manifest else None

    def work(self, predictor: Predictor) -> dict[str, Any]:
        """Predict this worker's parts; return the manifest, or what it has done."""
        opened = [(found, open_rows(found)) for found in self._files]
        # Before anything is predicted: a file that lacks a column spoils all of it.
        columns = [
            predictor.columns(found.address, rows) if rows.names else []
            for found, rows in opened
        ]
        self._there = {*store.names(self._output)}
        done: list[Counts] = []
        for file, (found, rows) in enumerate(opened):
            done += self._file(file, found, rows, columns[file], predictor)
        if identity(inputs(self._asked.input), self._asked) != self._identity:
            raise Refused(
                f"{self._asked.input}: changed while it was read; predict it again "
                "into another folder"
            )
        ignored = {
            found.name: [name for name in rows.names if name not in wanted]
            for (found, rows), wanted in zip(opened, columns, strict=True)
        }
        return self._close([rows.count for _, rows in opened], ignored) or {
            "complete": False,
            **totals(done),
        }

    def _file(
        self, file: int, found: Found, rows: Rows, columns: list[str], ask: Predictor
    ) -> Iterator[Counts]:
        """Write the parts of a file that are this worker's and not there yet."""
        size = self._asked.part_rows

        def wanted(first: int, end: int) -> bool:
            numbers = range(first // size, (end - 1) // size + 1)
            return any(self._mine(file, number) for number in numbers)

        part: Part | None = None
        started = perf_counter()
        for piece in cut(rows.pieces(columns, wanted), size):
            number = piece.first // size
            if part and part.number != number:
                yield self._written(part, started)
                part = None
            if not self._mine(file, number):
                continue
            if part is None:
                part = Part(self._output, file, number, found.name, ask.none)
                started = perf_counter()
            part.rows += piece.size
            if piece.cells is None:
                part.add(piece.first, Rejected(0, LENGTH, piece.misfit))
            else:
                for outcome in ask.predict(piece.cells, text=rows.text):
                    part.add(piece.first, outcome)
        if part:
            yield self._written(part, started)

    def _mine(self, file: int, number: int) -> bool:
        mine = (file + number) % self._asked.shards == self._asked.shard
        return mine and part_name(file, number) not in self._there

    def _written(self, part: Part, started: float) -> Counts:
        found = part.write(self._identity)
        speed = found.rows / (perf_counter() - started)
        rejected = f", {sum(found.rejected.values()):,} rejected" * bool(found.rejected)
        log.info(
            "%s: %s rows%s, %s rows/s",
            part.name,
            f"{found.rows:,}",
            rejected,
            f"{speed:,.0f}",
        )
        return found

    def _close(
        self, rows: list[int], ignored: dict[str, list[str]]
    ) -> dict[str, Any] | None:
        """Write the manifest if every part is there; all workers write the same."""
        size = self._asked.part_rows
        names = [
            part_name(file, number)
            for file, many in enumerate(rows)
            for number in range(-(-many // size))
        ]
        there = store.names(self._output)
        if not {*names} <= {*there}:
            return None
        parts = {name: counts(self._output, name) for name in names}
        if strangers := [n for n, part in parts.items() if part.run != self._identity]:
            raise Refused(
                f"{self._output}/{strangers[0]}: was written by another run; give this "
                "one a folder of its own"
            )
        ended = max((there[name] for name in names), default=there[RUN])
        manifest = {
            "complete": True,
            **self._claimed(),
            **totals([*parts.values()]),
            "started": self._started,
            "ended": moment(ended),
            "files": [
                {
                    **described(found),
                    "rows": many,
                    "ignored_columns": ignored[found.name],
                }
                for found, many in zip(self._files, rows, strict=True)
            ],
            "parts": [
                {
                    "name": name,
                    "rows": part.rows,
                    "predicted": part.predicted,
                    "rejected": part.rejected,
                }
                for name, part in parts.items()
            ],
        }
        content = json.dumps(manifest, indent=2) + "\n"
        store.write(f"{self._output}/{MANIFEST}", content.encode())
        return manifest

    def _claim(self) -> None:
        started = moment(datetime.now(UTC).timestamp())
        content = {**self._claimed(), "started": started}
        store.write(f"{self._output}/{RUN}", json.dumps(content, indent=2).encode())

    def _claimed(self) -> dict[str, Any]:
        return {
            "identity": self._identity,
            **self._asked.model,
            "input": self._asked.input,
            "output": self._output,
            "part_rows": self._asked.part_rows,
            "files": [described(found) for found in self._files],
        }


def totals(done: list[Counts]) -> dict[str, Any]:
    """Return sums over parts."""
    rejected: Counter[str] = Counter()
    for part in done:
        rejected.update(part.rejected)
    return {
        "rows": sum(part.rows for part in done),
        "predicted": sum(part.predicted for part in done),
        "rejected": dict(sorted(rejected.items())),
    }


def cut(pieces: Iterator[Piece], size: int) -> Iterator[Piece]:
    """Cut pieces where parts begin."""
    for piece in pieces:
        first, end = piece.first, piece.first + piece.size
        while first < end:
            stop = min(end, (first // size + 1) * size)
            cells = piece.cells
            if cells is not None:
                cells = cells.slice(first - piece.first, stop - first)
            yield Piece(first, stop - first, cells, piece.misfit)
            first = stop


def moment(seconds: float) -> str:
    """Return seconds since 1970 as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
