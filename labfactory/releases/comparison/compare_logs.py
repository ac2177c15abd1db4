"""Read what model servers have logged, out of the store of a lab that is up.

The service that takes labels reads them too, in a pod that has nothing of what reaches
a lab from outside: that is imported where it is used.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from labfactory.errors import LabError
from labfactory.releases.comparison.compare import Logged, Record
from stacks.schema import LabConfig, ReleaseConfig

SECRET = "storage-batch"
"""Secret of the lab with keys that may read the predictions."""
AT_ONCE = 16
MOST = 200_000
"""Answers of a variant that are read; the newest ones."""


def of_release(
    lab: str, release: str, since: datetime, until: datetime
) -> tuple[ReleaseConfig, dict[str, Logged]]:
    """Return a release's settings and what its variants logged; raises LabError."""
    from labfactory import labs
    from labfactory.stack import Stack

    stack = Stack(lab)
    settings = stack.settings
    config = settings.releases.get(release)
    if config is None:
        there = ", ".join(settings.releases) or "none"
        raise LabError(
            f"lab {lab!r}: has no release {release!r} (there is: {there}); name one"
        )
    if settings.predictions is None:
        raise LabError(
            f"lab {lab!r}: keeps no predictions to compare; write `predictions: "
            f"{{bucket: …}}` into {stack.file.name}, add a shadow, and `lab up {lab}`"
        )
    bucket = settings.predictions.bucket
    url = labs.outputs(stack)["storage_url"]
    client = _client(settings, url)
    return config, _read_all(client, url, bucket, release, config, since, until)


def read(keys: list[str], get: Callable[[str], bytes], *, most: int = MOST) -> Logged:
    """Return what is in the objects `keys`, which are in the order of their time."""
    records: list[Record] = []
    broken, left = 0, list(keys)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while left and len(records) < most:
            newest, left = left[-4 * AT_ONCE :], left[: -4 * AT_ONCE]
            for found, bad in pool.map(lambda key: parse(get(key)), newest):
                records += found
                broken += bad
    return Logged(records, broken, cut=bool(left))


def parse(body: bytes) -> tuple[list[Record], int]:
    """Return the answers in an object, and how much of it can't be read."""
    try:
        lines = gzip.decompress(body).splitlines()
    except (OSError, EOFError, zlib.error):
        return [], 1
    records = [record for line in lines if (record := _record(line))]
    return records, len(lines) - len(records)


def folders(
    release: str, variant: str, since: datetime, until: datetime
) -> Iterator[str]:
    """The folders of the hours from `since` to `until`, in their order."""
    hour = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while hour <= until:
        yield f"logs/{release}/{variant}/{hour:%Y-%m-%d/%H}/"
        hour += timedelta(hours=1)


def _record(line: bytes) -> Record | None:
    try:
        raw = json.loads(line)
        predictions = raw["predictions"]
        if not isinstance(predictions, list | None):
            return None
        time = datetime.fromisoformat(raw["time"])
        return Record(
            id=str(raw["id"]),
            time=time if time.tzinfo else time.replace(tzinfo=UTC),
            status=int(raw["status"]),
            seconds=float(raw["seconds"]),
            rows=int(raw["rows"]),
            predictions=predictions,
        )
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None


def _read_all(
    client: Any,
    url: str,
    bucket: str,
    release: str,
    config: ReleaseConfig,
    since: datetime,
    until: datetime,
) -> dict[str, Logged]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    def get(key: str) -> bytes:
        body: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    try:
        return {
            variant: read(
                _keys(client, bucket, folders(release, variant, since, until)), get
            )
            for variant in config.variants
        }
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise LabError(
            f"store {url}: the predictions in {bucket!r} can't be read "
            f"({type(error).__name__}: {error}); is the lab up? `lab status` says so"
        ) from None


def _keys(client: Any, bucket: str, prefixes: Iterator[str]) -> list[str]:
    """The objects in folders of hours, in the order in which they were written."""
    found = []
    for prefix in prefixes:
        pages = client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            found += [
                (item["LastModified"], item["Key"]) for item in page.get("Contents", ())
            ]
    return [key for _, key in sorted(found)]


def _client(settings: LabConfig, url: str) -> Any:
    from labfactory import s3

    keys = _secret(settings)
    return s3.client(
        url,
        region=keys["PREDICTIONS_REGION"],
        key_id=keys["PREDICTIONS_KEY_ID"],
        secret=keys["PREDICTIONS_SECRET"],
        max_pool_connections=AT_ONCE,
    )


def _secret(settings: LabConfig) -> Mapping[str, str]:
    from kubernetes import client
    from kubernetes.client.exceptions import ApiException

    from labfactory import environment

    context = settings.cluster.context
    api = client.CoreV1Api(environment.kubernetes(context))
    try:
        secret = api.read_namespaced_secret(SECRET, settings.name, _request_timeout=10)
    except ApiException as error:
        raise LabError(
            f"lab {settings.name!r}: its Secret {SECRET!r} can't be read "
            f"({error.status} {error.reason}); `lab up` makes it once the settings "
            "have `predictions`"
        ) from None
    return {
        name: base64.b64decode(value).decode() for name, value in secret.data.items()
    }
