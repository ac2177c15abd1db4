"""Object storage for datasets, experiment artifacts and models: MinIO, or any S3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pulumi

from components import credentials, minio
from components.manifest import Parts, cluster_ip
from components.provisioning import Grant, job, policy
from stacks.schema import LabConfig, MinioStorage, ReleaseConfig, S3Storage

PREDICTING = ("predictions", "batch", "feedback")
"""Consumers that keep predictions: model servers, workers over files, and what joins
them with labels."""


class Keys(NamedTuple):
    """An access key and its secret."""

    key_id: str
    secret: str


class S3Access(NamedTuple):
    """What a consumer needs to talk to the store, whichever store it is."""

    endpoint: str
    region: str
    secret: pulumi.Output[str]
    """Name of the Secret with the keys."""
    fingerprint: pulumi.Output[str]
    """Changes when the keys do."""


class Storage(pulumi.ComponentResource):
    """A store with its buckets, and keys of its own for each consumer."""

    access: Mapping[str, S3Access]
    """How each consumer gets in."""
    url: pulumi.Output[str]
    """Where the store answers from outside of the lab's namespace."""
    ready: Sequence[pulumi.Resource]
    """Buckets, keys and permissions hold once these are there."""

    def __init__(
        self,
        name: str,
        config: MinioStorage | S3Storage,
        *,
        namespace: pulumi.Input[str],
        image: Callable[[str], str],
        storage_class: str | None,
        secret: Callable[[str], pulumi.Output[str]],
        grants: Mapping[str, Grant],
        expire_days: int | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the store.

        `secret` answers with one of the stack's secrets: the `seed` for MinIO, each
        consumer's keys for a store that exists already. MinIO keeps what was deleted
        or overwritten for `expire_days`, or for good.
        """
        super().__init__("labfactory:components:Storage", name, {}, opts)
        self._add = Parts(self, name, namespace).add
        plan: dict[str, Any] = {
            "consumers": {each: grant.buckets() for each, grant in grants.items()},
            "writers": {
                each: sorted(grant.writes | grant.adds)
                for each, grant in grants.items()
            },
        }
        secrets: dict[str, pulumi.Output[str]] = {}
        self.ready = []
        if isinstance(config, MinioStorage):
            seed = secret("seed")
            plan |= {
                "endpoint": minio.ENDPOINT,
                "region": minio.REGION,
                "buckets": list(config.buckets),
                "policies": {each: policy(grant) for each, grant in grants.items()},
            }
            if expire_days is not None:
                plan["expire_days"] = expire_days
            keys = {each: derived(each, seed) for each in grants}
            secrets["root"] = self._minio(config, image("minio"), storage_class, seed)
        else:
            plan |= {"endpoint": config.endpoint, "region": config.region}
            keys = {each: given(each, secret) for each in grants}
            self.url = pulumi.Output.from_input(config.endpoint)
        self.access = {
            each: self._access(
                plan["endpoint"], plan["region"], each, grant, keys[each]
            )
            for each, grant in grants.items()
        }
        secrets |= {each: access.secret for each, access in self.access.items()}
        prints = [access.fingerprint for access in self.access.values()]
        provisioning = self._add(
            "provisioning", job(plan, image("lab"), secrets, prints)
        )
        self.ready = [*self.ready, provisioning]
        self.register_outputs({"url": self.url})

    def _minio(
        self,
        config: MinioStorage,
        image: str,
        storage_class: str | None,
        seed: pulumi.Output[str],
    ) -> pulumi.Output[str]:
        """Declare MinIO; return the name of the Secret with its root credential."""
        keys = derived("root", seed)
        root = self._add(
            "root",
            minio.root_secret(
                keys.apply(lambda found: found.key_id),
                keys.apply(lambda found: found.secret),
            ),
        )
        volume = self._add("data", minio.volume(config.capacity, storage_class))
        service = self._add("service", minio.service())
        self.url = cluster_ip(service).apply(
            lambda found: f"http://{found}:{minio.PORT}"
        )
        print_ = keys.apply(lambda found: credentials.fingerprint(*found))
        server = minio.server(image, volume.name, pulumi.Output.unsecret(print_))
        self.ready = [self._add("server", server, after=[root])]
        return root.name

    def _access(
        self,
        endpoint: str,
        region: str,
        consumer: str,
        grant: Grant,
        keys: pulumi.Output[Keys],
    ) -> S3Access:
        secret = consumer_secret(consumer, endpoint, region, grant, keys)
        fingerprint = keys.apply(lambda found: credentials.fingerprint(*found))
        return S3Access(
            endpoint,
            region,
            self._add(consumer, secret).name,
            pulumi.Output.unsecret(fingerprint),
        )


def derived(consumer: str, seed: pulumi.Output[str]) -> pulumi.Output[Keys]:
    """Keys for a store of the lab's own.

    Their ids cannot be guessed either: to the last MinIO that is open source, who knows
    the id of a key that may write can write (CVE-2026-40344, CVE-2026-41145).
    """
    return seed.apply(
        lambda s: Keys(
            f"{consumer}-{credentials.password(s, f'storage/{consumer}/id')[:8]}",
            credentials.password(s, f"storage/{consumer}"),
        )
    )


def given(
    consumer: str, secret: Callable[[str], pulumi.Output[str]]
) -> pulumi.Output[Keys]:
    """Keys for a store that exists already, out of the stack's secrets."""
    return pulumi.Output.all(
        secret(f"s3-{consumer}-key-id"), secret(f"s3-{consumer}-secret")
    ).apply(lambda found: Keys(*found))


def consumer_secret(
    consumer: str, endpoint: str, region: str, grant: Grant, keys: pulumi.Output[Keys]
) -> dict[str, Any]:
    """The Secret `storage-CONSUMER`, in the words of whoever reads it.

    KServe's webhook reads annotations and AWS's own names; a pod that writes
    predictions may get those too, for its model, and takes others.
    """
    address = urlsplit(endpoint)
    key_id = keys.apply(lambda found: found.key_id)
    secret = keys.apply(lambda found: found.secret)
    if consumer in PREDICTING:
        annotations = {}
        [bucket] = grant.writes | grant.adds
        data = {
            "PREDICTIONS_BUCKET": bucket,
            "PREDICTIONS_ENDPOINT": endpoint,
            "PREDICTIONS_REGION": region,
            "PREDICTIONS_KEY_ID": key_id,
            "PREDICTIONS_SECRET": secret,
        }
    else:
        annotations = {
            "serving.kserve.io/s3-endpoint": address.netloc,
            "serving.kserve.io/s3-usehttps": str(int(address.scheme == "https")),
            "serving.kserve.io/s3-region": region,
            "serving.kserve.io/s3-useanoncredential": "false",
        }
        data = {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": secret}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"storage-{consumer}", "annotations": annotations},
        "stringData": data,
    }


def grants(lab: LabConfig) -> dict[str, Grant]:
    """What each consumer of the lab's store may use: buckets, by whose or what for.

    Batch workers read data, which lies in the lab's buckets, but not what is the
    tracking server's. Labels are kept beside the predictions that they are about. What
    makes backups, day after day, cannot write what it copies: only a restore can.
    """
    tracking = frozenset({lab.tracking.bucket})
    found = {
        "tracking": Grant(writes=tracking),
        "serving": Grant(reads=tracking | _model_buckets(lab.releases)),
    }
    if lab.predictions:
        kept = frozenset({lab.predictions.bucket})
        data = frozenset(lab.storage.buckets) - tracking - kept
        found["predictions"] = Grant(adds=kept)
        found["batch"] = Grant(reads=data, writes=kept)
        if lab.takes_feedback:
            found["feedback"] = Grant(reads=kept, adds=kept)
    if lab.backups:
        every = frozenset(lab.storage.buckets)
        first = frozenset(lab.storage.buckets[:1])
        found["backup"] = Grant(copies=every, marks=first)
        found["restore"] = Grant(writes=every)
    return found


def _model_buckets(releases: Mapping[str, ReleaseConfig]) -> set[str]:
    return {
        urlsplit(variant.artifact).netloc
        for release in releases.values()
        for variant in release.variants.values()
        if variant.artifact
    }
