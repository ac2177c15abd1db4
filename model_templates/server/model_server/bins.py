"""How inputs and predictions spread over the bins of what a model has learned from.

The reference lies in the model's folder; without one nothing is counted. Bin `0` is
below the first edge; a value on an edge belongs to the bin above.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from .refusal import Array, first_line

log = logging.getLogger("model_server")
PREDICTION = "prediction"
MOST_COLUMNS = 50
MOST_ROWS = 100
"""Rows of a request that are counted; of more, every second or third one and so on."""
MOST_BINS = 10
"""Bins between edges, or categories."""
MISSING, OTHER = "missing", "other"


class Numbers:
    """Columns of numbers, counted together."""

    def __init__(self, columns: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the edges of each column; ValueError when they are none."""
        self.names = list(columns)
        self._edges = [np.array(c["edges"], np.float64) for c in columns.values()]
        for edges in self._edges:
            if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
                raise ValueError("edges must be finite numbers that grow")
        self._starts: Array = np.arange(len(columns)) * (MOST_BINS + 1)
        self._counts: Array = np.zeros(len(columns) * (MOST_BINS + 1), np.int64)

    def count(self, values: Array) -> None:
        """Count an array of [rows, columns]; what is not finite is missing."""
        bins = np.empty(values.shape, np.int64)
        for column, edges in enumerate(self._edges):
            bins[:, column] = edges.searchsorted(values[:, column], "right")
        bins[~np.isfinite(values)] = MOST_BINS
        bins += self._starts
        self._counts += np.bincount(bins.ravel(), minlength=len(self._counts))

    def counted(self) -> Iterator[tuple[str, dict[str, int]]]:
        """Yield each column's rows by bin."""
        table = self._counts.reshape(-1, MOST_BINS + 1).tolist()
        for name, edges, counts in zip(self.names, self._edges, table, strict=True):
            found = {str(number): counts[number] for number in range(len(edges) + 1)}
            yield name, {**found, MISSING: counts[MOST_BINS]}


class Words:
    """One column of texts, or of true and false."""

    def __init__(self, categories: Sequence[Any]) -> None:
        """Count each of `categories`, and all others together."""
        self._bins = {value: str(bin) for bin, value in enumerate(categories)}
        self.counts = dict.fromkeys([*self._bins.values(), OTHER, MISSING], 0)

    def count(self, values: Sequence[Any]) -> None:
        """Count a column's values."""
        for value in values:
            if value is None or value != value:
                self.counts[MISSING] += 1
            else:
                self.counts[self._bins.get(value, OTHER)] += 1


class Bins(Collector):
    """What a model was asked and what it said, beside its reference."""

    def __init__(
        self, model: str, served_by: str, reference: Mapping[str, Any]
    ) -> None:
        """Count for `model`; raises LookupError, TypeError or ValueError.

        `reference` is `training.describe.reference`'s.
        """
        self._labels = [model, served_by]
        columns = dict(reference["columns"])
        if len(columns) > MOST_COLUMNS:
            raise ValueError(f"there are more than {MOST_COLUMNS} columns")
        said = reference[PREDICTION]
        answers = {PREDICTION: said} if said else {}
        every = [*columns.items(), *answers.items()]
        self._expected = [(name, _expected(found)) for name, found in every]
        self._inputs, self._answers = _Table(columns), _Table(answers)
        self._failed = False

    @classmethod
    def of(cls, file: Path, model: str, served_by: str) -> Bins | None:
        """Return the bins of a reference; None where there is none to be read."""
        if not file.is_file():
            return None
        try:
            return cls(model, served_by, orjson.loads(file.read_bytes()))
        except (LookupError, OSError, TypeError, ValueError) as error:
            log.warning(
                "%s: nothing is compared with what the model has learned from, because "
                "its reference can't be read (%s)",
                served_by,
                first_line(error),
            )
            return None

    def count(self, asked: Any, predicted: Any) -> None:
        """Count a model's input and its predictions; never raises."""
        try:
            self._inputs.count(_columns(asked))
            self._answers.count(_answers(predicted))
        except Exception as error:
            if not self._failed:
                log.warning("%s: not counted: %s", self._labels[1], first_line(error))
            self._failed = True

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield the counters, and what is expected of them."""
        labels = ["model", "served_by", "column", "bin"]
        seen = CounterMetricFamily(
            "lab_model_bin", "Rows by bin, of a sample of each request", None, labels
        )
        expected = GaugeMetricFamily(
            "lab_model_bin_expected", "Share of the training rows", None, labels
        )
        counted = [*self._inputs.counted(), *self._answers.counted()]
        for (column, shares), rows in zip(self._expected, counted, strict=True):
            for bin, share in shares.items():
                where = [*self._labels, column, bin]
                seen.add_metric(where, rows[bin])
                expected.add_metric(where, share)
        yield from (seen, expected)


class _Table:
    """Columns of both kinds."""

    def __init__(self, columns: Mapping[str, Mapping[str, Any]]) -> None:
        self._names = list(columns)
        numbers = {n: found for n, found in columns.items() if _has_edges(found)}
        self._numbers = Numbers(numbers)
        self._words = {
            name: Words(found["categories"])
            for name, found in columns.items()
            if name not in numbers
        }

    def count(self, columns: Mapping[str, Array] | None) -> None:
        """Count columns of the same length; one that is not there is missing."""
        if not columns or not self._names:
            return
        rows = len(next(iter(columns.values())))
        nothing = np.full(rows, np.nan)
        if self._numbers.names:
            found = [columns.get(name, nothing) for name in self._numbers.names]
            self._numbers.count(np.array(found, np.float64).T)
        for name, words in self._words.items():
            words.count(columns.get(name, nothing).tolist())

    def counted(self) -> Iterator[dict[str, int]]:
        """Yield each column's rows by bin, in the reference's order."""
        numbers = dict(self._numbers.counted())
        for name in self._names:
            yield numbers[name] if name in numbers else dict(self._words[name].counts)


def _columns(asked: Any) -> Mapping[str, Array] | None:
    """The columns of a frame, or of an array, whose columns are 0, 1, 2 …"""
    if isinstance(asked, pd.DataFrame):
        sample = asked if len(asked) <= MOST_ROWS else asked.iloc[_every(len(asked))]
        # All at once: asking a frame for one column takes as long as for ten.
        return dict(zip(map(str, asked.columns), sample.to_numpy().T, strict=True))
    if isinstance(asked, np.ndarray) and asked.ndim == 2:
        sample = asked[_every(len(asked))]
        return {str(name): values for name, values in enumerate(sample.T)}
    return None


def _answers(predicted: Any) -> Mapping[str, Array] | None:
    """Predictions of one value per row as a column; None for any others."""
    array = np.asarray(predicted)
    if array.ndim == 0 or array.size != len(array):
        return None
    return {PREDICTION: array.ravel()[_every(len(array))]}


def _every(rows: int) -> slice:
    return slice(None, None, ceil(rows / MOST_ROWS) or 1)


def _expected(column: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of the training rows in each bin; ValueError if it is none."""
    kinds = column["edges"] if _has_edges(column) else column["categories"]
    if len(kinds) >= MOST_BINS + (not _has_edges(column)):
        raise ValueError(f"a column has more than {MOST_BINS} bins")
    if _has_edges(column):
        bins = [*map(str, range(len(kinds) + 1)), MISSING]
    else:
        bins = [*map(str, range(len(kinds))), OTHER, MISSING]
    shares = [float(share) for share in column["shares"]]
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError("a share is not between 0 and 1")
    return dict(zip(bins, shares, strict=True))


def _has_edges(column: Mapping[str, Any]) -> bool:
    return column["edges"] is not None
