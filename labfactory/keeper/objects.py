"""The object store: read as of a time, brought back, and summed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from labfactory.errors import LabError
from labfactory.keeper.processes import run
from labfactory.keeper.settings import StoreAccess, child

PATIENCE_SECONDS = 60.0
FILES_AT_ONCE = 8
CHUNK = 1 << 20
COUNTED = 1000
REMOTE = "store"
Facts = dict[str, dict[str, Any]]


class Store:
    """One S3 endpoint, through rclone for bulk and MinIO's client for questions."""

    def __init__(self, access: StoreAccess) -> None:
        """Refer to it; nothing is sent yet."""
        self._access = access
        self.endpoint = access.endpoint

    def now(self) -> datetime:
        """A time of the store's own clock after which nothing so far was written.

        S3 tells it in whole seconds: up to one second from now. Raises LabError.
        """
        date = answers(self.endpoint, "the lab's store")
        return parsedate_to_datetime(date) + timedelta(seconds=1)

    def make(self, buckets: Iterable[str]) -> None:
        """Make those of the buckets that are not there."""
        with _asked(self.endpoint):
            for each in self.lacks(buckets):
                self._client.make_bucket(each)

    def lacks(self, buckets: Iterable[str]) -> list[str]:
        """Those of the buckets that the store does not have."""
        client = self._client
        with _asked(self.endpoint):
            return [each for each in buckets if not client.bucket_exists(each)]

    def versioned(self, bucket: str) -> bool:
        """Whether the bucket keeps versions, and can be read as of a time."""
        with _asked(self.endpoint):
            status = self._client.get_bucket_versioning(bucket).status
            return bool(status == "Enabled")

    def count(self, bucket: str) -> int:
        """How many objects are in the bucket; counts no further than `COUNTED`."""
        with _asked(self.endpoint):
            found = self._client.list_objects(bucket, recursive=True)
            return sum(1 for _ in islice(found, COUNTED))

    def pull(self, bucket: str, folder: Path, at: datetime | None) -> None:
        """Make `folder` what the bucket was at the time; None is now."""
        then = [f"--s3-version-at={at:%Y-%m-%dT%H:%M:%SZ}"] if at else []
        source = f"{REMOTE}:{bucket}"
        self._rclone(bucket, [source, str(folder), "--use-server-modtime", *then])

    def push(self, folder: Path, bucket: str) -> None:
        """Make the bucket what `folder` is."""
        folder.mkdir(parents=True, exist_ok=True)
        target = f"{REMOTE}:{bucket}"
        self._rclone(bucket, [str(folder), target, "--s3-no-check-bucket"])

    def sums(self, bucket: str) -> Facts:
        """`bytes` and `sha256` of every object, read from the store."""
        with _asked(self.endpoint):
            listed = self._client.list_objects(bucket, recursive=True)
            keys = [o.object_name for o in listed if not o.is_dir]
            with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
                found = pool.map(lambda key: self._sum(bucket, key), keys)
                return dict(zip(keys, found, strict=True))

    def fetch(self, artifact: str, folder: Path) -> None:
        """Bring the tree at `s3://BUCKET/PATH` into `folder`."""
        bucket, prefix = place(artifact)
        with _asked(self.endpoint):
            client = self._client
            for each in client.list_objects(bucket, f"{prefix}/", recursive=True):
                target = folder / each.object_name.removeprefix(f"{prefix}/")
                if target.resolve().is_relative_to(folder.resolve()):
                    client.fget_object(bucket, each.object_name, str(target))

    def set_aside(self, bucket: str, prefix: str, to: str) -> None:
        """Move what begins with `prefix`, so that it begins with `to`."""
        from minio.commonconfig import CopySource

        with _asked(self.endpoint):
            for each in self._client.list_objects(bucket, prefix, recursive=True):
                key = each.object_name
                target = to + key.removeprefix(prefix)
                self._client.copy_object(bucket, target, CopySource(bucket, key))
                self._client.remove_object(bucket, key)

    def _sum(self, bucket: str, key: str) -> dict[str, Any]:
        answer = self._client.get_object(bucket, key)
        with answer:
            hash_, size = hashlib.sha256(), 0
            while chunk := answer.read(CHUNK):
                hash_.update(chunk)
                size += len(chunk)
            return {"bytes": size, "sha256": hash_.hexdigest()}

    def _rclone(self, bucket: str, args: list[str]) -> None:
        flags = ("--fast-list", f"--transfers={FILES_AT_ONCE}", "--checkers=16")
        done = run(["rclone", "sync", *args, *flags, "--retries=2"], self._env())
        if done.code:
            raise LabError(
                f"bucket {bucket!r} at {self.endpoint}: can't be copied "
                f"({done.reason}); is the store up, and may the keeper use that bucket?"
            )

    def _env(self) -> dict[str, str]:
        access = self._access
        host = urlsplit(access.endpoint).hostname or ""
        config = {
            "TYPE": "s3",
            "PROVIDER": "AWS" if host.endswith(".amazonaws.com") else "Minio",
            "ENDPOINT": access.endpoint,
            "REGION": access.region,
            "ACCESS_KEY_ID": access.key_id,
            "SECRET_ACCESS_KEY": access.secret,
        }
        named = {f"RCLONE_CONFIG_{REMOTE.upper()}_{k}": v for k, v in config.items()}
        return child(RCLONE_CONFIG=os.devnull, **named)

    @cached_property
    def _client(self) -> Any:
        """One client, whose kept connections all threads share."""
        from minio import Minio

        address = urlsplit(self._access.endpoint)
        return Minio(
            address.netloc,
            self._access.key_id,
            self._access.secret,
            secure=address.scheme == "https",
            region=self._access.region,
        )


def answers(endpoint: str, what: str, patience: float = PATIENCE_SECONDS) -> str:
    """Wait until a store answers; return its date. Raises LabError with its address."""
    import httpx
    from tenacity import Retrying, stop_after_delay, wait_fixed

    tries = Retrying(stop=stop_after_delay(patience), wait=wait_fixed(2), reraise=True)
    try:
        return str(tries(httpx.get, endpoint, timeout=10.0).headers["date"])
    except (httpx.HTTPError, KeyError) as error:
        raise LabError(
            f"{what} at {endpoint}: has not answered for {patience:.0f} s "
            f"({type(error).__name__}: {error}); bring it back, then try again"
        ) from None


def place(artifact: str) -> tuple[str, str]:
    """Bucket and path of `s3://BUCKET/PATH`."""
    address = urlsplit(artifact)
    return address.netloc, address.path.strip("/")


def tree(folder: Path) -> Facts:
    """`bytes` and `sha256` of every file below `folder`, by its path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(_file, paths)
        names = [path.relative_to(folder).as_posix() for path in paths]
        return dict(zip(names, found, strict=True))


class Remembered:
    """Sums of files as they were at the last backup, to find those that decayed."""

    def __init__(self, file: Path) -> None:
        """Keep them in `file`."""
        self._file = file
        try:
            self._known: dict[str, Any] = json.loads(file.read_text())
        except (OSError, ValueError):
            self._known = {}

    def decayed(
        self, folder: Path, found: Mapping[str, Mapping[str, Any]]
    ) -> list[str]:
        """Files of the same size and time as before, but with another content."""
        return [
            name
            for name, facts in found.items()
            if (before := self._known.get(f"{folder.name}/{name}"))
            and before[:2] == [facts["bytes"], _written(folder / name)]
            and before[2] != facts["sha256"]
        ]

    def write(self, root: Path, found: Mapping[str, Facts]) -> None:
        """Remember the sums of all folders below `root`."""
        now = {
            f"{bucket}/{name}": [
                facts["bytes"],
                _written(root / bucket / name),
                facts["sha256"],
            ]
            for bucket, files in found.items()
            for name, facts in files.items()
        }
        self._file.write_text(json.dumps(now))


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": sha256}


@contextmanager
def _asked(endpoint: str) -> Iterator[None]:
    """Say in a sentence why the store does not do what it was asked for."""
    from minio.error import MinioException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (MinioException, HTTPError) as error:
        why = getattr(error, "message", None) or str(error)
        raise LabError(
            f"the store at {endpoint}: refuses or does not answer "
            f"({type(error).__name__}: {why[:200]}); is it up, and may the keeper use "
            "these buckets?"
        ) from None
