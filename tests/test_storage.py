from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pulumi
import pytest
import urllib3
from minio.error import ServerError
from provision import store
from provision.store import Keys, Refused, Store

from components import minio
from components.provisioning import reading, writing
from components.storage import Storage
from stacks.schema import MinioStorage, S3Storage
from tests.harness import SECRETS, Lab, deploy

BUCKETS = ("mlflow", "datasets")
OWN = MinioStorage(kind="minio", capacity="20Gi", buckets=BUCKETS)
THEIRS = S3Storage(
    kind="s3", endpoint="https://s3.example.com", region="eu-west-1", buckets=BUCKETS
)


def storage(config: MinioStorage | S3Storage = OWN, **secrets: str) -> Lab:
    given = {**{k.partition(":")[2]: v for k, v in SECRETS.items()}, **secrets}

    def program() -> None:
        store = Storage(
            "storage",
            config,
            namespace="lab",
            image=lambda name: f"images/{name}:1",
            storage_class=None,
            secret=lambda name: pulumi.Output.secret(given[name]),
            writes={"mlflow"},
            reads={"mlflow"},
        )
        pulumi.export("endpoint", store.tracking.endpoint)
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


def test_every_key_reaches_the_engine_marked_secret() -> None:
    for config in (OWN, THEIRS):
        for found in storage(config).all("Secret"):
            assert "stringData" in found.secrets, found.name


def test_the_model_servers_may_read_and_nothing_else() -> None:
    actions = {a for each in reading(["mlflow"])["Statement"] for a in each["Action"]}

    assert actions == {"s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"}


def test_the_tracking_server_cannot_delete_what_was_overwritten() -> None:
    allowed, denied = set[str](), set[str]()
    for each in writing(["mlflow"])["Statement"]:
        (allowed if each["Effect"] == "Allow" else denied).update(each["Action"])

    assert {"s3:PutObject", "s3:DeleteObject"} <= allowed
    assert denied == {"s3:DeleteObjectVersion"}
    assert not {action for action in allowed if action.startswith("s3:PutBucket")}


def test_a_policy_names_its_buckets_and_no_other() -> None:
    for policy in (reading(["a", "b"]), writing(["a", "b"])):
        resources = {r for each in policy["Statement"] for r in each["Resource"]}
        assert resources == {
            *("arn:aws:s3:::a", "arn:aws:s3:::a/*"),
            *("arn:aws:s3:::b", "arn:aws:s3:::b/*"),
        }


def test_every_bucket_of_the_stack_is_made_and_every_consumer_checked() -> None:
    found = plan(storage())

    assert found["buckets"] == list(BUCKETS)
    assert set(found["policies"]) == set(found["consumers"]) == {"tracking", "serving"}


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
        storage(THEIRS, **{"s3-serving-secret": "another-not-a-secret"}),
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
        lambda s: s.check(keys, {"tracking": ["mlflow"]}, writer="tracking"),
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
