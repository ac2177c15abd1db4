"""Promises kept on a real cluster: budget, backups, drills, a lab that comes back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from kubernetes import client
from mlflow import MlflowClient

from labfactory import environment, paths
from labfactory.agreements.kept import accounts
from labfactory.agreements.measured import measured
from labfactory.backups import jobs
from labfactory.backups.cluster import Cluster
from labfactory.backups.history import BACKUPS as BACKUPS_LIST
from labfactory.backups.history import (
    DRILLS,
    Backup,
    Drill,
    drill_namespace,
    entries,
)
from labfactory.backups.restore import restore
from labfactory.demo.story import CLASSIFIER, REGRESSOR, Demo, ask
from labfactory.errors import LabError
from labfactory.inventory.collect import inventory
from labfactory.releases.models.registry import Registry
from labfactory.releases.planning.plan import REFUSED, plan
from policies.rules.costs import total
from tests.live_lab import core, eventually

pytestmark = pytest.mark.live

PAGES = paths.PROJECT / "docs"
MODEL = REGRESSOR.model
AGREEMENT: dict[str, Any] = {
    "consumers": ["claims"],
    "objectives": {
        "availability": 0.9,
        "latency": {"share": 0.9, "seconds": 2.5},
        "freshness_days": 30,
    },
    "cost": {"monthly": 400.0},
    "capacity": {"cpu": "8000m", "memory": "16Gi", "storage": "60Gi"},
    "recovery": {"rpo_minutes": 1440, "rto_minutes": 60},
}


@pytest.fixture(scope="module")
def kept(lab: Demo) -> Demo:
    """The lab with both models and an agreement; it has backups from the start."""
    for example in (CLASSIFIER, REGRESSOR):
        lab.train(example, 1)
        lab.release(example, 1)
    names = (CLASSIFIER.model, REGRESSOR.model)
    lab.edit(
        lambda tree: {
            **tree,
            "agreements": {"standard": AGREEMENT},
            "releases": {name: tree["releases"][name] for name in names},
        }
    )
    lab.outputs = lab.apply()
    return lab


def with_cost(tree: dict[str, Any], **cost: Any) -> dict[str, Any]:
    agreement = {**tree["agreements"]["standard"], "cost": cost}
    return {**tree, "agreements": {"standard": agreement}}


def with_more_replicas(tree: dict[str, Any]) -> dict[str, Any]:
    release = {**tree["releases"][MODEL], "replicas": 3}
    return {**tree, "releases": {**tree["releases"], MODEL: release}}


def answers(demo: Demo) -> dict[str, Any]:
    """What each trained model's release predicts for rows of its training."""
    found = {}
    for example in (CLASSIFIER, REGRESSOR):
        version = demo.registry.resolve(example.model, "1")
        text = demo.registry.run_artifact(version.run_id, "expected.json")
        rows = json.loads(text)["rows"]
        found[example.model] = ask(demo.outputs, example.model, rows)["predictions"]
    return found


def runs(demo: Demo) -> dict[str, dict[str, float]]:
    """The measured figures of every run of the tracking server, by its id."""
    tracking = MlflowClient(demo.outputs["tracking_url"])
    ids = [each.experiment_id for each in tracking.search_experiments()]
    found = tracking.search_runs(ids, max_results=1000)
    return {run.info.run_id: dict(run.data.metrics) for run in found}


def models(demo: Demo) -> set[tuple[str, str]]:
    """Every registered version."""
    found = MlflowClient(demo.outputs["tracking_url"]).search_model_versions()
    return {(each.name, str(each.version)) for each in found}


def lab_command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labfactory", *words],
        cwd=paths.PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_change_over_budget_is_refused_with_the_clause_the_sum_and_the_way_out(
    kept: Demo,
) -> None:
    before = kept.stack.file.read_bytes()
    costs = plan(kept.stack.name).costs
    assert costs
    allowed = round(total(costs.after) + 0.5, 2)
    kept.edit(lambda tree: with_more_replicas(with_cost(tree, monthly=allowed)))

    shown = lab_command("plan", kept.stack.name)
    applied = lab_command("up", kept.stack.name)

    assert shown.returncode == REFUSED, shown.stdout + shown.stderr
    for told in (shown.stdout + shown.stderr, applied.stdout + applied.stderr):
        words = " ".join(told.split())
        assert "agreements.standard.cost" in words
        assert f"{allowed:.2f} EUR" in words
        assert "override" in words
    assert applied.returncode == 1
    leave = {
        "monthly": 900.0,
        "by": "vision",
        "because": "a fair",
        "until": f"{datetime.now(UTC).date() + timedelta(days=3)}",
    }
    kept.edit(lambda tree: with_cost(tree, monthly=allowed, override=leave))
    assert plan(kept.stack.name).exit_code != REFUSED
    kept.stack.file.write_bytes(before)


def test_the_cluster_itself_keeps_the_capacity_that_was_agreed(kept: Demo) -> None:
    found = core(kept).read_namespaced_resource_quota("agreement", kept.settings.name)

    assert found.spec.hard["requests.cpu"] in ("8", "8000m")
    assert found.status.used["requests.cpu"] != "0"


def test_the_pages_commands_work_one_after_the_other(
    kept: Demo, tmp_path: Path
) -> None:
    pages = [(PAGES / f"{name}.md").read_text() for name in ("operations", "ci")]
    blocks = re.findall(r"```sh\n(.*?)```", "\n".join(pages), re.S)
    script = "\n".join(["set -ex", *blocks])
    script = script.replace("./lab ", f"{paths.PROJECT}/lab ")
    script = script.replace("--stack demo", f"--stack {kept.stack.name}")
    script = script.replace("pulumi preview", f"pulumi --cwd {paths.PROJECT} preview")

    done = subprocess.run(
        ["sh", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "LABFACTORY_LAB": kept.stack.name},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    written = {each.name for each in tmp_path.iterdir()}
    assert {"agreements.html", "inventory.html", "check.sarif"} <= written


def test_a_backup_holds_every_row_and_object(kept: Demo) -> None:
    with Cluster(kept.settings.cluster.context) as cluster:
        made = Backup.read(entries(cluster, kept.settings.name, BACKUPS_LIST)[-1])

    assert made.ok
    assert made.rows > 100
    assert made.objects > 10


def test_a_drill_proves_that_all_of_it_comes_back_in_the_time_that_was_promised(
    kept: Demo,
) -> None:
    with Cluster(kept.settings.cluster.context) as cluster:
        found = entries(cluster, drill_namespace(kept.settings.name), DRILLS)
        drill = Drill.read(found[-1])

    assert drill.ok
    assert drill.equal
    assert drill.predictions >= 2
    assert drill.runs == len(runs(kept))
    assert drill.rpo_seconds is not None
    assert drill.rpo_seconds < 60 * AGREEMENT["recovery"]["rpo_minutes"]
    assert drill.rto_seconds is not None
    assert drill.rto_seconds < 60 * AGREEMENT["recovery"]["rto_minutes"]


def test_what_was_promised_is_shown_beside_what_is_measured(kept: Demo) -> None:
    def told() -> dict[str, bool | None]:
        found = measured(kept.settings, kept.outputs)
        [account] = accounts(kept.settings, found, now=datetime.now(UTC))
        return {row.clause: row.kept for row in account.rows}

    def all_kept() -> bool:
        answers(kept)
        wanted = {"availability", "latency", "freshness", "capacity", "rpo", "rto"}
        return all(told()[clause] for clause in wanted)

    eventually("every clause is kept", all_kept, within=240)


def test_one_flipped_bit_in_the_second_store_is_found(kept: Demo) -> None:
    namespace = f"{kept.settings.name}-backups"
    keys = {
        key: value
        for name in ("storage-backup-writer",)
        for key, value in secret(kept, namespace, name).items()
    }
    service = core(kept).read_namespaced_service("minio", namespace)
    store = boto3.client(
        "s3",
        endpoint_url=f"http://{service.spec.cluster_ip}:9000",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    packs = store.list_objects_v2(
        Bucket="backups", Prefix=f"{kept.settings.name}/data/"
    )["Contents"]
    pack = max(packs, key=lambda each: each["Size"])["Key"]
    whole = store.get_object(Bucket="backups", Key=pack)["Body"].read()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]

    store.put_object(Bucket="backups", Key=pack, Body=flipped)
    with pytest.raises(LabError) as found:
        jobs.check(kept.stack.name)
    store.put_object(Bucket="backups", Key=pack, Body=whole)
    store.close()

    assert "damaged" in str(found.value)
    jobs.check(kept.stack.name)


def secret(demo: Demo, namespace: str, name: str) -> dict[str, str]:
    with Cluster(demo.settings.cluster.context) as cluster:
        return dict(cluster.secret(namespace, name) or {})


def test_the_inventory_has_everything_and_no_secret(kept: Demo) -> None:
    found = inventory(kept.stack.name, now=datetime.now(UTC)).document()

    assert found["unknown"] == {}
    sections = found["sections"]
    assert {MODEL, CLASSIFIER.model} <= {row["model"] for row in sections["models"]}
    assert sections["backups"]
    assert sections["drills"]
    root = secret(kept, kept.settings.name, "minio-root")["MINIO_ROOT_PASSWORD"]
    assert root not in json.dumps(found)


def test_a_restore_over_a_living_lab_is_refused_without_its_name(kept: Demo) -> None:
    with pytest.raises(LabError, match=f"--over {kept.stack.name}"):
        restore(kept.stack.name, to=kept.stack.name)


def test_a_lab_that_was_destroyed_with_its_data_comes_back_equal(kept: Demo) -> None:
    before = answers(kept), runs(kept), models(kept)
    name = kept.settings.name
    kept.stack.destroy()
    claims = client.CoreV1Api(environment.kubernetes(kept.settings.cluster.context))
    there = claims.list_persistent_volume_claim_for_all_namespaces().items
    assert {each.metadata.namespace for each in there} <= {f"{name}-backups"}

    done = restore(kept.stack.name, to=kept.stack.name)

    kept.outputs = kept.stack.outputs()
    kept.registry = Registry(
        kept.outputs["tracking_url"], bucket=kept.settings.tracking.bucket
    )
    assert (answers(kept), runs(kept), models(kept)) == before
    assert done.rto_seconds < 60 * AGREEMENT["recovery"]["rto_minutes"]
    assert kept.stack.changes() == {}
    with Cluster(kept.settings.cluster.context) as cluster:
        [*_, last] = entries(cluster, name, BACKUPS_LIST)
    assert last["snapshot"] == done.snapshot
