"""What provisioning does to a store; every step may be done again."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio, MinioAdmin
from minio.commonconfig import ENABLED, Filter
from minio.credentials import StaticProvider
from minio.error import MinioAdminException, S3Error, ServerError
from minio.lifecycleconfig import (
    Expiration,
    LifecycleConfig,
    NoncurrentVersionExpiration,
    Rule,
)
from minio.versioningconfig import VersioningConfig

PATIENCE_SECONDS = 120.0
"""A store that starts at the same time may answer only after so long."""
PROBE = ".labfactory-write-check"
"""Object that is written and deleted again to see that writing works."""


class Keys(NamedTuple):
    """An access key and its secret."""

    key_id: str
    secret: str


class Refused(Exception):
    """The store does not do what the plan needs; the message says what to change."""


class Store:
    """One S3 endpoint."""

    def __init__(self, endpoint: str, region: str) -> None:
        """Refer to the store at `endpoint`; nothing is sent yet."""
        address = urlsplit(endpoint)
        self._host = address.netloc
        self._secure = address.scheme == "https"
        self._region = region
        self._deadline = time.monotonic() + PATIENCE_SECONDS

    def provision(
        self,
        root: Keys,
        buckets: Collection[str],
        policies: Mapping[str, Mapping[str, Any]],
        consumers: Mapping[str, Keys],
    ) -> None:
        """Make versioned buckets, and one user with one policy per consumer.

        Raises Refused when the store does not answer in time.
        """
        client = self._client(root)
        for bucket in buckets:
            self._patiently(
                f"the bucket {bucket!r} cannot be made", make_bucket, client, bucket
            )
        admin = MinioAdmin(
            endpoint=self._host,
            credentials=StaticProvider(*root),
            region=self._region,
            secure=self._secure,
            http_client=_http(),
        )
        for consumer, policy in policies.items():
            keys = consumers[consumer]
            what = f"the user of {consumer} cannot be made"
            self._patiently(what, make_user, admin, keys, consumer, policy)
            print(f"{consumer}'s user has its own policy and no other")
        kept = {consumers[consumer].key_id for consumer in policies}
        self._patiently("old users cannot be removed", remove_others, admin, kept)

    def expire(self, root: Keys, buckets: Collection[str], days: int) -> None:
        """Let old versions of objects go `days` after they were replaced or deleted.

        Raises Refused when the store does not answer in time.
        """
        client = self._client(root)
        for bucket in buckets:
            what = f"old versions in the bucket {bucket!r} cannot be given an end"
            self._patiently(what, expire_versions, client, bucket, days)

    def check(
        self,
        consumers: Mapping[str, Keys],
        buckets: Mapping[str, Collection[str]],
        writers: Mapping[str, Collection[str]],
    ) -> None:
        """See that each consumer lists its `buckets`, and writes to its `writers`.

        Raises Refused.
        """
        for consumer, keys in consumers.items():
            client = self._client(keys)
            for bucket in buckets[consumer]:
                what = f"{consumer}'s keys cannot read the bucket {bucket!r}"
                self._patiently(what, read_one, client, bucket)
                if bucket in writers[consumer]:
                    what = f"{consumer}'s keys cannot write to the bucket {bucket!r}"
                    self._patiently(what, write_one, client, bucket)
                print(f"bucket {bucket!r} answers to {consumer}'s keys")

    def _client(self, keys: Keys) -> Minio:
        return Minio(
            self._host,
            *keys,
            secure=self._secure,
            region=self._region,
            http_client=_http(),
        )

    def _patiently(
        self, what: str, do: Callable[..., None], *arguments: object
    ) -> None:
        """Do it again while the store is not there or busy, until time is up.

        Raises Refused, which begins with `what`.
        """
        while True:
            try:
                return do(*arguments)
            except (urllib3.exceptions.HTTPError, ServerError) as error:
                reason, final = f"it does not answer ({type(error).__name__})", False
            except S3Error as error:
                reason = f"{error.code}: {error.message}"
                final = error.code not in ("XMinioServerNotInitialized", "SlowDown")
            except MinioAdminException as error:
                reason, final = str(error), int(error._code) < 500
            if final or time.monotonic() >= self._deadline:
                raise Refused(f"{what}: {reason}; {REMEDY}")
            time.sleep(0.5)


REMEDY = (
    "check the endpoint, the keys and the buckets in the lab's settings; for a volume "
    "that is full, free space or make it larger"
)


def make_bucket(client: Minio, bucket: str) -> None:
    """Make `bucket` unless it is there; keep the old versions of its objects."""
    if not client.bucket_exists(bucket):
        client.make_bucket(bucket)
        print(f"bucket {bucket!r} made")
    if client.get_bucket_versioning(bucket).status != ENABLED:
        client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))


def expire_versions(client: Minio, bucket: str, days: int) -> None:
    """Delete versions of `bucket` that are old for `days`, and what marks them."""
    rule = Rule(
        ENABLED,
        rule_filter=Filter(prefix=""),
        rule_id="old-versions",
        expiration=Expiration(expired_object_delete_marker=True),
        noncurrent_version_expiration=NoncurrentVersionExpiration(noncurrent_days=days),
    )
    client.set_bucket_lifecycle(bucket, LifecycleConfig([rule]))


def make_user(
    admin: MinioAdmin, keys: Keys, name: str, policy: Mapping[str, Any]
) -> None:
    """Make the user of `keys`, with the policy `name` and no other."""
    admin.policy_add(name, policy=dict(policy))
    admin.user_add(*keys)
    admin.policy_set(name, user=keys.key_id)


def remove_others(admin: MinioAdmin, kept: Collection[str]) -> None:
    """Remove every user but `kept`: of consumers that are no more, and of old keys."""
    for user in json.loads(admin.user_list()):
        if user not in kept:
            admin.user_remove(user)
            print("an old user removed")


def read_one(client: Minio, bucket: str) -> None:
    """List one object of `bucket`."""
    next(iter(client.list_objects(bucket)), None)


def write_one(client: Minio, bucket: str) -> None:
    """Write a small object to `bucket`; delete it again where that is allowed."""
    client.put_object(bucket, PROBE, io.BytesIO(b"ok"), 2)
    try:
        client.remove_object(bucket, PROBE)
    except S3Error as error:
        if error.code != "AccessDenied":
            raise


def _http() -> urllib3.PoolManager:
    # The client's own retries last for minutes and cannot be told from a hang.
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=2, read=30),
        retries=False,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )
