from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import pulumi
import pytest
import urllib3
from minio import Minio
from minio.error import ServerError
from provision import store
from provision.store import Keys, Refused, Store

from components import minio
from components.provisioning import MARK, Grant, policy
from components.storage import Storage, grants
from stacks.schema import LabConfig, MinioStorage, S3Storage
from tests.harness import SECRETS, Lab, deploy, example, variant

BUCKETS = ("mlflow", "datasets", "predictions")
OWN = MinioStorage(kind="minio", capacity="20Gi", buckets=BUCKETS)
THEIRS = S3Storage(
    kind="s3", endpoint="https://s3.example.com", region="eu-west-1", buckets=BUCKETS
)


COPIES = {
    "store": {"kind": "minio", "capacity": "20Gi"},
    "staging": "20Gi",
}


def lab_of(
    *, predictions: str | None = None, models: str = "mlflow", backed_up: bool = False
) -> LabConfig:
    """A lab that takes labels wherever it keeps predictions."""
    watched = predictions is not None
    rules: dict[str, Any] = {"guard": {"quality": {}}} if watched else {}
    release = {"template": "mlflow", "variants": {"v1": variant(1, bucket=models)}}
    return LabConfig.model_validate(
        example(
            storage={
                "kind": "minio",
                "capacity": "20Gi",
                "buckets": [*BUCKETS, "models"],
            },
            predictions={"bucket": predictions} if watched else None,
            guard={} if watched else None,
            agreements={},
            backups=COPIES if backed_up else None,
            releases={"iris": {**release, **rules}},
        )
    )


def storage(
    config: MinioStorage | S3Storage = OWN,
    *,
    predictions: str | None = None,
    expire_days: int | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Lab:
    given = {k.partition(":")[2]: v for k, v in SECRETS.items()} | dict(secrets or {})

    def program() -> None:
        store = Storage(
            "storage",
            config,
            namespace="lab",
            image=lambda name: f"images/{name}:1",
            storage_class=None,
            secret=lambda name: pulumi.Output.secret(given[name]),
            grants=grants(lab_of(predictions=predictions)),
            expire_days=expire_days,
        )
        pulumi.export("endpoint", store.access["tracking"].endpoint)
        pulumi.export("ready", [each.urn for each in store.ready])

    return deploy(program)


def plan(lab: Lab) -> dict[str, Any]:
    [job] = lab.all("Job")
    [container] = job.spec["template"]["spec"]["containers"]
    [text] = [e["value"] for e in container["env"] if e["name"] == "PROVISION_PLAN"]
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_volume_is_as_large_as_the_stack_says() -> None:
    lab = storage(MinioStorage(kind="minio", capacity="50Gi", buckets=BUCKETS))

    [volume] = lab.all("PersistentVolumeClaim")
    assert volume.spec["resources"]["requests"] == {"storage": "50Gi"}
    [server] = lab.all("StatefulSet")
    [claim] = [
        found["persistentVolumeClaim"]["claimName"]
        for found in server.spec["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in found
    ]
    assert claim == volume.metadata["name"]


def test_consumers_call_the_service_that_is_declared() -> None:
    lab = storage()

    [service] = lab.all("Service")
    [port] = service.spec["ports"]
    assert (
        lab.exports["endpoint"] == f"http://{service.metadata['name']}:{port['port']}"
    )


def test_each_consumer_has_a_key_of_its_own_and_nobody_root_s() -> None:
    secrets = [
        tuple(found.inputs["stringData"].values()) for found in storage().all("Secret")
    ]

    assert len({secret for _, secret in secrets}) == len(secrets) == 3


def test_no_key_of_the_lab_s_own_store_has_an_id_that_can_be_guessed() -> None:
    ids = {
        value
        for found in storage(predictions="predictions").all("Secret")
        for key, value in found.inputs["stringData"].items()
        if key.endswith(("KEY_ID", "ROOT_USER"))
    }

    assert len(ids) == 6
    assert all(re.fullmatch(r"[a-z]+-[\w-]{8}", each) for each in ids)


def test_users_of_old_keys_are_removed() -> None:
    class Admin:
        def __init__(self) -> None:
            self.users: dict[str, object] = dict.fromkeys(
                ("tracking-a", "tracking-old", "batch-b")
            )

        def user_list(self) -> str:
            return json.dumps(self.users)

        def user_remove(self, name: str) -> None:
            del self.users[name]

    admin = Admin()
    store.remove_others(admin, {"tracking-a", "batch-b"})

    assert list(admin.users) == ["tracking-a", "batch-b"]


def test_every_key_reaches_the_engine_marked_secret() -> None:
    for config in (OWN, THEIRS):
        for found in storage(config).all("Secret"):
            assert "stringData" in found.secrets, found.name


def allowed(grant: Grant) -> dict[str, set[str]]:
    """What a grant's policy allows, by resource, after what it denies."""
    found: dict[str, set[str]] = {}
    for effect in ("Allow", "Deny"):
        for each in policy(grant)["Statement"]:
            for resource in each["Resource"] if each["Effect"] == effect else ():
                actions = found.setdefault(resource, set())
                (actions.update if effect == "Allow" else actions.difference_update)(
                    each["Action"]
                )
    return found


def test_whoever_reads_does_nothing_else() -> None:
    found = allowed(Grant(reads=frozenset({"a"})))

    assert found == {
        "arn:aws:s3:::a": {"s3:GetBucketLocation", "s3:ListBucket"},
        "arn:aws:s3:::a/*": {"s3:GetObject"},
    }


def test_whoever_writes_cannot_delete_what_was_overwritten() -> None:
    [statement] = [
        each
        for each in policy(Grant(writes=frozenset({"mlflow"})))["Statement"]
        if each["Effect"] == "Deny"
    ]

    assert statement["Action"] == ["s3:DeleteObjectVersion"]
    assert statement["Resource"] == ["arn:aws:s3:::mlflow/*"]
    objects = allowed(Grant(writes=frozenset({"mlflow"})))["arn:aws:s3:::mlflow/*"]
    assert {"s3:PutObject", "s3:DeleteObject"} <= objects


def test_whoever_adds_neither_reads_nor_deletes() -> None:
    found = allowed(Grant(adds=frozenset({"predictions"})))

    objects = found["arn:aws:s3:::predictions/*"]
    assert objects == {"s3:PutObject", "s3:AbortMultipartUpload"}


def test_whoever_copies_reads_every_version_and_writes_its_mark_alone() -> None:
    found = allowed(Grant(copies=frozenset({"a", "b"}), marks=frozenset({"a"})))

    lists = {
        *("s3:GetBucketLocation", "s3:ListBucket"),
        *("s3:GetBucketVersioning", "s3:ListBucketVersions"),
    }
    assert found == {
        "arn:aws:s3:::a": lists,
        "arn:aws:s3:::b": lists,
        "arn:aws:s3:::a/*": {"s3:GetObject", "s3:GetObjectVersion"},
        "arn:aws:s3:::b/*": {"s3:GetObject", "s3:GetObjectVersion"},
        f"arn:aws:s3:::a/{MARK}": {"s3:PutObject"},
    }


def test_what_makes_backups_cannot_write_what_a_restore_can() -> None:
    found = grants(lab_of(backed_up=True))

    assert found["backup"].copies == found["restore"].writes == {*BUCKETS, "models"}
    assert not found["backup"].writes | found["backup"].adds
    assert found["backup"].marks == {"mlflow"}


def test_a_policy_names_its_buckets_and_no_other() -> None:
    found = allowed(Grant(frozenset("a"), frozenset("b"), frozenset("c")))

    assert set(found) == {
        f"arn:aws:s3:::{bucket}{inside}" for bucket in "abc" for inside in ("", "/*")
    }


def test_batch_workers_read_data_and_not_what_the_tracking_server_keeps() -> None:
    found = grants(lab_of(predictions="predictions", models="models"))

    assert found["batch"].buckets() == ["datasets", "models", "predictions"]
    assert found["predictions"] == Grant(adds=frozenset({"predictions"}))
    assert found["serving"].buckets() == ["mlflow", "models"]


def test_a_lab_that_keeps_no_predictions_has_no_keys_for_them() -> None:
    assert set(grants(lab_of())) == {
        "tracking",
        "serving",
    }


def test_whoever_predicts_is_told_the_store_and_its_bucket() -> None:
    for consumer in ("predictions", "batch", "feedback"):
        lab = storage(predictions="predictions")
        found = lab.one("Secret", f"storage-{consumer}").inputs["stringData"]

        assert found["PREDICTIONS_BUCKET"] == "predictions"
        assert found["PREDICTIONS_ENDPOINT"] == lab.exports["endpoint"]
        assert found["PREDICTIONS_KEY_ID"].startswith(f"{consumer}-")


def test_every_bucket_of_the_stack_is_made_and_every_consumer_checked() -> None:
    found = plan(storage())

    assert found["buckets"] == list(BUCKETS)
    assert set(found["policies"]) == set(found["consumers"]) == {"tracking", "serving"}


def test_old_versions_have_an_end_where_one_is_set_and_nowhere_else() -> None:
    assert plan(storage(expire_days=30))["expire_days"] == 30
    assert "expire_days" not in plan(storage())


def test_old_versions_go_by_a_rule_of_the_bucket_and_new_ones_stay() -> None:
    said: list[tuple[str, Any]] = []

    class Client:
        def set_bucket_lifecycle(self, bucket: str, config: Any) -> None:
            said.append((bucket, config))

    store.expire_versions(cast("Minio", Client()), "backups", 30)

    [(bucket, config)] = said
    [rule] = config.rules
    assert (bucket, rule.status, rule.rule_filter.prefix) == ("backups", "Enabled", "")
    assert rule.noncurrent_version_expiration.noncurrent_days == 30
    assert rule.expiration.days is None


def test_a_store_that_exists_already_is_checked_and_left_as_it_is() -> None:
    lab = storage(THEIRS)

    assert not lab.all("StatefulSet")
    assert not lab.all("PersistentVolumeClaim")
    assert {"buckets", "policies"} & set(plan(lab)) == set()
    assert plan(lab)["consumers"] == {"tracking": ["mlflow"], "serving": ["mlflow"]}
    mounted = {
        volume["secret"]["secretName"]
        for _, _, spec in lab.pods()
        for volume in spec["volumes"]
        if "secret" in volume
    }
    assert mounted == {"storage-tracking", "storage-serving"}


def test_a_new_key_is_provisioned_and_reaches_whoever_runs() -> None:
    def job(lab: Lab) -> str:
        return str(lab.all("Job")[0].metadata["name"])

    old, same, new = (
        storage(THEIRS),
        storage(THEIRS),
        storage(THEIRS, secrets={"s3-serving-secret": "another-not-a-secret"}),
    )

    assert job(old) == job(same)
    assert job(old) != job(new)


def test_kserve_is_told_where_the_store_is() -> None:
    for config, host, https in (
        (OWN, "minio:9000", "0"),
        (THEIRS, "s3.example.com", "1"),
    ):
        found = storage(config).one("Secret", "storage-serving")
        annotations = found.metadata["annotations"]
        assert annotations["serving.kserve.io/s3-endpoint"] == host
        assert annotations["serving.kserve.io/s3-usehttps"] == https


def test_the_store_is_ready_once_it_is_provisioned() -> None:
    kinds = [urn.split("$")[-1].split("::")[0] for urn in storage().exports["ready"]]

    assert kinds == ["kubernetes:apps/v1:StatefulSet", "kubernetes:batch/v1:Job"]


def test_every_resource_belongs_to_the_component() -> None:
    root, *children = storage().declared

    assert root.type == "labfactory:components:Storage"
    assert {child.parent for child in children} == {"storage"}


def test_minio_collects_garbage_before_the_kernel_ends_it() -> None:
    server = minio.server("minio:1", "claim", "print")
    [container] = server["spec"]["template"]["spec"]["containers"]
    [ceiling] = [e["value"] for e in container["env"] if e["name"] == "GOMEMLIMIT"]

    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert 0.7 * 1024 < int(ceiling.removesuffix("MiB")) < 0.95 * 1024


def refused(do: Callable[[Store], None], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(store, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(Refused) as refusal:
        do(Store("http://127.0.0.1:1", "us-east-1"))
    assert "not-a-secret" not in str(refusal.value)
    return str(refusal.value)


def test_a_store_that_never_answers_is_reported_with_what_to_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {"tracking": Keys("key", "not-a-secret")}

    said = refused(
        lambda s: s.check(keys, {"tracking": ["mlflow"]}, {"tracking": ["mlflow"]}),
        monkeypatch,
    )

    assert said.startswith("tracking's keys cannot read the bucket 'mlflow'")
    assert "does not answer" in said
    assert "check the endpoint, the keys and the buckets" in said


def test_root_s_credential_stays_out_of_a_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Keys("root", "not-a-secret")

    said = refused(lambda s: s.provision(root, ["mlflow"], {}, {}), monkeypatch)

    assert said.startswith("the bucket 'mlflow' cannot be made")


def test_a_store_that_starts_late_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    answers = iter(
        [urllib3.exceptions.ProtocolError("closed"), ServerError("busy", 503)]
    )

    def make() -> None:
        for error in answers:
            raise error

    Store("http://127.0.0.1:1", "us-east-1")._patiently("no bucket", make)

    assert len(waits) == 2
