"""Rows of a file through the model: the same checks and the same call as the API's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from model_server.contract import Contract
from model_server.model import LabModel
from model_server.refusal import Refusal, first_line, listed

from . import cells
from .files import Rows
from .store import Refused

MODEL_FAILED = "model_failed"
NOT_UTF8 = "not_utf8"


class Answered(NamedTuple):
    """What the model said about some rows."""

    rows: Any
    """Their places among the rows that were given, as a NumPy array."""
    result: Any


class Rejected(NamedTuple):
    """A row that has no prediction."""

    row: int
    """Its place among the rows that were given."""
    reason: str
    text: str


Outcome = Answered | Rejected


class Predictor:
    """A model, asked about tables instead of requests."""

    def __init__(self, model: LabModel, schema: Any, answers: Any = None) -> None:
        """Ask `model`, whose MLflow input and output schemas are these, or None."""
        self._model = model
        self.none = no_answer(answers)
        self._contract: Contract | None = model.contract
        tensors = schema is not None and schema.is_tensor_spec()
        self._lists = tensors and not schema.has_input_names()
        self._names: list[str] | None = None
        if schema is not None and schema.has_input_names():
            self._names = schema.input_names()
        self._numeric = tensors and all(s.type.kind in "iuf" for s in schema.inputs)
        self._readable = bool(self._contract or tensors)

    def columns(self, address: str, rows: Rows) -> list[str]:
        """Return the columns to read of a file; Refused when it lacks some."""
        if rows.text and not self._readable:
            raise Refused(
                f"{address}: CSV does not say of which types its columns are, and this "
                "model has no signature of plain columns that would; use Parquet, or "
                "log the model with a signature"
            )
        if self._contract and not self._contract.named:
            wanted = len(self._contract.columns)
            if len(rows.names) != wanted:
                raise Refused(
                    f"{address}: has {len(rows.names)} columns where the model takes "
                    f"{wanted} without names; leave out the others"
                )
        if self._names is None:
            return rows.names
        required = self._names
        if self._contract:
            required = [c.name for c in self._contract.columns if c.required]
        found = [name for name in self._names if name in rows.names]
        if missing := [name for name in required if name not in rows.names]:
            s, are = ("", "is") if len(missing) == 1 else ("s", "are")
            raise Refused(
                f"{address}: column{s} {listed(missing)} {are} missing, without which "
                f"the model predicts nothing (the file has {listed(rows.names)}); add "
                f"the column{s}, separated by commas in a CSV"
            )
        if not found:
            raise Refused(f"{address}: has none of the model's columns")
        return found

    def predict(self, table: Any, *, text: bool) -> Iterator[Outcome]:
        """Return what becomes of each row of `table`, an Arrow batch."""
        columns = {n: table.column(i) for i, n in enumerate(table.schema.names)}
        everyone = np.arange(table.num_rows)
        if text:
            lost = np.zeros(table.num_rows, bool)
            for name, column in columns.items():
                columns[name], undecoded = cells.decoded(column)
                lost |= undecoded
            yield from (
                Rejected(int(row), NOT_UTF8, "has a cell that is no text in UTF-8")
                for row in np.flatnonzero(lost)
            )
            everyone = np.flatnonzero(~lost)
        if self._contract:
            yield from self._checked(self._contract, columns, everyone, text)
        else:
            yield from self._loosely(columns, everyone, text)

    def _checked(
        self, contract: Contract, columns: dict[str, Any], rows: Any, text: bool
    ) -> Iterator[Outcome]:
        if not contract.named:
            columns = dict(zip(contract.names, columns.values(), strict=True))
        present = [column for column in contract.columns if column.name in columns]
        arrays: dict[str, Any] = {}
        doubts: Any = np.zeros(len(next(iter(columns.values()))), bool)
        for column in present:
            arrays[column.name], wrong = cells.convert(
                column, columns[column.name], text=text
            )
            doubts |= wrong
        good, doubtful = rows[~doubts[rows]], rows[doubts[rows]]
        if len(good) < len(doubts):
            arrays = {name: array[good] for name, array in arrays.items()}
        if len(good):
            yield from self._run(frame(contract, arrays), good)
        for row in doubtful:
            one = {
                c.name: cells.values(c.type, columns[c.name][row : row + 1], text=text)
                for c in present
            }
            try:
                judged = contract.of_columns(one)
            except Exception as error:
                yield _rejected(row, error)
            else:
                yield from self._run(judged, rows[rows == row])

    def _loosely(
        self, columns: dict[str, Any], rows: Any, text: bool
    ) -> Iterator[Outcome]:
        """Models without plain columns: MLflow's own check stands, as in the API."""
        kind = "double" if self._numeric else "string"
        names = list(columns)
        taken = [columns[n].take(pa.array(rows)) for n in names]
        values = [cells.values(kind, column, text=text) for column in taken]
        if self._lists and len(values) == 1 and pa.types.is_nested(taken[0].type):
            asked: list[Any] = values[0]
        elif self._lists:
            asked = [list(row) for row in zip(*values, strict=True)]
        else:
            asked = [
                dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)
            ]
        if asked:
            yield from self._halving(asked, rows)

    def _halving(self, asked: list[Any], rows: Any) -> Iterator[Outcome]:
        """Read and predict; what fails is found by halves."""

        def answer(part: slice) -> Any:
            return self._model.run(self._model.takes.of_rows(asked[part]))

        return _by_halves(answer, rows, slice(0, len(rows)))

    def _run(self, data: pd.DataFrame, rows: Any) -> Iterator[Outcome]:
        """Predict; what fails is found by halves."""

        def answer(part: slice) -> Any:
            return self._model.run(data.iloc[part].reset_index(drop=True))

        return _by_halves(answer, rows, slice(0, len(rows)))


def _by_halves(
    answer: Callable[[slice], Any], rows: Any, part: slice
) -> Iterator[Outcome]:
    """Answer the rows of `part` at once, or those of its halves when that fails."""
    these = rows[part]
    try:
        found = Answered(these, _per_row(answer(part), len(these)))
    except Refused:
        raise
    except Exception as error:
        if len(these) == 1:
            yield _rejected(these[0], error)
            return
    else:
        yield found
        return
    middle = part.start + len(these) // 2
    yield from _by_halves(answer, rows, slice(part.start, middle))
    yield from _by_halves(answer, rows, slice(middle, part.stop))


def no_answer(schema: Any) -> Answered:
    """Return an answer without rows, of the types that the output schema promises."""
    nobody = np.array([], np.int64)
    if schema is None:
        return Answered(nobody, np.array([], np.float64))
    types = [spec.type if schema.is_tensor_spec() else None for spec in schema.inputs]
    empty = {
        spec.name or "prediction": np.array(
            [], type_ or getattr(spec.type, "to_numpy", lambda: np.dtype(object))()
        )
        for spec, type_ in zip(schema.inputs, types, strict=True)
    }
    return Answered(nobody, empty)


def frame(contract: Contract, arrays: dict[str, Any]) -> pd.DataFrame:
    """Return the frame that the contract would make of these columns."""
    everything = len(arrays) == len(contract.columns)
    if everything and all(c.type == "double" for c in contract.columns):
        # Row by row in memory, as the contract has it: sums come out the same.
        matrix = np.column_stack(list(arrays.values()))
        if np.isfinite(matrix).all():
            return contract.of_array(np.ascontiguousarray(matrix), "rows")
    found = pd.DataFrame(arrays, copy=False)
    if not contract.named:
        found.columns = pd.Index(range(len(arrays)))
    return found


def _per_row(result: Any, rows: int) -> Any:
    answers: Sequence[Any] = result
    if isinstance(result, dict):
        answers = next(iter(result.values()), ())
    got = len(answers) if hasattr(answers, "__len__") else 1
    if got != rows:
        raise Refused(
            f"the model gave {got} answers for {rows} rows; predictions over files "
            "need one for each row"
        )
    return result


def _rejected(row: Any, error: Exception) -> Rejected:
    if isinstance(error, Refusal):
        # The contract speaks of the only row that it was asked about.
        text = str(error).replace("row[0]: ", "").replace("instances[0]: ", "")
        return Rejected(int(row), str(error.kind), text)
    return Rejected(
        int(row), MODEL_FAILED, f"{type(error).__name__}: {first_line(error)}"
    )
