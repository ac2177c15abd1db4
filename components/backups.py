"""Backups: copies in a second store, and drills that prove that they can be used.

restic keeps copies: encrypted, checked, each block once. rclone copies objects, because
it reads a bucket as it was at a time. Both are Debian's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pulumi

from components import (
    credentials,
    drill,
    keeper,
    minio,
    postgres,
    rooms,
    state_metrics,
)
from components.cluster import namespace as namespace_of
from components.manifest import Manifest, Parts
from components.pods import secret_key
from components.provisioning import Grant
from components.storage import Keys, Storage, derived
from components.tracking import Tracking
from stacks.promises import (
    BackupsConfig,
    OwnBackupStore,
    backup_minutes,
    backup_schedule,
)
from stacks.schema import LabConfig, MinioStorage

COVERED = {
    "minio-data": "its objects are copied, as they were when the database was dumped",
    "postgres-data": "it is dumped",
    "prometheus-data": "not kept: measurements of some days, which are of no use later",
    "keeper-staging": "not kept: a copy is put together on it",
    "backups/minio-data": "not kept: it is the copy",
}
"""Each volume that a lab claims, by its namespace's ending and its name, and what
becomes of it when it is lost."""
BUCKET = "backups"
WRITER = "backup-writer"
READER = "backup-reader"
EXPIRE_DAYS = 30
"""Whoever has the writer's key can delete copies; for so long they can be brought
back."""


@dataclass(frozen=True)
class _Repository:
    """Where copies are kept, and who may do what there."""

    address: str
    region: str
    password: pulumi.Output[str]
    writer: pulumi.Output[Keys]
    reader: pulumi.Output[Keys]
    """Its keys can only read, if the store is the lab's own."""

    def secret(self, keys: pulumi.Output[Keys]) -> dict[str, Any]:
        """The Secret that opens it with `keys`."""
        return keeper.repository(self.address, self.region, self.password, keys)


class Backups(pulumi.ComponentResource):
    """What copies a lab day after day, and what it takes to bring it back."""

    namespaces: dict[str, pulumi.Output[str]]
    """Its namespaces, by the room of the table of flows."""

    def __init__(
        self,
        name: str,
        config: BackupsConfig,
        *,
        lab: LabConfig,
        storage: Storage,
        tracking: Tracking,
        namespace: pulumi.Input[str],
        image: Callable[[str], str],
        storage_class: str | None,
        secret: Callable[[str], pulumi.Output[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the backups of `lab`, which is in `storage` and in `tracking`.

        `secret` answers with the `seed`, and with the keys of a store that exists
        already.
        """
        super().__init__("labfactory:components:Backups", name, {}, opts)
        self._name = name
        self._config = config
        self._lab = lab
        self._namespace = namespace
        self._image = image
        self._secret = secret
        self.namespaces = {}
        repository = self._repository(storage_class)
        self._copies(repository, storage, tracking, storage_class)
        self._drills(repository)
        self.register_outputs({})

    def _repository(self, storage_class: str | None) -> _Repository:
        """Declare the second store, if it is the lab's own."""
        store = self._config.store
        seed = self._secret("seed")
        password = seed.apply(lambda s: credentials.password(s, "backups/repository"))
        if not isinstance(store, OwnBackupStore):
            keys = pulumi.Output.all(
                self._secret("backup-store-key-id"), self._secret("backup-store-secret")
            ).apply(lambda found: Keys(*found))
            address = f"s3:{store.endpoint}/{store.bucket}/{self._lab.name}"
            return _Repository(address, store.region, password, keys, keys)
        name = f"{self._lab.name}-backups"
        other_seed = seed.apply(lambda s: f"{s}/backups")
        found = _Repository(
            f"s3:http://{minio.NAME}.{name}.svc:{minio.PORT}/{BUCKET}/{self._lab.name}",
            minio.REGION,
            password,
            derived(WRITER, other_seed),
            derived(READER, other_seed),
        )
        self._own_store(name, store.capacity, other_seed, found, storage_class)
        return found

    def _own_store(
        self,
        name: str,
        capacity: str,
        seed: pulumi.Output[str],
        repository: _Repository,
        storage_class: str | None,
    ) -> None:
        """Declare a store in the namespace `name`, which stays when the lab goes."""
        kept = pulumi.ResourceOptions(parent=self, transformations=[_retained])
        manifest = namespace_of(name, {})
        home = Manifest(f"{self._name}-home", manifest, opts=kept).name
        self.namespaces[rooms.COPIES] = home
        Storage(
            f"{self._name}-store",
            MinioStorage(kind="minio", capacity=capacity, buckets=(BUCKET,)),
            namespace=home,
            image=self._image,
            storage_class=storage_class,
            secret=lambda _: seed,
            grants={
                WRITER: Grant(writes=frozenset({BUCKET})),
                READER: Grant(reads=frozenset({BUCKET})),
            },
            expire_days=EXPIRE_DAYS,
            opts=kept,
        )
        # The lab's own goes with its namespace; who makes it again finds this one.
        Manifest(
            f"{self._name}-home-repository",
            repository.secret(repository.reader),
            namespace=home,
            opts=kept,
        )
        self._watched(f"{self._name}-home", home, kept)

    def _copies(
        self,
        repository: _Repository,
        storage: Storage,
        tracking: Tracking,
        storage_class: str | None,
    ) -> None:
        """Declare what copies the lab, brings it back, and looks at the copies."""
        config, lab, image = self._config, self._lab, self._image("keeper")
        add = Parts(self, self._name, self._namespace).add
        opened = repository.secret(repository.writer)
        needs = self._keeper("", self._namespace, opened)
        claim = add("staging", keeper.staging(config.staging, storage_class))
        about = self._about_lab()
        minutes = backup_minutes(lab.agreement.recovery if lab.agreement else None)
        reader = secret_key(tracking.keeper, "keeper-password")
        backup = keeper.backup(
            image,
            told={
                **about,
                **keeper.told_of_store(storage.access["backup"]),
                **keeper.told_of_database(postgres.KEEPER, reader),
            },
            keep=config.keep,
            claim=claim.name,
            schedule=backup_schedule(minutes),
            minutes=minutes,
        )
        add("backup", backup, after=[*needs, *storage.ready])
        owner = secret_key(postgres.NAME, "password")
        restore = keeper.restore(
            image,
            told={
                **about,
                **keeper.told_of_store(storage.access["restore"]),
                **keeper.told_of_database(postgres.ROLE, owner),
            },
            size=config.staging,
        )
        needs += [
            add(f"restore-{each['kind'].lower()}", each)
            for each in keeper.restoring(self._namespace)
        ]
        add("restore", restore, after=needs)
        check = keeper.check(image, told=about, size=config.staging)
        add("check", check, after=needs)

    def _drills(self, repository: _Repository) -> None:
        """Declare the drill, in a namespace of its own."""
        child = pulumi.ResourceOptions(parent=self)
        manifest = namespace_of(f"{self._lab.name}-drill", {})
        home = Manifest(f"{self._name}-rehearsal", manifest, opts=child).name
        self.namespaces[rooms.DRILL] = home
        add = Parts(self, f"{self._name}-drill", home).add
        needs = self._keeper("drill-", home, repository.secret(repository.reader))
        seed = self._secret("seed")
        password = seed.apply(lambda s: credentials.password(s, "drill/postgres"))
        for manifest in drill.secrets(derived("drill", seed), password):
            needs.append(add(manifest["metadata"]["name"], manifest))
        job = drill.cron_job(
            self._image("keeper"),
            self._image("postgres"),
            told=self._about_lab(),
            every_days=self._config.drill.every_days,
            size=self._config.staging,
        )
        add("job", job, after=needs)
        self._watched(f"{self._name}-drill", home, child)

    def _watched(
        self, name: str, home: pulumi.Input[str], opts: pulumi.ResourceOptions
    ) -> None:
        """Let kube-state-metrics, where there is one, see the namespace `home`."""
        if self._lab.monitoring:
            for each in state_metrics.reading(self._namespace):
                kind = each["kind"].lower()
                Manifest(f"{name}-state-{kind}", each, namespace=home, opts=opts)

    def _keeper(
        self, role: str, home: pulumi.Input[str], repository: dict[str, Any]
    ) -> list[Manifest]:
        """Declare who the keeper is in the namespace `home`, and what it opens."""
        add = Parts(self, f"{self._name}-{role}keeper", home).add
        access = keeper.access(home, reads=not role)
        found = [add(each["kind"].lower(), each) for each in access]
        results = Manifest(
            f"{self._name}-{role}keeper-results",
            keeper.results(),
            namespace=home,
            # The keeper writes to it, and a refresh must not take that for a change.
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["data"]),
        )
        return [*found, results, add("repository", repository)]

    def _about_lab(self) -> dict[str, Any]:
        return {"LAB": self._lab.name, "BUCKETS": ",".join(self._lab.storage.buckets)}


def _retained(
    args: pulumi.ResourceTransformationArgs,
) -> pulumi.ResourceTransformationResult:
    """What is declared so stays in the cluster when it is taken out of the program."""
    stays = pulumi.ResourceOptions(retain_on_delete=True)
    opts = pulumi.ResourceOptions.merge(args.opts, stays)
    return pulumi.ResourceTransformationResult(args.props, opts)
