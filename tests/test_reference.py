"""What a model has learned from, in bins, and what a server counts beside it."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from model_server.slim import without_client

without_client()
with warnings.catch_warnings():
    # What MLflow and the KServe SDK say when they are imported is not about us.
    warnings.simplefilter("ignore")
    from model_server.bins import MOST_ROWS, Bins
    from model_server.metrics import BOUNDS, SECONDS
    from model_server.refusal import Reason, Refusal
    from model_server.server import Predictions
    from prometheus_client import CollectorRegistry, generate_latest
    from training.reference import reference

from labfactory.releases.models.candidate import admit, publish  # noqa: E402
from labfactory.releases.models.registry import Registry  # noqa: E402
from tests.test_card import Mlflow  # noqa: E402

Counts = dict[str, dict[str, float]]


class Sum:
    """Predicts the sum of a row's numbers."""

    def predict(self, rows: pd.DataFrame) -> Any:
        return rows.select_dtypes("number").sum(axis=1).to_numpy()


class Sign:
    """Predicts a word."""

    def predict(self, rows: pd.DataFrame) -> Any:
        return np.where(rows.iloc[:, 0] < 0, "low", "high")


def numbers(*edges: float) -> dict[str, Any]:
    shares = [1.0, *(0.0 for _ in edges), 0.0]
    return {"edges": [*edges], "categories": None, "shares": shares}


def words(*categories: Any) -> dict[str, Any]:
    shares = [*(0.0 for _ in categories), 1.0, 0.0]
    return {"edges": None, "categories": [*categories], "shares": shares}


def bins(prediction: Mapping[str, Any] | None = None, **columns: Any) -> Bins:
    found = {"rows": 10, "columns": columns, "prediction": prediction}
    return Bins("m", "m-v1", json.loads(json.dumps(found)))


def counted(bins: Bins, metric: str = "lab_model_bin_total") -> Counts:
    """Values above 0, by column and bin."""
    found: Counts = {}
    for family in bins.collect():
        for sample in family.samples:
            if sample.name == metric and sample.value:
                column, bin = sample.labels["column"], sample.labels["bin"]
                found.setdefault(column, {})[bin] = sample.value
    return found


def test_values_are_counted_in_the_bins_of_the_reference() -> None:
    found = bins(numbers(0), age=numbers(1, 2), dose=numbers())

    asked = pd.DataFrame({"age": [0.5, 1.0, 1.5, 2.0, 99.0], "dose": range(5)})
    found.count(asked, np.array([-1.0, 0.0, 1.0, np.nan, np.inf]))

    assert counted(found) == {
        "age": {"0": 1, "1": 2, "2": 2},
        "dose": {"0": 5},
        "prediction": {"0": 1, "1": 2, "missing": 2},
    }


def test_words_are_counted_by_category_and_others_together() -> None:
    found = bins(words("low"), city=words("Oslo", "Rome"), new=words(False, True))

    asked = pd.DataFrame(
        {"city": ["Rome", "Bern", None, "Rome"], "new": [True, False, True, True]}
    )
    found.count(asked, np.array(["low", "high", "low", "low"]))

    assert counted(found) == {
        "city": {"1": 2, "other": 1, "missing": 1},
        "new": {"0": 1, "1": 3},
        "prediction": {"0": 3, "other": 1},
    }


def test_a_column_that_was_not_sent_is_missing() -> None:
    found = bins(age=numbers(1), city=words("Oslo"), note=numbers())

    found.count(pd.DataFrame({"note": [1, 2]}), np.array([1.0, 2.0]))

    assert counted(found) == {
        "age": {"missing": 2},
        "city": {"missing": 2},
        "note": {"0": 2},
    }


@pytest.mark.parametrize(
    "asked",
    [np.array([[1.0, 5.0]]), pd.DataFrame(np.array([[1, 5]]))],
    ids=["array", "frame"],
)
def test_columns_without_names_are_counted_by_their_place(asked: Any) -> None:
    found = bins(**{"0": numbers(2), "1": numbers(2)})

    found.count(asked, [1.0])

    assert counted(found) == {"0": {"0": 1}, "1": {"1": 1}}


@pytest.mark.parametrize("rows", [MOST_ROWS, MOST_ROWS + 1, 12_345])
def test_a_large_request_counts_for_a_hundred_rows_at_most(rows: int) -> None:
    found = bins(numbers(rows / 2), age=numbers(rows / 2))
    values: Any = np.arange(rows, dtype=float)

    found.count(pd.DataFrame({"age": values}), values)

    sampled = counted(found)["age"]
    assert MOST_ROWS / 2 <= sum(sampled.values()) <= MOST_ROWS
    assert abs(sampled["0"] - sampled["1"]) <= 1
    assert counted(found)["prediction"] == sampled


@pytest.mark.parametrize(
    "predicted",
    [np.ones((2, 3)), [[1, 2], [3]], {"a": [1]}, "text", None, 3.0],
    ids=["wide", "ragged", "named", "text", "nothing", "one"],
)
def test_predictions_of_another_shape_are_not_counted_and_break_nothing(
    predicted: Any,
) -> None:
    found = bins(numbers(0), age=numbers(0))

    found.count(pd.DataFrame({"age": [1.0, 2.0]}), predicted)

    assert counted(found) == {"age": {"1": 2}}


def test_what_is_expected_is_told_beside_what_is_seen() -> None:
    found = bins(
        None, age={"edges": [1.0], "categories": None, "shares": [0.5, 0.4, 0.1]}
    )
    registry = CollectorRegistry()
    registry.register(found)

    text = generate_latest(registry).decode()

    where = 'bin="missing",column="age",model="m",served_by="m-v1"'
    assert f"lab_model_bin_total{{{where}}} 0.0" in text
    assert f"lab_model_bin_expected{{{where}}} 0.1" in text


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"columns": {}}',
        '{"columns": {"a": {"edges": [2, 1], "categories": null, '
        '"shares": [0, 1, 0, 0]}}, "prediction": null}',
        '{"columns": {"a": {"edges": [1], "categories": null, "shares": [1]}}, '
        '"prediction": null}',
        '{"columns": {"a": {"edges": [], "categories": null, "shares": [2, 0]}}, '
        '"prediction": null}',
        json.dumps(
            {"columns": {str(n): numbers() for n in range(51)}, "prediction": 0}
        ),
        json.dumps({"columns": {"a": words(*range(11))}, "prediction": None}),
    ],
    ids=["cut", "list", "short", "falling", "few", "share", "columns", "categories"],
)
def test_a_reference_that_can_t_be_read_counts_nothing(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "reference.json"
    file.write_text(content)

    assert Bins.of(file, "m", "m-v1") is None
    assert "its reference can't be read" in caplog.text


def test_without_a_reference_there_is_nothing_to_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert Bins.of(tmp_path / "reference.json", "m", "m-v1") is None
    assert caplog.text == ""


class Asked:
    """The least that answers as a model does."""

    name, served_by, waits, ready = "m", "m-v1", False, True

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses

    async def __call__(self, call: Any) -> tuple[bytes, dict[str, str]]:
        if self.refuses:
            raise Refusal(Reason.BODY, "no")
        call.asked = call.asked._replace(data=pd.DataFrame({"age": [1.0]}))
        call.predicted, call.rows = np.array([1.0]), 1
        return b"{}", {}


@pytest.mark.parametrize("refuses", [False, True], ids=["answered", "refused"])
def test_a_request_counts_once_it_was_answered_with_predictions(refuses: bool) -> None:
    found = bins(age=numbers(0))
    seen: list[Counts] = []

    async def rest(*_: Any) -> None:
        pass

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        seen.append(counted(found))

    async def serve() -> None:
        server = Predictions(Asked(refuses=refuses), rest, bins=found)  # type: ignore[arg-type]
        path = "/v1/models/m:predict"
        scope = {"type": "http", "method": "POST", "path": path, "headers": []}
        await server(scope, receive, send)
        await asyncio.sleep(0)

    asyncio.run(serve())

    assert seen == [{}, {}]
    assert counted(found) == ({} if refuses else {"age": {"1": 1}})


def test_bounds_of_latencies_are_a_tenth_apart_up_to_ten_seconds() -> None:
    steps = [after / before for before, after in pairwise(BOUNDS)]

    assert (len(BOUNDS), BOUNDS[0], BOUNDS[-1]) == (98, 0.001, 10.0)
    assert all(1.06 < step < 1.101 for step in steps)
    assert [*SECONDS.labels("m", "m-v1", "v1")._upper_bounds][:-1] == [*BOUNDS]


def test_columns_are_cut_into_tenths() -> None:
    found = reference(Sum(), pd.DataFrame({"age": np.arange(1000.0)}))

    age = found["columns"]["age"]
    assert age["edges"] == [n * 100 - 0.5 for n in range(1, 10)]
    assert age["shares"] == [0.1] * 10 + [0.0]
    assert found["rows"] == 1000
    assert found["prediction"] == age


def test_equal_values_stay_together_and_leave_the_other_bins_to_others() -> None:
    values = [0.0] * 900 + [float(n) for n in range(1, 101)]

    age = reference(Sum(), pd.DataFrame({"age": values}))["columns"]["age"]

    assert age["shares"][0] == 0.9
    assert len(age["edges"]) == 9
    assert max(age["shares"][1:]) < 0.02


@pytest.mark.parametrize(
    ("values", "edges", "shares"),
    [
        ([7.0] * 4, [], [1.0, 0.0]),
        ([0, 1, 1, 1], [0.5], [0.25, 0.75, 0.0]),
        ([1.0, None, np.inf, 2.0], [1.5], [0.25, 0.25, 0.5]),
        ([None, None], [], [0.0, 1.0]),
    ],
    ids=["constant", "whole", "missing", "nothing"],
)
def test_few_values_have_few_bins(
    values: list[Any], edges: list[float], shares: list[float]
) -> None:
    column = pd.Series(values, dtype=float)

    age = reference(Sign(), pd.DataFrame({"age": column}))["columns"]["age"]

    assert (age["edges"], age["shares"]) == (edges, shares)


def test_words_have_a_bin_each_up_to_ten_and_the_most_frequent_ones() -> None:
    cities = [f"c{n}" for n in range(12) for _ in range(n + 1)] + [None] * 2

    frame = pd.DataFrame({"city": cities, "n": -1})
    city = reference(Sum(), frame)["columns"]["city"]

    assert city["categories"] == [f"c{n}" for n in range(11, 1, -1)]
    assert city["shares"][-2:] == [3 / 80, 2 / 80]


def test_what_is_neither_numbers_nor_words_is_left_out() -> None:
    frame = pd.DataFrame({"n": [-1, 1], "at": pd.to_datetime(["2026-01-01"] * 2)})
    frame["list"] = [[1], [2]]

    found = reference(Sign(), frame)

    assert [*found["columns"]] == ["n"]
    assert found["prediction"]["categories"] == ["high", "low"]


def test_a_reference_has_fifty_columns_at_most() -> None:
    frame = pd.DataFrame({f"c{n}": [1.0, 2.0] for n in range(60)})

    assert [*reference(Sum(), frame)["columns"]] == [f"c{n}" for n in range(50)]


def test_a_server_that_is_asked_the_training_rows_sees_what_it_expects() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(size=100),
            "floor": rng.integers(0, 4, 100),
            "city": rng.choice(["Oslo", "Rome", "Bern"], 100),
            "new": rng.random(100) < 0.3,
        }
    )
    frame.loc[:9, "age"] = np.nan
    learnt = json.loads(json.dumps(reference(Sum(), frame)))

    found = Bins("m", "m-v1", learnt)
    found.count(frame, Sum().predict(frame))

    expected = counted(found, "lab_model_bin_expected")
    assert {
        column: {bin: rows / 100 for bin, rows in seen.items()}
        for column, seen in counted(found).items()
    } == expected
    assert {*expected} == {"age", "floor", "city", "new", "prediction"}


def test_the_reference_of_a_run_is_put_beside_the_artifact() -> None:
    mlflow = Mlflow()
    mlflow.runs["r4"]["reference.json"] = b'{"rows": 3}'
    transport = httpx.MockTransport(mlflow)
    registry = Registry("http://mlflow", bucket="mlflow", transport=transport)

    for version in ("3", "4"):
        publish(registry, admit(registry, "iris", version, stable=None, owner="a"))

    assert mlflow.store["1/models/m-4/reference.json"] == b'{"rows": 3}'
    assert "1/models/m-3/reference.json" not in mlflow.store
