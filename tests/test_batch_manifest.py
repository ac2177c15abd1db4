"""Jobs that predict over files: what they may, and how they are named."""

from __future__ import annotations

from typing import Any

import pytest

from model_templates.batch import batch_cron_job, batch_job
from stacks.schema import ReleaseConfig
from tests.harness import variant

BATCH = {
    "schedule": "0 3 * * *",
    "input": "s3://data/claims",
    "output": "s3://predictions/claims",
    "parallelism": 2,
}


def release(**changes: Any) -> ReleaseConfig:
    given = {
        "template": "mlflow",
        "serve": ["api", "batch"],
        "variants": {"v1": variant()},
        **changes,
    }
    return ReleaseConfig.model_validate(given)


def job(**changes: Any) -> dict[str, Any]:
    given = {
        "input": "s3://data/claims.csv",
        "output": "s3://predictions/claims",
        "parallelism": 1,
        "image": "registry/lab:1",
        "owner": "vision",
        **changes,
    }
    return batch_job("iris", release(), "v1", **given)


def cron_job() -> dict[str, Any]:
    return batch_cron_job(
        "iris", release(batch=BATCH), image="registry/lab:1", owner="vision"
    )


def pods() -> list[dict[str, Any]]:
    scheduled = cron_job()["spec"]["jobTemplate"]["spec"]
    return [made["template"]["spec"] for made in (job()["spec"], scheduled)]


def test_the_same_call_is_the_same_job_and_another_one_is_not() -> None:
    names = {
        job(**changes)["metadata"]["name"]
        for changes in (
            {},
            {"input": "s3://data/other.csv"},
            {"output": "s3://predictions/other"},
            {"parallelism": 2},
        )
    }

    assert job() == job()
    assert len(names) == 4
    assert all(name.startswith("batch-iris-") for name in names)


def test_the_longest_names_still_name_pods() -> None:
    longest = "r" * 24
    made = batch_job(
        longest,
        release(),
        "v1",
        input="s3://data/x",
        output="s3://predictions/x",
        parallelism=64,
        image="lab:1",
        owner="vision",
    )
    scheduled = batch_cron_job(
        longest, release(batch=BATCH), image="lab:1", owner="vision"
    )

    # A pod adds its index and six characters, a CronJob's Job its minute.
    assert len(made["metadata"]["name"]) + len("-63-abcde") <= 63
    assert len(scheduled["metadata"]["name"]) <= 52


@pytest.mark.parametrize("pod", pods(), ids=["job", "cron job"])
def test_workers_pass_restricted_pod_security(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod["initContainers"], *pod["containers"]):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert {"requests", "limits"} <= container["resources"].keys()


@pytest.mark.parametrize("pod", pods(), ids=["job", "cron job"])
def test_only_the_fetch_has_the_models_keys_and_only_the_worker_the_others(
    pod: dict[str, Any],
) -> None:
    [fetch], [worker] = pod["initContainers"], pod["containers"]
    keys = {
        e["name"]: e["valueFrom"]["secretKeyRef"]["name"]
        for e in fetch["env"]
        if e["name"].endswith(("KEY_ID", "ACCESS_KEY"))
    }

    assert set(keys.values()) == {"storage-serving"}
    assert "envFrom" not in fetch
    assert worker["envFrom"] == [{"secretRef": {"name": "storage-batch"}}]
    assert not [e for e in worker["env"] if "AWS" in e["name"]]


@pytest.mark.parametrize("pod", pods(), ids=["job", "cron job"])
def test_the_model_is_proven_before_it_predicts(pod: dict[str, Any]) -> None:
    [fetch], [worker] = pod["initContainers"], pod["containers"]
    pinned = release().variants["v1"].pinned

    assert fetch["args"] == [pinned.artifact, "/mnt/models"]
    assert {"name": "LAB_DIGEST", "value": pinned.digest} in fetch["env"]
    assert f"--digest={pinned.digest}" in worker["args"]


def test_a_refusal_is_not_tried_again_and_a_kill_is() -> None:
    spec = job(parallelism=4)["spec"]
    first = spec["podFailurePolicy"]["rules"][0]

    assert first["action"] == "FailJob"
    assert first["onExitCodes"]["values"] == [42]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["backoffLimit"] >= 4


def test_several_workers_know_which_one_they_are() -> None:
    alone, four = job()["spec"], job(parallelism=4)["spec"]

    assert "completionMode" not in alone
    assert (four["completionMode"], four["completions"]) == ("Indexed", 4)
    assert "--shards=4" in four["template"]["spec"]["containers"][0]["args"]


def test_scheduled_runs_do_not_overlap_and_have_folders_of_their_own() -> None:
    spec = cron_job()["spec"]
    [worker] = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    [run] = [e for e in worker["env"] if e["name"] == "LAB_RUN"]

    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["timeZone"] == "Etc/UTC"
    assert worker["args"][:3] == [BATCH["input"], BATCH["output"], "--run=$(LAB_RUN)"]
    label = "metadata.labels['batch.kubernetes.io/job-name']"
    assert run["valueFrom"]["fieldRef"]["fieldPath"] == label


def test_a_scheduled_run_has_no_deadline_for_its_jobs_to_vanish_by() -> None:
    spec = cron_job()["spec"]["jobTemplate"]["spec"]

    assert "ttlSecondsAfterFinished" not in spec
    assert job()["spec"]["ttlSecondsAfterFinished"] > 3600
    assert "activeDeadlineSeconds" not in spec


def test_no_pod_of_a_batch_is_taken_for_a_predictor() -> None:
    labels = job()["spec"]["template"]["metadata"]["labels"]

    assert "labfactory.io/release" not in labels
    assert labels["labfactory.io/batch"] == "iris"
