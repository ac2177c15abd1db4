"""How a model's inputs and predictions spread in training, to compare with later."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

MOST_COLUMNS = 50
MOST_BINS = 10
"""What the model server counts: columns, and bins or categories of each."""
MOST_ROWS = 20_000
"""Rows that the shares of the bins are taken from."""


def reference(model: Any, features: pd.DataFrame) -> dict[str, Any]:
    """Return how the columns, and what is predicted from them, spread over bins.

    Each of `columns`, and `prediction` unless it is null, has either `edges` (a value
    on an edge belongs to the bin above) or `categories`, and the `shares` of the rows:
    in each bin, in other categories where it has any, and of missing values.
    """
    rows = features.iloc[:: -(-len(features) // MOST_ROWS) or 1]
    predicted = np.asarray(model.predict(rows))
    spread = {str(name): _spread(rows[name]) for name in features.columns}
    known = {name: found for name, found in spread.items() if found}
    one_each = predicted.size == len(rows)
    return {
        "rows": len(rows),
        "columns": dict(list(known.items())[:MOST_COLUMNS]),
        "prediction": _spread(pd.Series(predicted.ravel())) if one_each else None,
    }


def _spread(column: pd.Series) -> dict[str, Any] | None:
    """Return the bins of a column; None when it has neither numbers nor words."""
    there = column.dropna()
    edges, categories = None, None
    if pd.api.types.is_bool_dtype(there) or _is_words(there):
        categories, counts = _categories(there.tolist())
    elif pd.api.types.is_numeric_dtype(column):
        there = there.to_numpy("float64")
        there = np.sort(there[np.isfinite(there)])
        edges = _edges(there)
        bins = np.searchsorted(edges, there, "right")
        counts = np.bincount(bins, minlength=len(edges) + 1).tolist()
    else:
        return None
    shares = [count / len(column) for count in (*counts, len(column) - len(there))]
    return {"edges": edges, "categories": categories, "shares": shares}


def _categories(values: list[Any]) -> tuple[list[Any], list[int]]:
    """Return the most frequent values, and how often each and all others are there."""
    found = sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))
    kept, others = found[:MOST_BINS], found[MOST_BINS:]
    counts = [count for _, count in kept]
    return [value for value, _ in kept], [*counts, sum(count for _, count in others)]


def _is_words(column: pd.Series) -> bool:
    return len(column) > 0 and all(isinstance(value, str) for value in column)


def _edges(numbers: Any) -> list[float]:
    """Return edges between sorted numbers: bins of about the same size.

    Equal numbers stay together. Where one of them fills a bin and more, the others
    share the bins that are left.
    """
    values, counts = np.unique(numbers, return_counts=True)
    edges: list[float] = []
    inside, left = 0, len(numbers)
    for value, following, count in zip(values, values[1:], counts, strict=False):
        inside += count
        if inside * (MOST_BINS - len(edges)) >= left:
            # Half way, so that a number which is rounded elsewhere stays in its bin.
            middle = float(value / 2 + following / 2)
            edges.append(middle if value < middle else float(following))
            inside, left = 0, left - inside
            if len(edges) == MOST_BINS - 1:
                break
    return edges
