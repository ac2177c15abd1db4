"""What lies in the buckets of a lab's store, by top folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from labfactory import s3
from labfactory.errors import LabError
from labfactory.inventory.cluster import Cluster
from labfactory.inventory.things import Row

COLUMNS = ("folder", "bucket", "objects", "bytes", "newest")
KEYS = (
    ("storage-batch", "PREDICTIONS_KEY_ID", "PREDICTIONS_SECRET"),
    ("minio-root", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
)
"""Secrets of the lab with keys that may read its data, the humblest first."""
REGION = "PREDICTIONS_REGION"
MOST = 200_000
"""Objects of a bucket that are counted."""


@dataclass
class Tally:
    """How much is in a folder."""

    objects: int = 0
    bytes: int = 0
    newest: datetime | None = None

    def add(self, size: int, modified: datetime) -> None:
        """Count one object."""
        self.objects += 1
        self.bytes += size
        self.newest = max(self.newest or modified, modified)


def data_sets(
    cluster: Cluster, namespace: str, url: str, buckets: Sequence[str]
) -> Iterator[Row]:
    """A row for each top folder of each bucket; raises LabError."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    with closing(_client(_keys(cluster, namespace), url)) as client:
        for bucket in buckets:
            try:
                yield from folders(bucket, _objects(client, bucket))
            except (Boto3Error, BotoCoreError, ClientError) as error:
                raise LabError(
                    f"store {url}: bucket {bucket!r} can't be read "
                    f"({type(error).__name__}); is the lab up? `lab status` says so"
                ) from None


def folders(bucket: str, objects: Iterable[Mapping[str, Any]]) -> list[Row]:
    """A row for each top folder of what S3 lists; objects outside of any are `/`."""
    found: dict[str, Tally] = {}
    for number, each in enumerate(objects):
        if number == MOST:
            row = (f"not counted: more than {MOST:,} objects", bucket, None, None, None)
            return [*_rows(bucket, found), row]
        top, slash, _ = each["Key"].partition("/")
        tally = found.setdefault(f"{top}/" if slash else "/", Tally())
        tally.add(int(each["Size"]), each["LastModified"])
    return _rows(bucket, found)


def _rows(bucket: str, found: Mapping[str, Tally]) -> list[Row]:
    return [
        (folder, bucket, tally.objects, tally.bytes, _iso(tally.newest))
        for folder, tally in sorted(found.items())
    ]


def _objects(client: Any, bucket: str) -> Iterator[Mapping[str, Any]]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        yield from page.get("Contents", ())


def _keys(cluster: Cluster, namespace: str) -> tuple[str, str, str]:
    """Key id, secret and region of whoever may read the lab's data."""
    there = {
        each["metadata"]["name"]
        for each in cluster.all("secrets")
        if each["metadata"]["namespace"] == namespace
    }
    for secret, key_id, key in KEYS:
        if secret in there:
            found = cluster.values(namespace, secret)
            return found[key_id], found[key], found.get(REGION, "us-east-1")
    raise LabError(
        f"lab {namespace!r}: has no keys that may read its data (Secret "
        f"{KEYS[0][0]!r}); write `predictions: {{bucket: …}}` into its settings and "
        "run `lab up`"
    )


def _client(keys: tuple[str, str, str], url: str) -> Any:
    key_id, secret, region = keys
    return s3.client(
        url,
        region=region,
        key_id=key_id,
        secret=secret,
        read_timeout=30,
        retries={"total_max_attempts": 2},
    )


def _iso(when: datetime | None) -> str | None:
    return when.astimezone(UTC).isoformat(timespec="seconds") if when else None
