"""Bring a model's artifact from the object store into the pod, before it starts.

    python3 -m model_server.fetch s3://mlflow/1/models/m-1/artifacts /mnt/models

KServe runs it as the storage initializer and gives it the store in `AWS_*`. What goes
wrong is the last line of the log, one sentence: KServe puts it into the status.
`LAB_DIGEST`, if set, is what the artifact must be: KServe's own servers don't check it.
The model's card and its reference, which lie beside the artifact, come along where
there are any.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
)
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from .digest import CARD, REFERENCE, mismatch

FILES_AT_ONCE = 4
CONNECT, READ = 3, 8
"""Seconds that one try waits for a connection, and for the next bytes."""
PATIENCE = 10
"""Seconds in which a store that does not answer is tried again."""
ABOUT = {"card.html": CARD, "reference.json": REFERENCE}
"""What lies beside an artifact, and its name in the model's folder."""
ABOUT_BYTES = 1 << 20
"""What is larger is left where it is."""
REFUSED = {
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "403",
}


class FetchError(Exception):
    """The artifact can't be had: one sentence that says which, why and what to do."""


def main(argv: list[str]) -> int:
    """Fetch each `<uri> <folder>` of the command line; return the exit code."""
    if not argv or len(argv) % 2:
        print("usage: model_server.fetch URI FOLDER [URI FOLDER …]", file=sys.stderr)
        return 2
    digest = os.environ.get("LAB_DIGEST")
    try:
        for uri, folder in zip(argv[::2], argv[1::2], strict=True):
            files = fetch(uri, Path(folder))
            if digest and (problem := mismatch(folder, digest)):
                raise FetchError(f"{uri} in {problem}")
            print(f"{uri}: {files} files in {folder}", flush=True)
            for name in ABOUT:
                print(fetch_about(uri, name, Path(folder)), flush=True)
    except FetchError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


def fetch(uri: str, folder: Path, *, patience: float = PATIENCE) -> int:
    """Copy every object below `uri` into `folder`; return how many there are.

    Raises FetchError. A store that does not answer is tried again for `patience`
    seconds.
    """
    bucket, prefix = parse(uri)
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    client = _client(endpoint)
    again = Retrying(
        retry=retry_if_exception(_passing),
        stop=stop_after_delay(patience),
        wait=wait_random_exponential(0.2, max=2),
        reraise=True,
    )
    try:
        keys = again(lambda: list(_keys(client, bucket, prefix)))
        if not keys:
            raise FetchError(
                f"{uri}: there is nothing at this path of the bucket; is the release's "
                "`artifact` the one that the registry shows for this version?"
            )
        paths = {key: folder / inside(prefix, key, uri) for key in keys}
        for parent in {path.parent for path in paths.values()}:
            parent.mkdir(parents=True, exist_ok=True)

        def copy(key: str) -> None:
            again.copy()(client.download_file, bucket, key, str(paths[key]))

        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            list(pool.map(copy, keys))
    except (Boto3Error, BotoCoreError, ClientError, OSError) as error:
        raise FetchError(said(uri, bucket, endpoint, error)) from error
    return len(keys)


def fetch_about(uri: str, name: str, folder: Path) -> str:
    """Put what lies as `name` beside the artifact `uri` into `folder`.

    Returns what came of it. A model is served without: what is not there, can't be
    read or is larger than `ABOUT_BYTES` is no error.
    """
    bucket, prefix = parse(uri)
    key = posixpath.join(posixpath.dirname(prefix.rstrip("/")), name)
    address = f"s3://{bucket}/{key}"
    what = name.partition(".")[0]
    target = folder / ABOUT[name]
    try:
        target.unlink(missing_ok=True)
        client = _client(os.environ.get("AWS_ENDPOINT_URL"))
        with client.get_object(Bucket=bucket, Key=key)["Body"] as body:
            content = body.read(ABOUT_BYTES + 1)
        if len(content) > ABOUT_BYTES:
            return f"{address}: the {what} is larger than {ABOUT_BYTES} bytes; left out"
        target.write_bytes(content)
    except (Boto3Error, BotoCoreError, ClientError, OSError) as error:
        return f"{address}: no {what} ({first_line(error)})"
    return f"{address}: the {what} is in {target}"


def first_line(error: Exception) -> str:
    """Return the first line of what `error` says, or its type where it is silent."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def parse(uri: str) -> tuple[str, str]:
    """Return bucket and prefix of `s3://bucket/some/path`; the prefix ends with /."""
    parts = urlsplit(uri)
    prefix = parts.path.strip("/")
    if parts.scheme != "s3" or not parts.netloc or not prefix:
        raise FetchError(f"{uri}: an artifact is s3://BUCKET/PATH")
    return parts.netloc, f"{prefix}/"


def inside(prefix: str, key: str, uri: str) -> str:
    """Return the path of `key` below the folder; FetchError when it would leave it."""
    relative = key.removeprefix(prefix)
    parts = relative.split("/")
    if {"", ".", ".."} & set(parts) or "\0" in relative or "\\" in relative:
        raise FetchError(
            f"{uri}: the store holds an object whose name leaves the model's folder "
            f"({key!r}); remove it from the bucket"
        )
    return relative


def said(uri: str, bucket: str, endpoint: str | None, error: Exception) -> str:
    """Return what `error` means for the person who wrote the release."""
    store = endpoint or "the store"
    code = ""
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
    if code == "NoSuchBucket":
        return f"{uri}: {store} has no bucket {bucket!r}; create it or correct the path"
    if code in REFUSED or isinstance(error, NoCredentialsError):
        return (
            f"{uri}: {store} refuses the lab's credentials for this path "
            f"({code or 'there are none'}); is the bucket one of the lab's own?"
        )
    if isinstance(error, ConnectionError | HTTPClientError):
        return (
            f"{uri}: {store} does not answer ({type(error).__name__}); "
            "does the object store run, and may this pod reach it?"
        )
    if isinstance(error, OSError) and not code:
        return f"{uri}: it can't be written ({error.strerror or error})"
    return f"{uri}: {store} failed ({code or type(error).__name__}); try again"


def _client(endpoint: str | None) -> Any:
    return boto3.client(
        "s3",
        region_name=os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        config=Config(
            connect_timeout=CONNECT,
            read_timeout=READ,
            retries={"total_max_attempts": 1},
            max_pool_connections=FILES_AT_ONCE * 4,
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )


def _keys(client: Any, bucket: str, prefix: str) -> Iterator[str]:
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix
    )
    for page in pages:
        for item in page.get("Contents", ()):
            if not item["Key"].endswith("/"):
                yield item["Key"]


def _passing(error: BaseException) -> bool:
    """Say whether `error` may be gone a second later."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return bool(status >= 500 or status == 429)
    return isinstance(error, ConnectionError | HTTPClientError)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
