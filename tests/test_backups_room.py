"""The room with the backups: what copies, what brings back, and what stays."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from components import cluster, state_metrics
from components.alerts import backups as alerts
from components.backups import COVERED, Backups
from components.drill import schedule
from components.storage import S3Access, Storage
from components.tracking import Tracking
from labfactory.keeper.cluster import KINDS, NOT_PUT_BACK
from labfactory.keeper.settings import NEEDED
from labfactory.labs import wanted_images
from stacks.schema import LabConfig
from tests.harness import (
    ADDRESS,
    SECRETS,
    Declared,
    Lab,
    deploy,
    example,
    house,
    variant,
)

OWN = {"store": {"kind": "minio", "capacity": "40Gi"}, "staging": "20Gi"}
THEIRS = {
    "store": {
        "kind": "s3",
        "endpoint": "https://s3.example.com",
        "region": "eu-west-1",
        "bucket": "copies",
    },
    "staging": "20Gi",
}
PROMISED = {"all": {"recovery": {"rpo_minutes": 60, "rto_minutes": 120}}}
VERBS = ("backup", "check", "restore")
ALL = (*VERBS, "drill")


def config(backups: dict[str, Any] = OWN, **sections: Any) -> LabConfig:
    return LabConfig.model_validate(example(backups=backups, **sections))


def room(backups: dict[str, Any] = OWN, **sections: Any) -> Lab:
    lab = config(backups, **sections)
    assert lab.backups
    section = lab.backups

    def access(consumer: str) -> S3Access:
        name = pulumi.Output.from_input(f"storage-{consumer}")
        print_ = pulumi.Output.from_input("print")
        return S3Access("http://minio:9000", "us-east-1", name, print_)

    def program() -> None:
        storage = {each: access(each) for each in ("backup", "restore")}
        keeper = pulumi.Output.from_input("postgres-keeper")
        found = Backups(
            "backups",
            section,
            lab=lab,
            storage=cast("Storage", SimpleNamespace(access=storage, ready=[])),
            tracking=cast("Tracking", SimpleNamespace(keeper=keeper)),
            namespace="example",
            image=lambda name: f"images/{name}:1",
            storage_class="fast",
            secret=lambda name: pulumi.Output.secret(SECRETS[f"labfactory:{name}"]),
        )
        for role, namespace in found.namespaces.items():
            pulumi.export(role, namespace)

    return deploy(program)


@functools.cache
def own() -> Lab:
    """The room of a lab with a second store of its own."""
    return room()


def objects_in(lab: Lab, namespace: str) -> list[Declared]:
    found = lab.objects()
    return [each for each in found if each.metadata.get("namespace") == namespace]


def job(lab: Lab, verb: str) -> dict[str, Any]:
    template = lab.one("CronJob", verb).spec["jobTemplate"]["spec"]["template"]
    spec: dict[str, Any] = template["spec"]
    return spec


def told(container: dict[str, Any]) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}


def containers(lab: Lab) -> Iterator[dict[str, Any]]:
    for found in lab.all("CronJob"):
        spec = job(lab, found.metadata["name"])
        yield from (*spec["containers"], *spec.get("initContainers", ()))


def claims(lab: Lab) -> set[str]:
    """Each volume that is claimed, by the ending of its namespace and its name."""
    found = set()
    for each in lab.objects():
        metadata = [each.metadata] if each.kind == "PersistentVolumeClaim" else []
        for claim in each.spec.get("volumeClaimTemplates") or ():
            metadata.append({**each.metadata, "name": claim["metadata"]["name"]})
        for claimed in metadata:
            _, _, ending = claimed["namespace"].partition("example-")
            found.add(f"{ending}/{claimed['name']}".lstrip("/"))
    return found


# What is kept


def test_every_volume_of_a_lab_is_backed_up_or_needs_no_backup() -> None:
    whole = house(example(backups=OWN))

    assert claims(whole) | claims(own()) == set(COVERED)


def test_a_volume_of_which_nobody_thought_is_found() -> None:
    forgotten = Declared(
        type="kubernetes:apps/v1:StatefulSet",
        name="room-server",
        parent="room",
        inputs={
            "metadata": {"name": "notes", "namespace": "example"},
            "spec": {"volumeClaimTemplates": [{"metadata": {"name": "notes-data"}}]},
        },
        secrets=frozenset(),
        dependencies=frozenset(),
        protect=False,
        retained=False,
    )

    assert claims(Lab([forgotten])) - set(COVERED) == {"notes-data"}


def test_the_second_store_stays_when_the_lab_goes() -> None:
    lab = own()

    [home] = [
        n for n in lab.all("Namespace") if n.metadata["name"] == "example-backups"
    ]
    kept = objects_in(lab, "example-backups")
    assert {"StatefulSet", "PersistentVolumeClaim", "Secret", "Job"} <= {
        each.kind for each in kept
    }
    assert all(each.retained for each in (home, *kept))


def test_others_are_told_which_namespaces_it_has() -> None:
    assert own().exports == {"drill": "example-drill", "copies": "example-backups"}
    assert room(THEIRS).exports == {"drill": "example-drill"}


def test_nothing_else_stays_when_the_lab_goes() -> None:
    for namespace in ("example", "example-drill"):
        assert not [each.name for each in objects_in(own(), namespace) if each.retained]


def test_what_was_deleted_in_the_second_store_can_be_brought_back_for_a_month() -> None:
    [provisioning] = own().all("Job")
    [container] = provisioning.spec["template"]["spec"]["containers"]
    plan = told(container)["PROVISION_PLAN"]

    assert '"expire_days": 30' in plan
    assert '"s3:DeleteObjectVersion"' in plan


# Who may do what


def test_a_drill_and_a_lab_that_is_gone_can_read_copies_and_not_delete_them() -> None:
    lab = own()

    opened = {
        each.metadata["namespace"]: each.inputs["stringData"]
        for each in lab.all("Secret")
        if each.metadata["name"] == "keeper-repository"
    }
    ids = {name: data["AWS_ACCESS_KEY_ID"] for name, data in opened.items()}
    assert ids["example"].startswith("backup-writer-")
    assert ids["example-drill"].startswith("backup-reader-")
    assert ids["example-backups"] == ids["example-drill"]
    assert len({data["RESTIC_PASSWORD"] for data in opened.values()}) == 1


def test_copies_lie_where_pods_of_other_namespaces_find_them() -> None:
    lab = own()

    [data] = {
        each.inputs["stringData"]["RESTIC_REPOSITORY"]
        for each in lab.all("Secret")
        if each.metadata["name"] == "keeper-repository"
    }
    [service] = lab.all("Service")
    where = f"{service.metadata['name']}.{service.metadata['namespace']}.svc"
    port = service.spec["ports"][0]["port"]
    assert data == f"s3:http://{where}:{port}/backups/example"


def test_a_store_that_exists_already_is_opened_with_the_stack_s_secrets() -> None:
    lab = room(THEIRS)

    assert "example-backups" not in {n.metadata["name"] for n in lab.all("Namespace")}
    secrets = [
        s for s in lab.all("Secret") if s.metadata["name"] == "keeper-repository"
    ]
    assert len(secrets) == 2
    for secret in secrets:
        found = secret.inputs["stringData"]
        assert found["RESTIC_REPOSITORY"] == "s3:https://s3.example.com/copies/example"
        assert found["AWS_DEFAULT_REGION"] == "eu-west-1"
        key = SECRETS["labfactory:backup-store-key-id"]
        assert found["AWS_ACCESS_KEY_ID"] == key


@pytest.mark.parametrize("backups", [OWN, THEIRS], ids=["own", "theirs"])
def test_every_key_reaches_the_engine_marked_secret(backups: dict[str, Any]) -> None:
    for secret in room(backups).all("Secret"):
        assert "stringData" in secret.secrets, secret.name


def test_only_a_restore_has_keys_that_change_the_lab() -> None:
    lab = own()

    used = {
        verb: {
            value["secretKeyRef"]["name"]
            for value in told(job(lab, verb)["containers"][0]).values()
            if "secretKeyRef" in value
        }
        for verb in VERBS
    }
    assert used["backup"] == {"storage-backup", "postgres-keeper"}
    assert used["restore"] == {"storage-restore", "postgres"}
    assert used["check"] == set()


def test_the_keeper_changes_its_results_and_nothing_else_in_the_cluster() -> None:
    roles = [each for each in own().all("Role") if each.metadata["name"] == "keeper"]

    assert len(roles) == 2
    for rule in (rule for role in roles for rule in role.inputs["rules"]):
        assert "secrets" not in rule["resources"]
        if set(rule["verbs"]) - {"get", "list"}:
            assert rule["resources"] == ["configmaps"]
            assert rule["resourceNames"] == ["keeper"]
            assert rule["verbs"] == ["get", "patch"]


def test_a_restore_makes_all_that_it_puts_back_and_nothing_else_may() -> None:
    lab = own()

    [role] = [r for r in lab.all("Role") if r.metadata["name"] == "keeper-restore"]
    made = {
        resource
        for rule in role.inputs["rules"]
        if "create" in rule["verbs"]
        for resource in rule["resources"]
    }
    assert made == {p for kind, (_, p) in KINDS.items() if kind not in NOT_PUT_BACK}
    accounts = {verb: job(lab, verb)["serviceAccountName"] for verb in ALL}
    assert accounts.pop("restore") == "keeper-restore"
    assert set(accounts.values()) == {"keeper"}


def test_the_keeper_may_read_every_kind_that_it_copies() -> None:
    [role] = [
        each
        for each in objects_in(own(), "example")
        if each.kind == "Role" and each.metadata["name"] == "keeper"
    ]

    read = {
        (group, resource)
        for rule in role.inputs["rules"]
        if {"get", "list"} <= set(rule["verbs"])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert read == {
        (
            prefix.removeprefix("/apis/").removeprefix("/api/v1").partition("/")[0],
            plural,
        )
        for prefix, plural in KINDS.values()
    }


def test_results_outlive_every_change_of_the_lab() -> None:
    lab = own()

    maps = lab.all("ConfigMap")
    assert {each.metadata["namespace"] for each in maps} == {"example", "example-drill"}
    for each in maps:
        assert each.metadata["name"] == "keeper"
        assert "data" not in each.inputs


# What runs


@pytest.mark.parametrize("verb", ALL)
def test_a_pod_is_told_all_that_its_program_asks_for(verb: str) -> None:
    lab = own()

    [container] = job(lab, verb)["containers"]
    assert container["args"] == [verb]
    assert container["envFrom"] == [{"secretRef": {"name": "keeper-repository"}}]
    of_secret = {"RESTIC_REPOSITORY", "RESTIC_PASSWORD"}
    assert set(NEEDED[verb]) <= set(told(container)) | of_secret


@pytest.mark.parametrize("verb", ["backup", "restore", "drill"])
def test_a_password_is_there_before_the_address_that_it_is_put_into(verb: str) -> None:
    [container] = job(own(), verb)["containers"]

    names = [each["name"] for each in container["env"]]
    assert names.index("DATABASE_PASSWORD") < names.index("DATABASE_URI")
    assert "$(DATABASE_PASSWORD)" in told(container)["DATABASE_URI"]


def test_no_release_is_named_so_an_edit_of_one_touches_no_backup() -> None:
    lab = own()

    assert "iris" not in str([each.inputs for each in lab.objects()])


@pytest.mark.parametrize(
    ("agreements", "every"),
    [({}, ("0 2 * * *", 86400)), (PROMISED, ("*/30 * * * *", 1800))],
    ids=["nothing promised", "an hour"],
)
def test_backups_are_as_often_as_was_promised(
    agreements: dict[str, Any], every: tuple[str, int]
) -> None:
    spec = room(agreements=agreements).one("CronJob", "backup").spec

    assert (spec["schedule"], spec["startingDeadlineSeconds"]) == every
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] >= 3600
    assert "suspend" not in spec


@pytest.mark.parametrize("verb", ["restore", "check"])
def test_some_start_only_when_somebody_asks(verb: str) -> None:
    assert own().one("CronJob", verb).spec["suspend"] is True


def test_a_restore_that_stopped_half_way_is_not_tried_again() -> None:
    template = own().one("CronJob", "restore").spec["jobTemplate"]["spec"]

    assert template["backoffLimit"] == 0


def test_a_drill_leaves_nothing_behind() -> None:
    spec = job(own(), "drill")

    assert {key for volume in spec["volumes"] for key in volume} == {
        *("name", "emptyDir", "secret"),
    }
    limits = {v["name"]: v["emptyDir"] for v in spec["volumes"] if "emptyDir" in v}
    for name in ("staging", "objects", "data"):
        assert limits[name] == {"sizeLimit": "20Gi"}


def test_a_drill_has_a_store_and_a_database_before_it_begins() -> None:
    spec = job(own(), "drill")

    store, database = spec["initContainers"]
    assert (store["name"], database["name"]) == ("store", "database")
    for sidecar in (store, database):
        assert sidecar["restartPolicy"] == "Always"
        assert sidecar["startupProbe"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    for each in (*spec["containers"], store, database):
        assert {mount["name"] for mount in each["volumeMounts"]} <= volumes


def test_a_drill_s_store_and_database_answer_to_the_keys_that_it_has() -> None:
    lab = own()
    [container] = job(lab, "drill")["containers"]
    variables = told(container)

    for name in ("STORE_KEY_ID", "STORE_SECRET", "DATABASE_PASSWORD"):
        asked = variables[name]["secretKeyRef"]
        [secret] = [
            each
            for each in objects_in(lab, "example-drill")
            if each.kind == "Secret" and each.metadata["name"] == asked["name"]
        ]
        assert len(secret.inputs["stringData"][asked["key"]]) >= 12
    assert variables["STORE_ENDPOINT"] == "http://127.0.0.1:9000"
    assert variables["DATABASE_URI"].endswith("@127.0.0.1:5432/mlflow")
    assert ADDRESS not in str(variables)


@pytest.mark.parametrize("days", [1, 7, 31])
def test_drills_are_never_further_apart_than_was_set(days: int) -> None:
    minute, hour, day, month, weekday = schedule(days).split()

    assert (minute.isdigit(), hour.isdigit(), month, weekday) == (True, True, "*", "*")
    assert day == f"*/{days}"


def test_no_pod_has_rights_that_it_does_not_need() -> None:
    lab = own()

    for container in containers(lab):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    for namespace in lab.all("Namespace"):
        enforced = "pod-security.kubernetes.io/enforce"
        assert namespace.metadata["labels"][enforced] == "restricted"


def test_every_resource_belongs_to_the_own() -> None:
    lab = own()

    assert lab.declared[0].type == "labfactory:components:Backups"
    parents = {each.parent for each in lab.declared[1:]}
    assert parents == {"backups", "backups-store"}


@pytest.mark.parametrize("backups", [OWN, THEIRS], ids=["own", "theirs"])
def test_the_images_that_it_runs_are_on_the_node(backups: dict[str, Any]) -> None:
    lab = room(backups)
    used = {
        container["image"].removeprefix("images/").removesuffix(":1")
        for container in (
            *containers(lab),
            *(each for _, _, spec in lab.pods() for each in spec["containers"]),
        )
    }

    settings = config(backups)
    assert "keeper" in used
    assert used <= set(cluster.needed_images(settings))
    assert used <= set(wanted_images(settings))
    bare = LabConfig.model_validate(example(agreements={}, backups=None))
    assert "keeper" not in cluster.needed_images(bare)
    assert "keeper" not in wanted_images(bare)


# What is measured


def test_kubernetes_tells_of_the_room_s_namespaces_where_somebody_listens() -> None:
    def readers(lab: Lab) -> list[str]:
        roles = [r for r in lab.all("Role") if r.metadata["name"] == "state-metrics"]
        return [each.metadata["namespace"] for each in roles]

    assert set(readers(own())) == {"example-drill", "example-backups"}
    unwatched = {"template": "mlflow", "variants": {"v1": variant()}}
    bare = room(
        monitoring=None, guard=None, agreements={}, releases={"iris": unwatched}
    )
    assert readers(bare) == []


def test_every_series_that_an_alert_asks_for_is_told_by_kubernetes() -> None:
    asked = {
        name
        for alert in alerts.alerts(240, 7)
        for name in re.findall(r"\bkube_[a-z_]+", alert.expr)
    }

    assert asked
    assert asked <= set(state_metrics.SERIES)


def test_a_backup_is_late_by_what_was_promised_or_by_a_day_and_some_hours() -> None:
    def limit(rpo: int | None) -> str:
        [late] = [a for a in alerts.alerts(rpo, 7) if a.name == "BackupLate"]
        [found] = re.findall(r"> (\d+)", late.expr)
        return str(found)

    assert limit(60) == "3600"
    assert limit(None) == "108000"
