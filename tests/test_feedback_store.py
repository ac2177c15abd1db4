"""What the service reads and writes: the model servers' own objects, over S3."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import numpy as np
import pytest
from model_server.slim import without_client

from labfactory.guard.feedback import follow
from labfactory.guard.feedback.__main__ import NEEDED, main
from labfactory.guard.feedback.posted import Label
from labfactory.guard.feedback.store import Store, StoreError, packed, unpacked
from tests.harness import ROOT
from tests.test_feedback import TOKEN, Lab, one

without_client()
from model_server.log import PredictionLog  # noqa: E402

ITEM = (
    "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>e</ETag>"
    "<Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
PAGE = (
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<Name>predictions</Name><IsTruncated>false</IsTruncated>{}</ListBucketResult>"
)


class S3(ThreadingHTTPServer):
    """As much of S3 as three calls need: objects by key, and when they came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.objects: dict[str, tuple[str, bytes]] = {}
        self.status = 200

    @property
    def environment(self) -> dict[str, str]:
        found = {
            "ENDPOINT": f"http://127.0.0.1:{self.server_port}",
            "REGION": "us-east-1",
            "BUCKET": "predictions",
            "KEY_ID": "key",
            "SECRET": "not-a-secret",
        }
        return {f"PREDICTIONS_{name}": value for name, value in found.items()}

    def store(self) -> Store:
        return Store(self.environment)


class _Answers(BaseHTTPRequestHandler):
    server: S3

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        key, asked = (
            unquote(url.path).removeprefix("/predictions/"),
            parse_qs(url.query),
        )
        if self.server.status != 200:
            self._answer(b"", self.server.status)
        elif "list-type" in asked:
            [prefix], [after] = asked["prefix"], asked["start-after"]
            self._answer(
                PAGE.format(
                    "".join(
                        ITEM.format(found, came)
                        for found, (came, _) in sorted(self.server.objects.items())
                        if found.startswith(prefix) and found > after
                    )
                ).encode()
            )
        else:
            self._answer(self.server.objects[key][1])

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.status == 200:
            key = unquote(urlsplit(self.path).path).removeprefix("/predictions/")
            self.server.objects[key] = ("2026-11-21T18:30:00.000Z", body)
        self._answer(b"", self.server.status)

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("etag", '"e"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def s3() -> Iterator[S3]:
    server = S3()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_objects_come_in_the_order_in_which_they_were_written(s3: S3) -> None:
    s3.objects = {
        "logs/iris/v1/2026-11-21/17/z": ("2026-11-21T17:59:00.000Z", b""),
        "logs/iris/v1/2026-11-21/18/pod-10": ("2026-11-21T18:10:00.000Z", b""),
        "logs/iris/v1/2026-11-21/18/pod-9": ("2026-11-21T18:09:00.000Z", b""),
        "logs/iris/v2/2026-11-21/18/pod-1": ("2026-11-21T18:09:00.000Z", b""),
    }

    prefix = "logs/iris/v1/"
    found = s3.store().keys(prefix, f"{prefix}2026-11-21/18/")

    assert [key.rpartition("/")[2] for key in found] == ["pod-9", "pod-10"]


def test_what_is_put_is_what_is_got(s3: S3) -> None:
    store = s3.store()

    store.put("labels/iris/a", b"\0content")

    assert store.get("labels/iris/a") == b"\0content"


def test_a_store_that_fails_is_one_error_whatever_fails(s3: S3) -> None:
    store = s3.store()
    s3.status = 500

    for call in (
        lambda: store.keys("logs/", "logs/"),
        lambda: store.get("logs/a"),
        lambda: store.put("labels/a", b""),
    ):
        with pytest.raises(StoreError):
            call()


def test_labels_are_read_back_as_they_were_written() -> None:
    labels = [Label(0, "a", 1, 1.5), Label(1, "ü", 0, "x\ny"), Label(2, "b", 0, False)]

    found = unpacked(packed(labels, 12.5))

    assert [label[1:] for label, _ in found] == [label[1:] for label in labels]
    assert {came for _, came in found} == {12.5}


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b'[]\n{"id": "a"}\nnothing'), gzip.compress(b"x")[:9]],
    ids=["plain", "others", "cut"],
)
def test_a_broken_object_holds_no_labels(body: bytes) -> None:
    assert unpacked(body) == []


def test_what_a_model_server_logs_meets_its_labels() -> None:
    lab = Lab()
    log = PredictionLog(lambda: lab.bucket.put, "iris", "iris-v1")
    lab.time = datetime.now(UTC).timestamp()
    log.start()
    log.add(b"a", "v1", 200, 0.1, rows=2, predicted=np.array([1.5, np.nan]))
    log.close()
    lab.follower.follow()

    found = lab.post(one("a", 1.5), one("a", 0, row=1))

    assert (found["taken"], found["unknown"]) == (2, 0)
    assert lab.counters() == {
        'feedback_labelled_total{release="iris",variant="v1"}': 2,
        'feedback_wrong_total{release="iris",variant="v1"}': 1,
    }


def test_each_object_is_read_once() -> None:
    lab = Lab()
    lab.log("v1", ("a", [1]))

    for _ in range(2 * follow.THOROUGH + 1):
        lab.follower.follow()

    assert len(lab.bucket.reads) == 1


def test_what_comes_late_after_its_hour_is_found() -> None:
    lab = Lab()
    lab.time += 29 * 60
    lab.log("v1", ("soon", [1]))
    lab.time += 10 * 60
    lab.follower.follow()
    first = lab.post(one("soon", 1))
    lab.time -= 10 * 60
    lab.log("v1", ("late", [1]))
    lab.time += 40 * 60
    for _ in range(follow.THOROUGH):
        lab.follower.follow()

    assert first["unknown"] == 0
    assert lab.post(one("late", 1))["unknown"] == 0


def test_a_broken_log_entry_hides_no_other() -> None:
    lab = Lab()
    lab.log("v1", {"no": "record"}, ("a", [1]))
    hour = "2026-11-21/18"
    lab.bucket.objects[f"logs/iris/v1/{hour}/a-broken.jsonl.gz"] = b"no gzip"
    lab.follower.follow()

    assert lab.post(one("a", 1))["unknown"] == 0


def test_a_day_old_label_is_known_after_a_restart() -> None:
    lab = Lab()
    lab.log("v1", ("a", [1]))
    lab.follower.follow()
    lab.post(one("a", 1))

    lab.time += 23 * 3600
    lab.start()

    assert lab.post(one("a", 2))["refused"][0]["reason"].startswith("the row has")


def test_labels_lie_by_release_and_hour_in_the_store() -> None:
    lab = Lab()
    lab.log("v1", ("a", [1]))
    lab.follower.follow()

    lab.post(one("a", 1))
    lab.post(one("a", 1, row=0), one("b", 2))

    keys = [key for key in lab.bucket.objects if key.startswith("labels/")]
    assert [key.rpartition("/")[0] for key in keys] == ["labels/iris/2026-11-21/18"] * 2
    [line] = gzip.decompress(lab.bucket.objects[keys[1]]).splitlines()
    assert json.loads(line)["id"] == "b"


PROGRAM = """
import sys
from labfactory.guard.feedback import __main__ as program
from tests.test_feedback import settings_with
from model_templates.routes import SETTINGS
import json

class Routes:
    def live(self):
        text = json.dumps(settings_with())
        odd = {"metadata": {"annotations": {SETTINGS: "{}"}}}
        return {
            "iris": {"metadata": {"annotations": {SETTINGS: text}}},
            "odd": odd,
            "older": {"metadata": {}},
        }

program.connect_in_pod = lambda namespace: Routes()
program.PORT = int(sys.argv[1])
sys.exit(program.main())
"""


def test_the_program_takes_labels_until_it_is_told_to_stop(s3: S3) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"FEEDBACK_TOKEN": "not-a-secret", "NAMESPACE": "demo", **s3.environment}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **told},
        stderr=subprocess.PIPE,
        text=True,
    )

    try:
        answer = posted(f"http://127.0.0.1:{port}/v1/feedback/iris", process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()

    assert answer.json()["taken"] == 1
    assert any(key.startswith("labels/iris/") for key in s3.objects)
    assert process.returncode == 0, said
    assert "odd: its settings are of another version of the lab" in said


def posted(url: str, process: subprocess.Popen[str]) -> httpx.Response:
    """What the program answers once it is ready."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = httpx.post(url, json={"labels": [one("a", 1)]}, headers=TOKEN)
        except httpx.TransportError:
            answer = httpx.Response(503)
        if answer.status_code != 503:
            return answer
        time.sleep(0.1)
    raise AssertionError("the program did not become ready")


def test_the_program_says_all_that_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NEEDED:
        monkeypatch.delenv(name, raising=False)

    code = main()

    assert code == 2
    assert capsys.readouterr().err == f"feedback: set {', '.join(NEEDED)}\n"
