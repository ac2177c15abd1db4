"""The model server: real MLflow models, asked the way callers ask."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
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
    import mlflow.pyfunc
    import mlflow.sklearn
    import skops.io  # type: ignore[import-untyped]  # noqa: F401
    from kserve import InferInput, InferRequest
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.models.utils import _enforce_schema
    from mlflow.types import ColSpec, Schema
    from model_server import answers
    from model_server.__main__ import main
    from model_server.contract import Contract
    from model_server.digest import CARD, REFERENCE, tree_digest
    from model_server.log import PredictionLog
    from model_server.metrics import REJECTS
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.tree import DecisionTreeClassifier

from tests.test_prediction_log import Store  # noqa: E402

SERVER = Path(__file__).parent.parent / "model_templates" / "server"
ROWS = [[1.0, 2.0, 3.0], [0.5, -1.0, 4.25]]
NAMES = ["age", "dose", "weight"]


def save(folder: Path, model: Any, **arguments: Any) -> Path:

    mlflow.sklearn.save_model(
        model, folder, pip_requirements=["scikit-learn"], **arguments
    )
    return folder


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression on three named columns of numbers."""

    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(50, 3)), columns=NAMES)
    model = LinearRegression().fit(X, X.sum(axis=1) + 0.1)
    return save(
        tmp_path_factory.mktemp("numbers") / "model",
        model,
        signature=infer_signature(X, model.predict(X)),
        input_example=X.head(2),
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with words as classes; one column may be missing."""

    X = pd.DataFrame(
        {
            "city": ["Oslo", "Rome", "Rome", "Oslo"] * 5,
            "rooms": range(20),
            "price": [float(n % 7) for n in range(20)],
            "new": [n % 2 == 0 for n in range(20)],
        }
    )
    words = OneHotEncoder(handle_unknown="ignore")
    parts = make_column_transformer(
        (words, ["city"]), (SimpleImputer(), ["rooms", "price", "new"])
    )
    model = make_pipeline(parts, DecisionTreeClassifier(random_state=0))
    model.fit(X, ["large" if rooms > 9 else "small" for rooms in X["rooms"]])
    schema = Schema(
        [
            ColSpec("string", "city"),
            ColSpec("long", "rooms"),
            ColSpec("double", "price", required=False),
            ColSpec("boolean", "new"),
        ]
    )
    return save(
        tmp_path_factory.mktemp("mixed") / "model",
        model,
        signature=ModelSignature(inputs=schema),
        serialization_format="cloudpickle",
    )


@pytest.fixture(scope="module")
def tensor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on a plain array, so its signature is a tensor."""

    X = np.arange(12.0).reshape(6, 2)
    model = LinearRegression().fit(X, X.sum(axis=1))
    return save(
        tmp_path_factory.mktemp("tensor") / "model",
        model,
        signature=infer_signature(X, model.predict(X)),
    )


class Asked:
    """A model in this process, behind its protocols."""

    def __init__(self, folder: Path, log: PredictionLog | None = None) -> None:
        from model_server.model import LabModel, load
        from model_server.server import Predictions

        self.model = LabModel("m", "m-v1", load(str(folder)))
        self._predictions = Predictions(self.model, self._nobody, log)

    async def _nobody(self, *_: Any) -> None:
        raise AssertionError("only predictions are asked for")

    def __call__(
        self,
        body: Any,
        protocol: str = "v1",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> tuple[int, dict[str, Any]]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answering = self._predictions.answer(protocol, raw, [*headers])
        status, answer = asyncio.run(answering)
        return status, json.loads(answer)


@pytest.fixture(scope="module")
def ask(numbers: Path) -> Asked:
    return Asked(numbers)


@pytest.fixture(scope="module")
def ask_mixed(mixed: Path) -> Asked:
    return Asked(mixed)


def own(asked: Asked, rows: list[list[float]] = ROWS) -> list[float]:
    """What the model says in this process, through MLflow's own front door."""
    frame = pd.DataFrame(rows, columns=NAMES)
    answers: list[float] = asked.model._pyfunc.predict(frame).tolist()
    return answers


def v2(name: str = "input", **changes: Any) -> dict[str, Any]:
    flat = [value for row in ROWS for value in row]
    tensor = {"name": name, "shape": [2, 3], "datatype": "FP64", "data": flat}
    return {"inputs": [{**tensor, **changes}]}


# What is right


@pytest.mark.parametrize(
    "body",
    [
        {"instances": ROWS},
        {"instances": [dict(zip(NAMES, row, strict=True)) for row in ROWS]},
        {"instances": [dict(zip(NAMES[::-1], row[::-1], strict=True)) for row in ROWS]},
        {"dataframe_split": {"columns": NAMES, "data": ROWS}},
        {
            "dataframe_split": {
                "columns": NAMES[::-1],
                "data": [row[::-1] for row in ROWS],
            }
        },
    ],
    ids=["lists", "objects", "objects in another order", "split", "split, reordered"],
)
def test_every_shape_of_v1_gets_the_models_own_answer(ask: Asked, body: Any) -> None:
    assert ask(body) == (200, {"predictions": own(ask), "served_by": "m-v1"})


@pytest.mark.parametrize(
    "body",
    [
        v2(),
        v2(data=ROWS),
        {
            "inputs": [
                {
                    "name": name,
                    "shape": [2],
                    "datatype": "FP64",
                    "data": [row[at] for row in ROWS],
                }
                for at, name in enumerate(NAMES)
            ]
        },
    ],
    ids=["one tensor", "nested data", "a tensor per column"],
)
def test_every_shape_of_v2_gets_the_models_own_answer(ask: Asked, body: Any) -> None:
    status, answer = ask({**body, "id": "abc"}, "v2")

    assert status == 200
    assert answer == {
        "model_name": "m",
        "id": "abc",
        "parameters": {"served_by": "m-v1"},
        "outputs": [
            {"name": "predict", "shape": [2], "datatype": "FP64", "data": own(ask)}
        ],
    }


def test_a_v2_request_without_an_id_gets_one(ask: Asked) -> None:
    _, first = ask(v2(), "v2")
    _, second = ask(v2(), "v2")

    assert first["id"]
    assert first["id"] != second["id"]


def test_whole_numbers_do_for_a_column_of_numbers(ask: Asked) -> None:
    status, answer = ask({"instances": [[1, 2, 3], [0.5, -1, 4.25]]})

    assert (status, answer["predictions"]) == (200, own(ask))


def test_binary_tensors_are_read_as_the_protocol_says(ask: Asked) -> None:

    tensor = InferInput("input", [2, 3], "FP64")
    tensor.set_data_from_numpy(np.array(ROWS), binary_data=True)
    raw, json_bytes = InferRequest("m", [tensor]).to_rest()
    header = [(b"inference-header-content-length", str(json_bytes).encode())]

    status, answer = asyncio.run(ask._predictions.answer("v2", raw, header))

    assert status == 200
    assert json.loads(answer)["outputs"][0]["data"] == own(ask)


def test_classes_that_are_words_come_back_as_words(ask_mixed: Asked) -> None:
    rows = [["Oslo", 3, 2.0, True], ["Rome", 15, None, False]]

    status, answer = ask_mixed({"instances": rows})

    assert (status, answer["predictions"]) == (200, ["small", "large"])


def test_an_optional_column_may_be_left_out_or_null(ask_mixed: Asked) -> None:
    full = {"city": "Oslo", "rooms": 3, "price": 2.0, "new": True}
    rows = [full, {**full, "price": None}]
    sparse = {name: value for name, value in full.items() if name != "price"}

    assert ask_mixed({"instances": rows})[0] == 200
    assert ask_mixed({"instances": [full, sparse]})[0] == 200


def test_words_travel_in_v2_too(ask_mixed: Asked) -> None:
    columns = {
        "city": ("BYTES", ["Oslo", "Rome"]),
        "rooms": ("INT64", [3, 15]),
        "price": ("FP64", [2.0, 1.0]),
        "new": ("BOOL", [True, False]),
    }
    inputs = [
        {"name": name, "shape": [2, 1], "datatype": datatype, "data": data}
        for name, (datatype, data) in columns.items()
    ]

    status, answer = ask_mixed({"inputs": inputs}, "v2")

    assert status == 200
    [output] = answer["outputs"]
    assert (output["datatype"], output["data"]) == ("BYTES", ["small", "large"])


def test_the_short_way_answers_exactly_what_mlflow_answers(
    ask: Asked, ask_mixed: Asked
) -> None:

    rng = np.random.default_rng(1)
    many = rng.normal(size=(200, 3)).tolist()
    several = [
        ["Oslo" if n % 3 else "Bern", int(n), None if n % 4 else n / 7, bool(n % 2)]
        for n in range(40)
    ]
    for asked, rows in ((ask, many), (ask_mixed, several)):
        assert isinstance(asked.model.takes, Contract)
        assert asked.model._direct is not None
        frame = asked.model.takes.of_rows(rows)
        checked = asked.model._pyfunc.predict(frame.copy())

        assert asked.model.run(frame).tolist() == checked.tolist()


def test_the_contracts_frame_is_what_mlflows_own_check_would_make(
    ask: Asked, ask_mixed: Asked
) -> None:

    rows: list[tuple[Asked, list[Any]]] = [
        (ask, ROWS),
        (ask_mixed, [["Oslo", 3, None, True]]),
    ]
    for asked, given in rows:
        frame = asked.model.takes.of_rows(given)
        schema = asked.model._pyfunc.metadata.get_input_schema()

        pd.testing.assert_frame_equal(frame, _enforce_schema(frame.copy(), schema))


def test_a_model_with_more_than_columns_goes_the_long_way(tensor: Path) -> None:
    asked = Asked(tensor)

    assert asked.model._direct is None
    status, answer = asked({"instances": [[1, 2], [3, 4.5]]})
    assert status == 200
    assert answer["predictions"] == pytest.approx([3.0, 7.5])
    status, answer = asked(v2(shape=[1, 2], data=[1.0, 2.0]), "v2")
    assert answer["outputs"][0]["data"] == pytest.approx([3.0])


@pytest.mark.parametrize(
    "rows", [[[1.0, 2.0], [1.0]], [["a", "b"]], [[1.0, 2.0, 3.0]], [], {"a": 1}, 3]
)
def test_a_tensor_model_refuses_what_is_no_such_tensor(tensor: Path, rows: Any) -> None:
    status, answer = Asked(tensor)({"instances": rows})

    assert status == 400
    assert set(answer) == {"error"}


def test_predictions_without_a_number_become_null() -> None:

    body = answers.dumps(answers.v1(np.array([1.5, math.nan, math.inf]), "x"))

    assert json.loads(body)["predictions"] == [1.5, None, None]


@pytest.mark.parametrize(
    ("result", "plain"),
    [
        (np.array([1, 2], np.int64), [1, 2]),
        (np.array([0.1], np.float32), [float(np.float32(0.1))]),
        (np.array(["a", None], object), ["a", None]),
        (pd.Series([True, False]), [True, False]),
        (pd.DataFrame({"p": [0.5], "q": ["x"]}), [{"p": 0.5, "q": "x"}]),
        ([np.float64(2.0), np.str_("y")], [2.0, "y"]),
        (
            [{"text": "hello", "score": np.float32(0.5)}],
            [{"text": "hello", "score": 0.5}],
        ),
    ],
    ids=["ints", "floats", "objects", "series", "frame", "list", "list of objects"],
)
def test_whatever_a_model_returns_becomes_json(result: Any, plain: Any) -> None:

    assert json.loads(answers.dumps(answers.v1(result, "x")))["predictions"] == plain
    assert json.loads(answers.dumps(answers.v2(result, "x", model="m", id_="1")))


def test_what_is_logged_is_what_was_answered(numbers: Path) -> None:
    objects: list[bytes] = []
    kept = PredictionLog(lambda: lambda _, body: objects.append(body), "m", "m-v1")
    asked = Asked(numbers, kept)
    wanted = [(b"x-lab-log", b"1"), (b"x-request-id", b"one")]
    kept.start()
    _, first = asked({"instances": ROWS}, "v1", wanted)
    _, second = asked(v2(), "v2", wanted)
    _, refused = asked({"instances": [[1.0]]}, "v1", wanted)
    asked({"instances": ROWS})
    kept.close()

    lines = gzip.decompress(b"".join(objects)).splitlines()
    found = [json.loads(line) for line in lines]
    keys = ("protocol", "status", "rows", "predictions", "error")
    assert [[line[key] for key in keys] for line in found] == [
        ["v1", 200, 2, first["predictions"], None],
        ["v2", 200, 2, second["outputs"][0]["data"], None],
        ["v1", 400, 0, None, refused["error"]],
    ]
    assert all(0 < line["seconds"] < 10 for line in found)


# What is refused

Row = dict[str, Any]
GOOD: Row = {"age": 1.0, "dose": 2.0, "weight": 3.0}
REFUSED: dict[str, tuple[Any, str, list[str]]] = {
    "not json": (b"{", "not_json", ["not JSON"]),
    "nan": (b'{"instances": [[NaN, 1, 2]]}', "not_json", ["not JSON"]),
    "no object": ([1], "body", ["must be a JSON object"]),
    "no instances": ({}, "body", ["instances", "dataframe_split"]),
    "a misspelt key": ({"instance": ROWS}, "body", ["'instance'"]),
    "instances no list": ({"instances": GOOD}, "body", ["must be a list"]),
    "empty": ({"instances": []}, "empty", ["empty"]),
    "a row no list": ({"instances": [3.0]}, "body", ["instances[0]", "a number"]),
    "a missing column": (
        {"instances": [GOOD, {"age": 1.0, "weight": 3.0}]},
        "missing_column",
        ["instances[1]", "'dose'", "missing"],
    ),
    "an unknown column": (
        {"instances": [{**GOOD, "hight": 2}]},
        "unknown_column",
        ["'hight'", "'weight'"],
    ),
    "a string": (
        {"instances": [{**GOOD, "dose": "much"}]},
        "wrong_type",
        ["instances[0]", "'dose'", "takes a number", "a string"],
    ),
    "digits in a string": (
        {"instances": [[1.0, "2.0", 3.0]]},
        "wrong_type",
        ["'dose'", "a string"],
    ),
    "a boolean": ({"instances": [[1.0, True, 3.0]]}, "wrong_type", ["'dose'"]),
    "a list in a cell": ({"instances": [[1.0, [2.0], 3.0]]}, "wrong_type", ["'dose'"]),
    "null": ({"instances": [[1.0, 2.0, None]]}, "null", ["'weight'", "null"]),
    "too few values": ({"instances": [[1.0, 2.0]]}, "length", ["2 values", "'weight'"]),
    "too many values": ({"instances": [[1.0] * 4]}, "length", ["4 values", "takes 3"]),
    "ragged rows": (
        {"instances": [ROWS[0], [1.0]]},
        "length",
        ["instances[1]", "1 value "],
    ),
    "params": ({"instances": ROWS, "params": {"k": 1}}, "body", ["takes no params"]),
    "split without data": ({"dataframe_split": {"columns": []}}, "body", ["'data'"]),
    "split, ragged": (
        {"dataframe_split": {"columns": NAMES[::-1], "data": [[1.0]]}},
        "length",
        ["data[0]"],
    ),
}
REFUSED_V2: dict[str, tuple[Any, str, list[str]]] = {
    "no inputs": ({}, "body", ["inputs"]),
    "no data": ({"inputs": [{"name": "x"}]}, "body", ["'shape'", "'data'"]),
    "an unknown datatype": (v2(datatype="DOUBLE"), "body", ["datatype", "FP64"]),
    "a shape of words": (v2(shape=["2", 3]), "body", ["shape"]),
    "a shape that is not full": (v2(shape=[3, 3]), "length", ["6 values"]),
    "ragged data": (v2(data=[[1.0, 2.0, 3.0], [1.0]]), "length", ["lengths"]),
    "too few columns": (v2(shape=[3, 2]), "length", ["2 values", "takes 3"]),
    "one dimension": (v2(shape=[6]), "length", ["[rows, 3]"]),
    "words": (v2(data=["a"] * 6), "wrong_type", ["FP64", "a string"]),
    "null": (v2(data=[None] * 6), "null", ["'age'"]),
    "too big": (v2(datatype="INT8", data=[1000] * 6), "wrong_type", ["INT8"]),
    "no rows": (v2(shape=[0, 3], data=[]), "empty", ["empty"]),
    "a missing column": (v2("age", shape=[6]), "missing_column", ["'dose'"]),
    "an id that is no string": ({**v2(), "id": 7}, "body", ["id"]),
}


def rejects() -> dict[str, float]:

    [metric] = REJECTS.collect()
    return {
        sample.labels["reason"]: sample.value
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels["served_by"] == "m-v1"
    }


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_v1_input_is_refused_in_words(ask: Asked, case: str) -> None:
    body, reason, words = REFUSED[case]
    before = rejects()

    status, answer = ask(body)

    assert status == 400
    assert set(answer) == {"error"}
    assert all(word in answer["error"] for word in words), answer["error"]
    assert "Traceback" not in answer["error"]
    assert rejects()[reason] == before[reason] + 1


@pytest.mark.parametrize("case", REFUSED_V2)
def test_wrong_v2_input_is_refused_in_words(ask: Asked, case: str) -> None:
    body, reason, words = REFUSED_V2[case]
    before = rejects()

    status, answer = ask(body, "v2")

    assert status == 400
    assert all(word in answer["error"] for word in words), answer["error"]
    assert rejects()[reason] == before[reason] + 1


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("city", 3, "takes a string"),
        ("rooms", 2.5, "a fraction"),
        ("rooms", "2", "takes a whole number"),
        ("rooms", 2**63, "int64"),
        ("rooms", None, "required"),
        ("price", "2.0", "takes a number"),
        ("new", 1, "takes true or false"),
    ],
)
def test_each_type_says_what_it_takes(
    ask_mixed: Asked, column: str, value: Any, said: str
) -> None:
    row = {"city": "Oslo", "rooms": 3, "price": 2.0, "new": True, column: value}

    status, answer = ask_mixed({"instances": [row]})

    assert status == 400
    assert f"column {column!r}" in answer["error"]
    assert said in answer["error"]


def test_all_problems_of_a_row_are_told_at_once(ask_mixed: Asked) -> None:
    row = {"city": 1, "rooms": "3", "price": 2.0, "new": "yes"}

    _, answer = ask_mixed({"instances": [row]})

    assert all(f"'{name}'" in answer["error"] for name in ("city", "rooms", "new"))


def test_what_the_caller_sent_is_not_repeated(ask: Asked) -> None:
    _, answer = ask({"instances": [{**GOOD, "dose": "a-secret"}]})

    assert "a-secret" not in answer["error"]


def test_a_model_that_fails_is_a_500_without_its_inside(ask: Asked) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("at line 12 of the inside")

    short = ask.model._direct
    ask.model._direct = broken
    try:
        status, answer = ask({"instances": ROWS})
    finally:
        ask.model._direct = short

    assert status == 500
    assert "RuntimeError" in answer["error"]
    assert "line 12" not in answer["error"]


# The process


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(SERVER), **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "model_server", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


CARD_PAGE = "<h1>A model of øre</h1>"
LEARNT = {
    "rows": 4,
    "columns": {"dose": {"edges": [0.0], "categories": None, "shares": [0.5, 0.5, 0]}},
    "prediction": None,
}


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    server = Store()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def process(
    numbers: Path, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server as it runs in a pod, once it is ready."""

    folder = tmp_path_factory.mktemp("pod") / "model"
    shutil.copytree(numbers, folder)
    (folder / CARD).write_text(CARD_PAGE)
    (folder / REFERENCE).write_text(json.dumps(LEARNT))
    port = free_port()
    server = start(
        "--model_name=trial",
        "--served_by=trial-v7",
        f"--model_dir={folder}",
        f"--digest={tree_digest(numbers)}",
        f"--http_port={port}",
        **store.environment,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait(server, lambda: httpx.get(f"{url}/v1/models/trial").status_code == 200)
        yield server, url
    finally:
        server.kill()
        server.wait()
        assert server.stdout
        server.stdout.close()


def wait(server: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert server.poll() is None, server.stdout and server.stdout.read()
        try:
            if ready():
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not become ready")


def test_the_running_server_speaks_both_protocols(
    process: tuple[subprocess.Popen[str], str], ask: Asked
) -> None:
    _, url = process

    first = httpx.post(f"{url}/v1/models/trial:predict", json={"instances": ROWS})
    second = httpx.post(f"{url}/v2/models/trial/infer", json=v2())
    refused = httpx.post(f"{url}/v1/models/trial:predict", content=b"{")

    assert first.json() == {"predictions": own(ask), "served_by": "trial-v7"}
    assert second.json()["outputs"][0]["data"] == own(ask)
    assert refused.status_code == 400
    assert httpx.get(f"{url}/v2/models/trial/ready").json()["ready"] is True
    inputs = httpx.get(f"{url}/v2/models/trial").json()["inputs"]
    assert [column["name"] for column in inputs] == NAMES


def test_readiness_says_which_digest_is_served_and_by_whom(
    process: tuple[subprocess.Popen[str], str], numbers: Path
) -> None:
    _, url = process

    assert httpx.get(f"{url}/v1/models/trial").json() == {
        "name": "trial",
        "ready": True,
        "served_by": "trial-v7",
        "digest": tree_digest(numbers),
    }


def test_the_models_card_is_a_page_that_can_run_nothing(
    process: tuple[subprocess.Popen[str], str],
) -> None:
    _, url = process

    page = httpx.get(f"{url}/v1/models/trial/card")

    assert (page.status_code, page.text) == (200, CARD_PAGE)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    )
    assert page.headers["x-content-type-options"] == "nosniff"


def test_the_running_server_tells_how_far_its_inputs_are_from_what_was_learnt(
    process: tuple[subprocess.Popen[str], str],
) -> None:
    _, url = process
    where = '{bin="0",column="dose",model="trial",served_by="trial-v7"}'

    def metric(name: str) -> float:
        lines = httpx.get(f"{url}/metrics").text.splitlines()
        [value] = [line.split()[-1] for line in lines if line.startswith(name + where)]
        return float(value)

    before = metric("lab_model_bin_total")
    httpx.post(f"{url}/v1/models/trial:predict", json={"instances": ROWS})

    assert metric("lab_model_bin_total") - before == 1
    assert metric("lab_model_bin_expected") == 0.5


def test_another_models_name_is_not_found(
    process: tuple[subprocess.Popen[str], str],
) -> None:
    _, url = process

    answer = httpx.post(f"{url}/v1/models/other:predict", json={"instances": ROWS})

    assert answer.status_code == 404
    assert "other" in answer.json()["error"]


def test_nobody_can_unload_the_model_from_outside(
    process: tuple[subprocess.Popen[str], str],
) -> None:
    _, url = process

    answer = httpx.post(f"{url}/v2/repository/models/trial/unload")

    assert answer.status_code == 404
    assert httpx.get(f"{url}/v1/models/trial").status_code == 200


def test_a_request_that_would_take_the_servers_memory_is_refused(
    process: tuple[subprocess.Popen[str], str],
) -> None:
    _, url = process
    from model_server.server import MOST_BYTES

    answer = httpx.post(f"{url}/v1/models/trial:predict", content=b" " * MOST_BYTES)
    assert "larger than" not in answer.json()["error"]

    answer = httpx.post(
        f"{url}/v1/models/trial:predict", content=b" " * (MOST_BYTES + 1)
    )
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the request is larger than 64 MiB")


def test_the_metrics_tell_predictions_rejects_and_time(
    process: tuple[subprocess.Popen[str], str],
) -> None:
    _, url = process
    httpx.post(f"{url}/v1/models/trial:predict", json={"instances": ROWS})
    httpx.post(f"{url}/v1/models/trial:predict", json={"instances": []})

    text = httpx.get(f"{url}/metrics").text

    ours = 'model="trial",served_by="trial-v7"'
    found = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if not line.startswith("#")
    }
    labels = ours.replace("model=", "{model=")
    assert found[f"lab_model_predictions_total{labels}}}"] >= 2
    reason = ours.replace("model=", "model=").replace(",", ',reason="empty",', 1)
    assert found[f"lab_model_rejects_total{{{reason}}}"] >= 1
    seconds = ours.replace(",", ',protocol="v1",', 1)
    assert found[f"lab_model_request_seconds_count{{{seconds}}}"] >= 2
    assert found['request_predict_seconds_count{model_name="trial"}'] >= 1
    age = time.time() - found[f"lab_model_logged_timestamp_seconds{labels}}}"]
    assert 0 < age < 3600


def test_sigterm_ends_the_server_once_the_predictions_are_logged(
    process: tuple[subprocess.Popen[str], str], store: Store
) -> None:
    server, url = process
    httpx.post(f"{url}/v1/models/trial:predict", json={"instances": ROWS})
    httpx.post(f"{url}/v1/models/trial:predict", content=b"{")
    kept = {"x-lab-log": "1", "x-request-id": "the-last-one"}
    last = httpx.post(
        f"{url}/v1/models/trial:predict", json={"instances": ROWS}, headers=kept
    )

    server.send_signal(signal.SIGTERM)
    server.wait(timeout=20)

    assert server.returncode == 0
    assert server.stdout
    lines = server.stdout.read().splitlines()
    assert len(lines) == 1, lines
    assert "trial-v7: ready" in lines[0]
    [(path, body)] = store.objects.items()
    assert path.startswith("/kept/logs/trial/v7/")
    [line] = map(json.loads, gzip.decompress(body).splitlines())
    assert (line["id"], line["status"]) == ("the-last-one", 200)
    assert line["predictions"] == last.json()["predictions"]
    assert last.headers["x-request-id"] == "the-last-one"


def last_line_of(*arguments: str) -> tuple[int, str]:
    server = start(*arguments)
    output, _ = server.communicate(timeout=120)
    return server.returncode, output.strip().splitlines()[-1]


def test_an_artifact_with_another_digest_is_never_served(numbers: Path) -> None:
    code, line = last_line_of(
        "--model_name=trial",
        "--served_by=trial-v7",
        f"--model_dir={numbers}",
        "--digest=sha256:0000",
    )

    assert code == 1
    assert "not the one that was released" in line
    assert "sha256:0000" in line


def test_a_folder_that_is_no_model_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    command = [
        "model_server",
        "--model_name=trial",
        "--served_by=trial-v7",
        f"--model_dir={tmp_path}",
        f"--digest={tree_digest(tmp_path)}",
    ]
    monkeypatch.setattr(sys, "argv", command)

    try:
        code = main()
    finally:
        gc.enable()

    assert code == 1
    assert "can't be loaded" in caplog.messages[-1]


def test_the_digest_is_what_sha256sum_prints(tmp_path: Path) -> None:

    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.txt").write_text("one")
    (tmp_path / "a b.txt").write_text("two")
    (tmp_path / "ä").write_text("")
    command = (
        "find . -type f | sed 's,^./,,' | LC_ALL=C sort | tr '\\n' '\\0' "
        "| xargs -0 sha256sum | sha256sum"
    )
    printed = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout

    assert tree_digest(tmp_path) == f"sha256:{printed.split()[0]}"
