"""The batch worker against an S3 over HTTP, killed in the middle of its work."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch.__main__ import main
from model_server.digest import tree_digest
from model_server.slim import without_client

without_client()
with warnings.catch_warnings():
    # What MLflow and the KServe SDK say when they are imported is not about us.
    warnings.simplefilter("ignore")
    import batch.run  # noqa: F401

SERVER = Path(__file__).parent.parent / "model_templates" / "server"
MODEL = """
import time
import mlflow

class Slow(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        time.sleep(0.1)
        return (model_input["a"] * 2).to_numpy()

mlflow.models.set_model(Slow())
"""
ROWS, PART = 1000, 50


class Store(ThreadingHTTPServer):
    """Buckets in memory; what is put is there as a whole or not at all."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.puts: list[str] = []

    def parts(self) -> dict[str, bytes]:
        return {k: v for k, v in self.objects.items() if "/part-" in k}


class Handler(BaseHTTPRequestHandler):
    server: Store
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        key = unquote(parts.path).strip("/")
        content = self.server.objects.get(key)
        if "/" not in key and parts.query:
            self.listed(key, parse_qs(parts.query))
        elif content is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            status, extra = 200, {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}
            if wanted := self.headers.get("Range"):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                end = min(int(last or len(content)), len(content) - 1)
                span = f"bytes {first}-{end}/{len(content)}"
                status, extra = 206, {**extra, "Content-Range": span}
                content = content[int(first) : end + 1]
            self.answer(status, content, extra)

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        key = unquote(urlsplit(self.path).path).strip("/")
        body = b""
        if "Content-Length" in self.headers:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        else:
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        assert "aws-chunked" not in self.headers.get("Content-Encoding", "")
        self.server.objects[key] = body
        self.server.puts.append(key)
        self.answer(200, b"", {"ETag": '"e"'})

    def listed(self, bucket: str, query: dict[str, list[str]]) -> None:
        prefix = f"{bucket}/{query.get('prefix', [''])[0]}"
        below: dict[str, bytes] = {}
        folders = set()
        for key, content in self.server.objects.items():
            if key.startswith(prefix):
                rest = key.removeprefix(prefix)
                if "delimiter" in query and "/" in rest:
                    folder = f"{prefix}{rest.partition('/')[0]}/"
                    folders.add(folder.partition("/")[2])
                else:
                    below[key.partition("/")[2]] = content
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, content in sorted(below.items())
        )
        found += "".join(
            f"<CommonPrefixes><Prefix>{f}</Prefix></CommonPrefixes>" for f in folders
        )
        self.answer(200, f"<ListBucketResult>{found}</ListBucketResult>".encode())

    def answer(
        self, status: int, body: bytes, extra: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", formatdate(usegmt=True))
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    code = root / "code.py"
    code.write_text(MODEL)
    script = (
        "import mlflow.pyfunc; from mlflow.models import ModelSignature;"
        "from mlflow.types import ColSpec, Schema;"
        f"mlflow.pyfunc.save_model({str(root / 'm')!r}, python_model={str(code)!r},"
        "signature=ModelSignature(inputs=Schema([ColSpec('double', 'a')])),"
        "pip_requirements=['mlflow'])"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return root / "m"


def arguments(source: str, model: object, digest: str) -> list[str]:
    words = f"s3://data/{source} s3://predictions/out --release r --variant v1"
    words += f" --version 1 --digest {digest} --model_dir {model} --part_rows {PART}"
    return words.split()


def variables(store: Store) -> dict[str, str]:
    return {
        "PREDICTIONS_ENDPOINT": f"http://127.0.0.1:{store.server_port}",
        "PREDICTIONS_REGION": "us-east-1",
        "PREDICTIONS_KEY_ID": "batch",
        "PREDICTIONS_SECRET": "not-a-real-password",
    }


def worker(store: Store, model: Path, source: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "batch"),
            *arguments(source, model, tree_digest(model)),
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(SERVER),
            # As in the image: a .pyc in the model's folder would change its digest.
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables(store),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_worker_goes_on_where_it_was(store: Store, model: Path) -> None:
    table = pa.table({"a": [float(n) for n in range(ROWS)]})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, row_group_size=130)
    source = "in/rows.parquet"
    store.objects[f"data/{source}"] = buffer.getvalue().to_pybytes()

    with worker(store, model, source) as first:
        deadline = time.monotonic() + 60
        while len(store.parts()) < 5 and first.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        assert first.stdout
        said = first.stdout.read()
    assert first.returncode == -signal.SIGKILL, said
    before = store.parts()
    assert 5 <= len(before) < ROWS // PART
    store.puts.clear()

    with worker(store, model, source) as second:
        assert second.stdout
        said = second.stdout.read()

    assert second.returncode == 0, said
    summary = json.loads(said.splitlines()[-1])
    assert (summary["rows"], summary["predicted"]) == (ROWS, ROWS)
    after = store.parts()
    assert len(after) == ROWS // PART
    assert not [key for key in store.puts if key in before]
    tables = [pq.read_table(pa.BufferReader(after[key])) for key in sorted(after)]
    answers = pa.concat_tables(tables)
    assert answers["row"].to_pylist() == list(range(ROWS))
    assert answers["prediction"].to_pylist() == [2.0 * n for n in range(ROWS)]


def test_a_store_that_is_not_there_is_worth_another_try(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Store()
    gone.server_close()
    for name, value in variables(gone).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("batch.store.TRIES", 1)

    code = main(arguments("in/rows.csv", "/nowhere", "sha256:0"))

    said = capsys.readouterr().err
    assert code == 1, said
    assert "s3://data/in/rows.csv: the store failed" in said
    assert "not-a-real-password" not in said
