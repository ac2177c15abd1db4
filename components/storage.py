"""Object storage for datasets, experiment artifacts and models: MinIO, or any S3."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pulumi

from components import credentials, minio
from components.manifest import Parts
from components.provisioning import job, reading, writing
from stacks.schema import MinioStorage, S3Storage

CONSUMERS = ("tracking", "serving")


class Keys(NamedTuple):
    """An access key and its secret."""

    key_id: str
    secret: str


class S3Access(NamedTuple):
    """What a consumer needs to talk to the store, whichever store it is."""

    endpoint: str
    region: str
    secret: pulumi.Output[str]
    """Name of a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    fingerprint: pulumi.Output[str]
    """Changes when the keys do."""


class Storage(pulumi.ComponentResource):
    """A store with its buckets, and keys of its own for each consumer."""

    tracking: S3Access
    """May read and write the tracking server's bucket."""
    serving: S3Access
    """May read the buckets that hold models."""
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
        writes: Collection[str],
        reads: Collection[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the store.

        `secret` answers with one of the stack's secrets: the `seed` for MinIO, each
        consumer's keys for a store that exists already. The tracking server writes
        to the buckets in `writes`, model servers read those in `reads`.
        """
        super().__init__("labfactory:components:Storage", name, {}, opts)
        self._add = Parts(self, name, namespace).add
        plan: dict[str, Any] = {
            "consumers": {"tracking": sorted(writes), "serving": sorted(reads)}
        }
        secrets: dict[str, pulumi.Output[str]] = {}
        self.ready = []
        if isinstance(config, MinioStorage):
            seed = secret("seed")
            plan |= {
                "endpoint": minio.ENDPOINT,
                "region": minio.REGION,
                "buckets": list(config.buckets),
                "policies": {"tracking": writing(writes), "serving": reading(reads)},
            }
            keys = {each: derived(each, seed) for each in CONSUMERS}
            secrets["root"] = self._minio(config, image("minio"), storage_class, seed)
        else:
            plan |= {"endpoint": config.endpoint, "region": config.region}
            keys = {each: given(each, secret) for each in CONSUMERS}
            self.url = pulumi.Output.from_input(config.endpoint)
        accesses = {
            each: self._access(each, plan["endpoint"], plan["region"], keys[each])
            for each in CONSUMERS
        }
        self.tracking, self.serving = accesses["tracking"], accesses["serving"]
        secrets |= {each: access.secret for each, access in accesses.items()}
        prints = [access.fingerprint for access in accesses.values()]
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
        password = seed.apply(lambda s: credentials.password(s, "storage/root"))
        root = self._add("root", minio.root_secret(password))
        volume = self._add("data", minio.volume(config.capacity, storage_class))
        service = self._add("service", minio.service())
        self.url = service.spec.apply(
            lambda spec: f"http://{spec['clusterIP']}:{minio.PORT}"
        )
        print_ = pulumi.Output.unsecret(password.apply(credentials.fingerprint))
        server = minio.server(image, volume.name, print_)
        self.ready = [self._add("server", server, after=[root])]
        return root.name

    def _access(
        self, consumer: str, endpoint: str, region: str, keys: pulumi.Output[Keys]
    ) -> S3Access:
        secret = consumer_secret(consumer, endpoint, region, keys)
        fingerprint = keys.apply(lambda found: credentials.fingerprint(*found))
        return S3Access(
            endpoint,
            region,
            self._add(consumer, secret).name,
            pulumi.Output.unsecret(fingerprint),
        )


def derived(consumer: str, seed: pulumi.Output[str]) -> pulumi.Output[Keys]:
    """Keys for a store of the lab's own."""
    return seed.apply(
        lambda s: Keys(consumer, credentials.password(s, f"storage/{consumer}"))
    )


def given(
    consumer: str, secret: Callable[[str], pulumi.Output[str]]
) -> pulumi.Output[Keys]:
    """Keys for a store that exists already, out of the stack's secrets."""
    return pulumi.Output.all(
        secret(f"s3-{consumer}-key-id"), secret(f"s3-{consumer}-secret")
    ).apply(lambda found: Keys(*found))


def consumer_secret(
    consumer: str, endpoint: str, region: str, keys: pulumi.Output[Keys]
) -> dict[str, Any]:
    """The Secret `storage-CONSUMER`, with what KServe's webhook wants to know too."""
    address = urlsplit(endpoint)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": f"storage-{consumer}",
            "annotations": {
                "serving.kserve.io/s3-endpoint": address.netloc,
                "serving.kserve.io/s3-usehttps": str(int(address.scheme == "https")),
                "serving.kserve.io/s3-region": region,
                "serving.kserve.io/s3-useanoncredential": "false",
            },
        },
        "stringData": {
            "AWS_ACCESS_KEY_ID": keys.apply(lambda found: found.key_id),
            "AWS_SECRET_ACCESS_KEY": keys.apply(lambda found: found.secret),
        },
    }
