"""The log of predictions: nothing it does, or can't do, reaches a caller."""

from __future__ import annotations

import gzip
import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_server.slim import without_client

without_client()
from model_server import log as prediction_log  # noqa: E402
from model_server import metrics  # noqa: E402
from model_server.log import PredictionLog, wanted  # noqa: E402

# botocore still asks for the time in a way that Python has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore.*")

SERVER = Path(prediction_log.__file__).parents[1]
Lines = list[dict[str, Any]]


class Bucket:
    """A store in this process, which can be away or slow."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.away = False
        self.tries = 0
        self.gate = threading.Event()
        self.gate.set()

    def put(self, key: str, body: bytes) -> None:
        self.tries += 1
        self.gate.wait(10)
        if self.away:
            raise ConnectionError("no route to a-secret-address")
        self.objects[key] = body

    def lines(self) -> Lines:
        return [
            json.loads(line)
            for body in self.objects.values()
            for line in gzip.decompress(body).splitlines()
        ]


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def kept(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[PredictionLog]:
    """A log that writes often; its release is the test's name."""
    monkeypatch.setattr(prediction_log, "EVERY", 0.01)
    monkeypatch.setattr(prediction_log, "PAUSES", (0.01,))
    name = request.node.name
    kept = PredictionLog(lambda: bucket.put, name, f"{name}-v2")
    kept.start()
    yield kept
    bucket.away = False
    bucket.gate.set()
    kept.close()


def dropped(kept: PredictionLog) -> float:
    [metric] = metrics.LOG_DROPPED.collect()
    return sum(
        sample.value
        for sample in metric.samples
        if sample.name.endswith("_total")
        and sample.labels["served_by"] == kept._served_by
    )


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_each_answer_is_a_line_in_the_hour_s_folder(
    bucket: Bucket, kept: PredictionLog
) -> None:
    kept.add(b"a-1", "v1", 200, 0.25, rows=2, predicted=np.array([0.5, np.nan]))
    kept.add(b"a-2", "v2", 400, 0.5, error="column 'x' is missing")
    kept.close()

    first, second = bucket.lines()
    when = pd.Timestamp(first.pop("time"))
    assert first == {
        "id": "a-1",
        "protocol": "v1",
        "status": 200,
        "seconds": 0.25,
        "rows": 2,
        "predictions": [0.5, None],
        "error": None,
    }
    assert (second["predictions"], second["error"]) == (None, "column 'x' is missing")
    assert abs(when.timestamp() - time.time()) < 60
    assert str(when.tz) == "UTC"
    name = re.escape("test_each_answer_is_a_line_in_the_hour_s_folder")
    folder = rf"logs/{name}/v2/\d{{4}}-\d\d-\d\d/\d\d/"
    assert all(
        re.fullmatch(rf"{folder}[\w.-]+-\d{{13}}-\d+\.jsonl\.gz", key)
        for key in bucket.objects
    )


@pytest.mark.parametrize(
    ("predicted", "written"),
    [
        (pd.DataFrame({"p": [0.5], "q": ["x"]}), [{"p": 0.5, "q": "x"}]),
        (pd.Series([True]), [True]),
        (np.array([[1, 2]]), [[1, 2]]),
        ([{"label": "x"}], [{"label": "x"}]),
        ({"a": np.array([1, 2])}, [{"a": [1, 2]}]),
        (3.5, [3.5]),
    ],
)
def test_whatever_a_model_returns_is_written_as_v1_answers_it(
    bucket: Bucket, kept: PredictionLog, predicted: Any, written: Any
) -> None:
    kept.add(b"a", "v2", 200, 0.1, rows=1, predicted=predicted)
    kept.close()

    assert [line["predictions"] for line in bucket.lines()] == [written]


def test_a_store_that_is_away_is_one_line_and_nothing_is_lost_while_there_is_room(
    bucket: Bucket, kept: PredictionLog, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.away = True
    kept.add(b"0", "v1", 200, 0.1)
    until(lambda: bucket.tries > 3)
    for number in range(1, 10):
        kept.add(str(number).encode(), "v1", 200, 0.1)
    bucket.away = False
    until(lambda: len(bucket.lines()) == 10)

    assert [line["id"] for line in bucket.lines()] == [str(n) for n in range(10)]
    assert dropped(kept) == 0
    [away, back] = [record.getMessage() for record in caplog.records]
    assert "fails (ConnectionError)" in away
    assert "is back" in back
    assert "a-secret-address" not in away


def test_what_there_is_no_room_for_is_dropped_and_counted(
    bucket: Bucket, kept: PredictionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "MOST", 10)
    bucket.away = True
    for number in range(25):
        kept.add(str(number).encode(), "v1", 200, 0.1)
    assert dropped(kept) == 15

    bucket.away = False
    until(lambda: len(bucket.lines()) == 10)
    until(lambda: kept._came == kept._went)
    kept.add(b"later", "v1", 200, 0.1)
    kept.close()
    assert [line["id"] for line in bucket.lines()] == [*map(str, range(10)), "later"]


def test_large_answers_are_bounded_by_their_bytes(
    bucket: Bucket, kept: PredictionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "MOST_BYTES", 3 * 10**6)
    bucket.away = True
    for _ in range(10):
        kept.add(b"a", "v1", 200, 0.1, rows=1, predicted=["x" * 10**6], size=10**6)

    assert dropped(kept) == 7


def test_a_slow_store_makes_nobody_wait(bucket: Bucket, kept: PredictionLog) -> None:
    bucket.gate.clear()
    kept.add(b"first", "v1", 200, 0.1)
    until(lambda: bucket.tries)
    began = time.perf_counter()
    for _ in range(1000):
        kept.add(b"a", "v1", 200, 0.1, rows=1, predicted=np.array([1.0]))
    took = time.perf_counter() - began

    assert took < 0.5


@pytest.mark.parametrize(
    "predicted",
    [np.arange(5000), pd.Series(range(5000)), list(range(5000))],
    ids=["array", "series", "list"],
)
def test_of_many_rows_the_first_are_kept_and_the_line_says_so(
    bucket: Bucket, kept: PredictionLog, predicted: Any
) -> None:
    kept.add(b"a", "v1", 200, 0.1, rows=5000, predicted=predicted, size=25_000)
    kept.add(b"b", "v1", 200, 0.1, rows=1000, predicted=predicted[:1000], size=5_000)
    kept.close()

    many, few = bucket.lines()
    assert (many["rows"], many["truncated"]) == (5000, True)
    assert many["predictions"] == few["predictions"] == list(range(1000))
    assert "truncated" not in few


def test_of_long_predictions_so_many_are_kept_as_fit(
    bucket: Bucket, kept: PredictionLog
) -> None:
    long = ["x" * 2**19] * 4
    kept.add(b"a", "v1", 200, 0.1, rows=4, predicted=long, size=2**21)
    kept.add(b"b", "v1", 200, 0.1, rows=1, predicted={"t": "x" * 2**21}, size=2**21)
    kept.close()

    several, named = bucket.lines()
    assert (len(several["predictions"]), several["truncated"]) == (2, True)
    assert (named["predictions"], named["truncated"]) == (None, True)


def test_an_answer_that_cannot_be_written_takes_no_other_with_it(
    bucket: Bucket, kept: PredictionLog
) -> None:
    kept.add(b"a", "v1", 200, 0.1, predicted=[{("no", "name"): 1}])
    kept.add(b"b", "v1", 200, 0.1, predicted=[1])
    kept.close()

    assert [line["id"] for line in bucket.lines()] == ["b"]
    assert dropped(kept) == 1


def test_the_end_of_the_server_does_not_wait_for_a_store_that_is_away(
    bucket: Bucket, kept: PredictionLog, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.away = True
    for _ in range(7):
        kept.add(b"a", "v1", 200, 0.1)
    began = time.monotonic()
    kept.close()

    assert time.monotonic() - began < 2
    assert dropped(kept) == 7
    assert "7 answers were not logged" in caplog.messages[-1]


def test_a_store_that_never_answers_holds_the_end_up_no_longer_than_allowed(
    bucket: Bucket, kept: PredictionLog
) -> None:
    bucket.gate.clear()
    kept.add(b"a", "v1", 200, 0.1)
    began = time.monotonic()
    kept.close(patience=0.2)

    assert 0.2 <= time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([(b"x-lab-log", b"1"), (b"x-request-id", b"abc")], b"abc"),
        ([(b"x-request-id", b"abc"), (b"x-lab-log", b"1")], b"abc"),
        ([(b"x-lab-log", b"1")], b""),
        ([(b"x-lab-log", b"0"), (b"x-request-id", b"abc")], None),
        ([(b"x-request-id", b"abc")], None),
        ([], None),
    ],
)
def test_only_what_the_route_asks_for_is_kept(
    headers: list[tuple[bytes, bytes]], found: bytes | None
) -> None:
    assert wanted(headers) == found


# The store, through boto3


class Store(ThreadingHTTPServer):
    """Takes what is put."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Putting)
        self.objects: dict[str, bytes] = {}
        self.authorizations: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PREDICTIONS_ENDPOINT": f"http://127.0.0.1:{self.server_port}",
            "PREDICTIONS_REGION": "us-east-1",
            "PREDICTIONS_BUCKET": "kept",
            "PREDICTIONS_KEY_ID": "predictions",
            "PREDICTIONS_SECRET": "not-a-real-password",
        }


class Putting(BaseHTTPRequestHandler):
    server: Store
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        if self.headers.get("expect"):
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.objects[self.path] = body
        self.server.authorizations.append(self.headers["authorization"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[Store]:
    server = Store()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_store_is_reached_as_the_environment_says(store: Store) -> None:
    kept = PredictionLog.of(store.environment, "iris", "iris-v3")
    assert kept
    kept.start()
    kept.add(b"a", "v1", 200, 0.1, rows=1, predicted=np.array([0.5]))
    kept.close(patience=20)

    [(path, body)] = store.objects.items()
    assert path.startswith("/kept/logs/iris/v3/")
    assert json.loads(gzip.decompress(body))["predictions"] == [0.5]
    assert "Credential=predictions/" in store.authorizations[0]


def test_a_server_that_logs_nothing_does_not_pay_for_boto3() -> None:
    script = """
import sys, time
from model_server.slim import without_client
without_client()
from model_server.log import PredictionLog
names = ("ENDPOINT", "REGION", "BUCKET", "KEY_ID", "SECRET")
kept = PredictionLog.of({f"PREDICTIONS_{n}": "http://127.0.0.1:1" for n in names},
                        "iris", "iris-v3")
kept.start()
kept.close()
print([name for name in ("boto3", "botocore") if name in sys.modules])
"""
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SERVER), "HOME": "/tmp"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout.strip() == "[]"


def test_without_a_store_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    assert PredictionLog.of({}, "iris", "iris-v3") is None
    assert caplog.messages == []


def test_half_a_store_is_said(caplog: pytest.LogCaptureFixture) -> None:
    found = PredictionLog.of({"PREDICTIONS_BUCKET": "kept"}, "iris", "iris-v3")

    assert found is None
    assert "PREDICTIONS_ENDPOINT" in caplog.messages[0]
