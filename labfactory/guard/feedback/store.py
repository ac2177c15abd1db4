"""The object store, for what reads the log of predictions and keeps labels."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.error import MinioException

from labfactory.guard.feedback.posted import Label

NAMES = ("ENDPOINT", "REGION", "BUCKET", "KEY_ID", "SECRET")
CONNECTIONS = 16


class StoreError(Exception):
    """The store did not do what it was asked: why, in a few words."""


class Store:
    """One bucket. Every method raises StoreError."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Use the bucket that `PREDICTIONS_*` describe; nothing is asked yet."""
        found = {name: settings[f"PREDICTIONS_{name}"] for name in NAMES}
        address = urlsplit(found["ENDPOINT"])
        self._bucket = found["BUCKET"]
        self._client = Minio(
            address.netloc,
            access_key=found["KEY_ID"],
            secret_key=found["SECRET"],
            region=found["REGION"],
            secure=address.scheme == "https",
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=2, read=5),
                retries=urllib3.Retry(0),
                maxsize=CONNECTIONS,
                ca_certs=certifi.where(),
            ),
        )

    def keys(self, prefix: str, after: str) -> list[str]:
        """Return the objects below `prefix` that sort behind `after`, oldest first."""
        try:
            found = [
                (item.last_modified, item.object_name)
                for item in self._client.list_objects(
                    self._bucket, prefix, recursive=True, start_after=after
                )
            ]
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreError(type(error).__name__) from None
        return [key for _, key in sorted(found)]

    def get(self, key: str) -> bytes:
        """Return the content of an object."""
        try:
            with closing(self._client.get_object(self._bucket, key)) as answer:
                body: bytes = answer.read()
                answer.release_conn()
                return body
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreError(type(error).__name__) from None

    def put(self, key: str, body: bytes) -> None:
        """Make `body` the content of an object; it is there when this returns."""
        try:
            self._client.put_object(self._bucket, key, io.BytesIO(body), len(body))
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreError(type(error).__name__) from None


def packed(labels: Iterable[Label], came: float) -> bytes:
    """Return labels as an object of the store: compressed lines of JSON."""
    lines = [
        json.dumps({"id": e.id, "row": e.row, "label": e.value, "time": came})
        for e in labels
    ]
    return gzip.compress("\n".join(lines).encode(), 6)


def unpacked(body: bytes) -> list[tuple[Label, float]]:
    """Return the labels in an object, with their times; what can't be read is none."""
    try:
        lines = gzip.decompress(body).splitlines()
    except (OSError, EOFError, zlib.error):
        return []
    return [entry for line in lines if (entry := _entry(line))]


def hour(time: datetime) -> str:
    """Return the folder of an hour, as keys have it: `2026-11-21/18/`."""
    return f"{time:%Y-%m-%d/%H}/"


def _entry(line: bytes) -> tuple[Label, float] | None:
    try:
        found: dict[str, Any] = json.loads(line)
        label = Label(0, str(found["id"]), int(found["row"]), found["label"])
        return label, float(found["time"])
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None
