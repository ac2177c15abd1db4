"""A part of the output: the predictions of a range of rows, and what was rejected."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from model_server import answers

from . import store
from .rows import Answered, Outcome, Rejected
from .store import Refused

KEY = b"labfactory.batch"
"""Where a part's Parquet footer holds its Counts."""
OWN = ("file", "row")
"""Columns that are ours: a model's column of that name gets another one."""


class Counts(NamedTuple):
    """What became of the rows of a part."""

    run: str
    """Identity of the run that wrote it."""
    rows: int
    predicted: int
    rejected: dict[str, int]
    """Number of rows by reason."""


class Part:
    """Rows `number` x `size` and on of one file, until that many are there."""

    def __init__(
        self, output: str, file: int, number: int, name: str, none: Answered
    ) -> None:
        """Collect for part `number` of the file called `name`, number `file`.

        `none` is an answer without rows: without it, a part in which every row is
        rejected would lack the model's columns.
        """
        self.number = number
        self.rows = 0
        self.rejected: Counter[str] = Counter()
        self.name = part_name(file, number)
        self._output = output
        self._file = name
        self._none = table(0, none)
        self._tables: list[Any] = []
        self._rejects: list[dict[str, Any]] = []

    def add(self, first: int, outcome: Outcome) -> None:
        """Take what became of some rows; their places count from row `first`."""
        if isinstance(outcome, Rejected):
            self.rejected[outcome.reason] += 1
            self._rejects.append(
                {
                    "file": self._file,
                    "row": first + outcome.row,
                    "reason": outcome.reason,
                    "text": outcome.text,
                }
            )
        else:
            self._tables.append(table(first, outcome))

    def write(self, run: str) -> Counts:
        """Write rejects, then predictions: a part that is there is finished."""
        found = self._predictions()
        counts = Counts(
            run, self.rows, found.num_rows, dict(sorted(self.rejected.items()))
        )
        if counts.predicted + self.rejected.total() != self.rows:
            raise AssertionError(f"{self.name}: rows are lost: {counts}")
        if self._rejects:
            ordered = sorted(self._rejects, key=lambda reject: reject["row"])
            lines = "".join(f"{json.dumps(reject)}\n" for reject in ordered)
            store.write(f"{self._output}/{rejects_name(self.name)}", lines.encode())
        found = found.replace_schema_metadata({KEY: json.dumps(counts._asdict())})
        buffer = pa.BufferOutputStream()
        pq.write_table(found, buffer, compression="zstd")
        store.write(f"{self._output}/{self.name}", buffer.getvalue())
        return counts

    def _predictions(self) -> Any:
        if not self._tables:
            rows = self._none.schema.empty_table()
        else:
            try:
                rows = pa.concat_tables(self._tables, promote_options="permissive")
            except pa.ArrowTypeError as error:
                raise Refused(
                    f"{self.name}: the model's answers are not of one type ({error}); "
                    "let it return the same type for every row"
                ) from error
        rows = rows.sort_by("row") if len(self._tables) > 1 else rows
        names = pa.array([self._file] * len(rows), pa.string())
        return rows.add_column(0, "file", names)


def part_name(file: int, number: int) -> str:
    """Return the name of a part."""
    return f"part-{file:05}-{number:05}.parquet"


def rejects_name(part: str) -> str:
    """Return the name of the rejects beside a part."""
    return part.replace("part-", "rejects-").replace(".parquet", ".jsonl")


def counts(output: str, name: str) -> Counts:
    """Read what a part that is there says of itself; Refused when it is nobody's."""
    address = f"{output}/{name}"
    with store.source(address) as file:
        metadata = pq.read_metadata(file).metadata or {}
    if KEY not in metadata:
        raise Refused(
            f"{address}: was not written by a batch run; give the run a folder of its "
            "own"
        )
    return Counts(**json.loads(metadata[KEY]))


def table(first: int, answered: Answered) -> Any:
    """Return the predictions as an Arrow table; their rows count from row `first`."""
    result = answered.result
    if isinstance(result, pd.DataFrame):
        named = {str(name): result[name].to_numpy() for name in result.columns}
    elif isinstance(result, dict):
        named = {str(name): value for name, value in result.items()}
    else:
        named = {"prediction": result}
    columns = {"row": pa.array(answered.rows + first, pa.int64())}
    for name, values in named.items():
        columns[f"prediction.{name}" if name in OWN else name] = _arrow(values)
    return pa.table(columns)


def _arrow(values: Any) -> Any:
    """Return a model's answers as an Arrow array; what it has no type for, as JSON."""
    if isinstance(values, pd.Series):
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.ndim > 1:
        values = values.tolist()
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([answers.dumps(value).decode() for value in values])
