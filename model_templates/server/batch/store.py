"""Where inputs are read and predictions are written: S3, or a local folder for trials.

An address is `s3://BUCKET/PATH` or `file:///PATH`. An object appears whole or not at
all, so one that is there is finished.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import certifi
from pyarrow import fs

SECONDS_TO_CONNECT, SECONDS_TO_ANSWER, TRIES = 5, 60, 6
SKIPPED = ("_", ".")
"""Beginnings of the names of files that other tools leave beside their data."""


class Refused(Exception):
    """What is asked for can't be done, however often it is tried: one sentence."""


class Found(NamedTuple):
    """A file as it is in the store now."""

    name: str
    """Its path below the folder that was listed; its own name where one was given."""
    address: str
    size: int
    etag: str
    """Changes when the content does."""


def files(address: str) -> list[Found]:
    """Return the file at `address`, or the files below it, in the order of their names.

    There are none when nothing is at the address.
    """
    system, path = _open(address)
    with said(address):
        [top] = system.get_file_info([path])
        if top.type == fs.FileType.File:
            return [_found(system, top, os.path.dirname(path), address)]
        selector = fs.FileSelector(path, allow_not_found=True, recursive=True)
        listed = system.get_file_info(selector)
        below = [
            _found(system, info, path, f"{address.rstrip('/')}/")
            for info in listed
            if info.type == fs.FileType.File
        ]
    visible = [f for f in below if not _hidden(f.name)]
    return sorted(visible, key=lambda found: found.name)


def names(address: str) -> dict[str, float]:
    """Return the names of all files in a folder, and when each was written."""
    system, path = _open(address)
    with said(address):
        listed = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return {i.base_name: i.mtime_ns / 1e9 for i in listed if i.type == fs.FileType.File}


def source(address: str) -> Any:
    """Open a file to read from anywhere in it."""
    system, path = _open(address)
    with said(address):
        return system.open_input_file(path)


def stream(address: str) -> Any:
    """Open a file to read once from its beginning; `.gz` is decompressed."""
    system, path = _open(address)
    with said(address):
        compression = "gzip" if path.endswith(".gz") else None
        return system.open_input_stream(path, compression=compression)


def read(address: str) -> bytes | None:
    """Return a small file's content; None when it is not there."""
    system, path = _open(address)
    with said(address):
        if system.get_file_info([path])[0].type != fs.FileType.File:
            return None
        with system.open_input_stream(path) as file:
            return bytes(file.read())


def write(address: str, content: Any) -> None:
    """Put `content` (bytes, or an Arrow buffer) at `address` in one step."""
    system, path = _open(address)
    local = isinstance(system, fs.LocalFileSystem)
    target = f"{path}.{os.getpid()}.new" if local else path
    with said(address):
        if local:
            system.create_dir(os.path.dirname(path))
        with system.open_output_stream(target) as file:
            file.write(content)
        if local:
            system.move(target, path)


@contextmanager
def said(address: str) -> Iterator[None]:
    """Turn what the store answers into a sentence about `address`.

    Raises Refused where another try changes nothing, OSError where it may.
    """
    try:
        yield
    except OSError as error:
        text = str(error)
        if "NO_SUCH_BUCKET" in text:
            raise Refused(
                f"{address}: the store has no such bucket; create it or correct the "
                "address"
            ) from error
        if any(word in text for word in REFUSALS):
            raise Refused(
                f"{address}: the store refuses the batch's credentials for this path; "
                "is the bucket one that it may use?"
            ) from error
        raise OSError(f"{address}: the store failed ({text.strip()})") from error


REFUSALS = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "Permission denied",
)


def _open(address: str) -> tuple[Any, str]:
    parts = urlsplit(address)
    if parts.scheme == "file" and not parts.netloc:
        return _local(), unquote(parts.path)
    path = parts.path.strip("/")
    if parts.scheme != "s3" or not parts.netloc or not path:
        raise Refused(f"{address}: an address is s3://BUCKET/PATH")
    return _s3(), f"{parts.netloc}/{path}"


@cache
def _local() -> Any:
    return fs.LocalFileSystem()


@cache
def _s3() -> Any:
    """The lab's store, out of `PREDICTIONS_*`."""
    endpoint = urlsplit(os.environ["PREDICTIONS_ENDPOINT"])
    # A checksum behind the content is Amazon's own way; not every store knows it.
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    return fs.S3FileSystem(
        access_key=os.environ["PREDICTIONS_KEY_ID"],
        secret_key=os.environ["PREDICTIONS_SECRET"],
        endpoint_override=endpoint.netloc,
        scheme=endpoint.scheme,
        region=os.environ.get("PREDICTIONS_REGION") or "us-east-1",
        connect_timeout=SECONDS_TO_CONNECT,
        request_timeout=SECONDS_TO_ANSWER,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
        # Parts are written whole: nothing is left to be sent in the background.
        background_writes=False,
        allow_delayed_open=True,
        tls_ca_file_path=certifi.where(),
    )


def _found(system: Any, info: Any, folder: str, address: str) -> Found:
    name = info.path.removeprefix(folder).lstrip("/")
    at = f"{address}{name}" if address.endswith("/") else address
    if isinstance(system, fs.LocalFileSystem):
        return Found(name, at, info.size, str(info.mtime_ns))
    with system.open_input_file(info.path) as file:
        etag = file.metadata().get("ETag", b"")
    text = etag.decode() if isinstance(etag, bytes) else etag
    return Found(name, at, info.size, text.strip('"'))


def _hidden(name: str) -> bool:
    return any(part.startswith(SKIPPED) for part in name.split("/"))
