"""The storage initializer, against a small S3 in this process."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
from model_server import fetch
from model_server.digest import CARD, REFERENCE, tree_digest

# botocore still asks for the time in a way that Python has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore.*")

URI = "s3://mlflow/1/models/m-1/artifacts"
PREFIX = "1/models/m-1/artifacts/"
FILES = {
    "MLmodel": b"flavors: {}\n",
    "model.skops": b"\x00" * 9000,
    "deep/er/file name+1.txt": b"text",
}


class Store(ThreadingHTTPServer):
    """A bucket called `mlflow`; `answer` makes it misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects = {PREFIX + name: content for name, content in FILES.items()}
        self.failures: list[tuple[int, str]] = []
        """Answers to the next requests, before the good ones."""
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Store
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests += 1
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if self.server.failures:
            self.failed(*self.server.failures.pop(0))
        elif bucket != "mlflow":
            self.failed(404, "NoSuchBucket")
        elif not key:
            self.listed(parse_qs(parts.query)["prefix"][0])
        elif key in self.server.objects:
            self.answer(200, self.server.objects[key])
        else:
            self.failed(404, "NoSuchKey")

    do_HEAD = do_GET

    def listed(self, prefix: str) -> None:
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size></Contents>"
            for key, content in sorted(self.server.objects.items())
            if key.startswith(prefix)
        )
        self.answer(200, f"<ListBucketResult>{found}</ListBucketResult>".encode())

    def failed(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
        self.answer(status, body.encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", formatdate(usegmt=True))
        self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    server = Store()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-real-password")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("LAB_DIGEST", raising=False)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Return the exit code and all that was printed."""
    code = fetch.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, (captured.out + captured.err).strip()


def test_the_whole_artifact_arrives(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, URI, tmp_path / "model")

    found = {
        path.relative_to(tmp_path / "model").as_posix(): path.read_bytes()
        for path in (tmp_path / "model").rglob("*")
        if path.is_file()
    }
    assert (code, found) == (0, FILES)
    assert "3 files" in said


def test_only_the_artifact_arrives_and_not_its_neighbour(
    store: Store, tmp_path: Path
) -> None:
    store.objects["1/models/m-1/artifacts-of-another/MLmodel"] = b"other"
    store.objects[f"{PREFIX}folder/"] = b""

    assert fetch.fetch(URI, tmp_path) == 3


def test_an_artifact_with_the_released_digest_is_accepted(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetch.fetch(URI, tmp_path / "first")
    monkeypatch.setenv("LAB_DIGEST", tree_digest(tmp_path / "first"))

    assert run(capsys, URI, tmp_path / "second")[0] == 0


def test_an_artifact_with_another_digest_stops_the_pod(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAB_DIGEST", "sha256:0000")

    code, said = run(capsys, URI, tmp_path)

    assert code == 1
    assert "not the one that was released" in said


BESIDE = {
    "card.html": ("1/models/m-1/card.html", CARD),
    "reference.json": ("1/models/m-1/reference.json", REFERENCE),
}
beside = pytest.mark.parametrize("name", [*BESIDE])
"""What lies beside an artifact: each has a key in the store and a file in the pod."""


@beside
def test_what_lies_beside_the_artifact_comes_along_and_changes_no_digest(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    key, file = BESIDE[name]
    fetch.fetch(URI, tmp_path)
    digest = tree_digest(tmp_path)
    store.objects[key] = b"who, from what"

    code, _ = run(capsys, URI, tmp_path)

    assert code == 0
    assert (tmp_path / file).read_bytes() == b"who, from what"
    assert tree_digest(tmp_path) == digest


@pytest.mark.parametrize("file", [CARD, REFERENCE])
def test_only_what_is_at_the_root_is_left_out_of_the_digest(
    tmp_path: Path, file: str
) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {}")
    before = tree_digest(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / file).write_text("content")

    assert tree_digest(tmp_path) != before


def test_a_folder_with_nothing_but_what_tells_of_a_model_is_none(
    tmp_path: Path,
) -> None:
    (tmp_path / CARD).write_text("content")
    (tmp_path / REFERENCE).write_text("content")

    with pytest.raises(FileNotFoundError):
        tree_digest(tmp_path)


@beside
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no {} (An error occurred (NoSuchKey)"),
        (
            b"x" * (fetch.ABOUT_BYTES + 1),
            "the {} is larger than 1048576 bytes; left out",
        ),
    ],
    ids=["none", "large"],
)
def test_a_model_is_served_without_what_cannot_be_had(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    words: str,
) -> None:
    key, file = BESIDE[name]
    if content:
        store.objects[key] = content
    # An object of this name in the artifact would be one that nobody released.
    store.objects[PREFIX + file] = b"forged"

    code, said = run(capsys, URI, tmp_path)

    assert code == 0
    assert words.format(name.partition(".")[0]) in said
    assert not (tmp_path / file).exists()


@beside
def test_a_store_that_fails_beside_the_artifact_does_not_stop_the_model(
    store: Store, tmp_path: Path, name: str
) -> None:
    fetch.fetch(URI, tmp_path)
    store.failures = [(503, "SlowDown")]

    assert f"no {name.partition('.')[0]}" in fetch.fetch_about(URI, name, tmp_path)


@beside
def test_nothing_is_fetched_beside_an_artifact_that_is_not_the_released_one(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    key, file = BESIDE[name]
    store.objects[key] = b"content"
    monkeypatch.setenv("LAB_DIGEST", "sha256:0000")

    run(capsys, URI, tmp_path)

    assert not (tmp_path / file).exists()


def test_a_passing_failure_is_tried_again(store: Store, tmp_path: Path) -> None:
    store.failures = [(503, "SlowDown"), (500, "InternalError")]

    assert fetch.fetch(URI, tmp_path) == 3


@pytest.mark.parametrize(
    ("uri", "failure", "words"),
    [
        ("s3://other/1/models", None, ["s3://other/1/models", "no bucket 'other'"]),
        ("s3://mlflow/1/nothing", None, ["s3://mlflow/1/nothing", "nothing at this"]),
        (URI, (403, "AccessDenied"), ["refuses", "AccessDenied"]),
        (URI, (403, "InvalidAccessKeyId"), ["refuses", "InvalidAccessKeyId"]),
        (URI, (403, "SignatureDoesNotMatch"), ["refuses"]),
    ],
)
def test_a_failure_is_one_sentence_at_once(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    uri: str,
    failure: tuple[int, str] | None,
    words: list[str],
) -> None:
    store.failures = [failure] if failure else []

    code, said = run(capsys, uri, tmp_path)

    assert code == 1
    assert store.requests == 1
    assert len(said.splitlines()) == 1
    assert all(word in said for word in words), said
    assert "not-a-real-password" not in said


def test_a_store_that_does_not_answer_is_given_up_in_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", gone)
        started = time.monotonic()

        with pytest.raises(fetch.FetchError, match="does not answer") as error:
            fetch.fetch(URI, tmp_path, patience=0.5)

    assert gone in str(error.value)
    assert time.monotonic() - started < 10


def test_the_longest_wait_for_a_store_is_under_20_seconds() -> None:
    assert fetch.PATIENCE + max(fetch.CONNECT, fetch.READ) < 20


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "a/../../b", "./c", "a//b"])
def test_no_object_leaves_the_models_folder(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    store.objects[PREFIX + name] = b"evil"

    code, said = run(capsys, URI, tmp_path / "model")

    assert code == 1
    assert "leaves the model's folder" in said
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("uri", ["gs://a/b", "s3://bucket", "s3:///path", "/mnt/x"])
def test_only_a_path_in_a_bucket_is_an_artifact(uri: str, tmp_path: Path) -> None:
    with pytest.raises(fetch.FetchError, match="s3://BUCKET/PATH"):
        fetch.fetch(uri, tmp_path)


def test_a_full_disk_is_told_apart_from_a_bad_store(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "model").write_text("a file where the folder should be")

    code, said = run(capsys, URI, tmp_path / "model")

    assert code == 1
    assert "can't be written" in said


def test_a_wrong_command_line_says_how_it_is_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(capsys, URI) == (
        2,
        "usage: model_server.fetch URI FOLDER [URI FOLDER …]",
    )
