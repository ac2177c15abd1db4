"""One story on a real cluster: stand up, train, release, predict, again, and back."""

from __future__ import annotations

import json
import re
import subprocess
import time

import httpx
import pytest

from labfactory import tools
from labfactory.demo.story import CLASSIFIER, EXAMPLES, REGRESSOR, Demo, ask, run
from labfactory.errors import LabError
from labfactory.paths import PROJECT
from labfactory.releases import changes
from labfactory.releases.rollback import roll_back
from tests.live_lab import core, eventually, pods, post, pulumi, ready

pytestmark = pytest.mark.live


def rows(demo: Demo, release: str) -> list[dict[str, float]]:
    found = demo.registry.resolve(release, "1")
    expected = json.loads(demo.registry.run_artifact(found.run_id, "expected.json"))
    return [
        dict(zip(expected["columns"], row, strict=True)) for row in expected["rows"]
    ]


def test_a_lab_stands_up_from_nothing(lab: Demo) -> None:
    assert httpx.get(f"{lab.outputs['tracking_url']}/health").text == "OK"
    assert httpx.get(f"{lab.outputs['storage_url']}/minio/health/live").is_success
    assert {ready(pod) for pod in pods(lab)} == {True}


def test_the_labs_namespace_refuses_a_pod_with_privileges(lab: Demo) -> None:
    bad = {
        "metadata": {"name": "root"},
        "spec": {
            "containers": [
                {"name": "c", "image": "x:1", "securityContext": {"privileged": True}}
            ]
        },
    }

    with pytest.raises(Exception, match="violates PodSecurity"):
        core(lab).create_namespaced_pod(lab.settings.name, bad)


def test_a_second_up_changes_nothing(lab: Demo) -> None:
    assert lab.stack.changes() == {}


def test_the_state_stays_small(lab: Demo) -> None:
    shown = pulumi(lab, "stack", "export", "--stack", lab.stack.name).stdout
    state = json.loads(shown)

    as_stored = json.dumps(state, separators=(",", ":"))  # the export is indented
    assert len(as_stored) < 1_500_000
    assert len(state["deployment"]["resources"]) < 200


def test_models_that_were_trained_in_the_lab_answer_through_the_gateway(
    lab: Demo,
) -> None:
    for example in EXAMPLES:
        lab.train(example, 1)
        assert lab.release(example, 1)
    lab.outputs = lab.apply()

    for example in EXAMPLES:
        assert "answers equal the model's own" in lab.check(example)


def test_a_step_of_the_demo_that_is_done_is_not_done_again(lab: Demo) -> None:
    for example in EXAMPLES:
        lab.train(example, 1)

        assert lab.registry.versions(example.model) == [1]
        assert not lab.release(example, 1)


def test_input_that_breaks_the_signature_is_refused_by_column(lab: Demo) -> None:
    [row] = rows(lab, REGRESSOR.model)[:1]
    column = sorted(row)[0]
    without = {key: value for key, value in row.items() if key != column}

    answer = post(lab, REGRESSOR.model, {"instances": [without]})

    assert answer.status_code == 400
    assert column in answer.text


def test_the_second_protocol_gives_the_same_answer(lab: Demo) -> None:
    some = rows(lab, REGRESSOR.model)[:3]
    first = ask(lab.outputs, REGRESSOR.model, some)["predictions"]

    answer = httpx.post(
        f"{lab.outputs['gateway_url']}/v2/models/{REGRESSOR.model}/infer",
        headers={"Host": lab.outputs["model_hosts"][REGRESSOR.model]},
        json={
            "inputs": [
                {
                    "name": column,
                    "shape": [len(some)],
                    "datatype": "FP64",
                    "data": [row[column] for row in some],
                }
                for column in some[0]
            ]
        },
    )

    assert answer.is_success, answer.text
    assert answer.json()["outputs"][0]["data"] == first


def test_a_better_version_touches_only_its_own_release(lab: Demo) -> None:
    lab.train(CLASSIFIER, 2)
    before = lab.services()
    assert lab.release(CLASSIFIER, 2, traffic=10)
    lab.outputs = lab.apply()
    lab.edit(lambda tree: changes.promote(tree, CLASSIFIER.model))
    lab.outputs = lab.apply()

    after = lab.services()
    assert {name: after[name] for name in before} == before
    assert "v2" in lab.check(CLASSIFIER)


def test_going_back_starts_no_pod_and_leaves_nothing_to_change(lab: Demo) -> None:
    before = lab.services()

    found = roll_back(lab.stack.name, CLASSIFIER.model, because="only a test")

    assert "v1" in lab.check(CLASSIFIER)
    assert found.verdict.rejected == ("v2",)
    lab.outputs = lab.apply()
    assert lab.services() == before
    assert "v1" in lab.check(CLASSIFIER)
    assert lab.stack.changes() == {}


@pytest.mark.parametrize(
    ("artifact", "digest", "reason"),
    [
        ("s3://mlflow/9/models/m-none/artifacts", "sha256:" + "0" * 64, "m-none"),
        (None, "sha256:" + "0" * 64, "digest"),
    ],
    ids=["no such artifact", "other content"],
)
def test_a_release_that_cannot_load_is_reported_within_a_minute_and_the_old_one_serves(
    lab: Demo, artifact: str | None, digest: str, reason: str
) -> None:
    good = lab.stack.file.read_bytes()
    old = lab.settings.releases[CLASSIFIER.model].variants["v1"].pinned
    bad = {"version": 9, "artifact": artifact or old.artifact, "digest": digest}
    lab.edit(lambda tree: changes.add(tree, CLASSIFIER.model, "v9", bad, traffic=10))
    started = time.monotonic()
    with pytest.raises(LabError, match="does not come up") as error:
        lab.apply()
    took = time.monotonic() - started

    lab.stack.file.write_bytes(good)
    assert reason in str(error.value)
    assert took < 75  # a minute to be told, and the seconds Pulumi needs to stop
    assert "v1" in lab.check(CLASSIFIER)

    lab.outputs = lab.apply()
    assert lab.stack.changes() == {}
    assert f"{CLASSIFIER.model}-v9" not in lab.services()


def test_each_consumer_of_the_store_has_only_its_own_rights(lab: Demo) -> None:
    boto3 = pytest.importorskip("boto3")
    from base64 import b64decode

    from botocore.exceptions import ClientError

    def store(secret: str) -> object:
        data = core(lab).read_namespaced_secret(secret, lab.settings.name).data
        return boto3.client(
            "s3",
            endpoint_url=lab.outputs["storage_url"],
            region_name="us-east-1",
            aws_access_key_id=b64decode(data["AWS_ACCESS_KEY_ID"]).decode(),
            aws_secret_access_key=b64decode(data["AWS_SECRET_ACCESS_KEY"]).decode(),
        )

    tracking, serving = store("storage-tracking"), store("storage-serving")
    tracking.put_object(Bucket="mlflow", Key="probe", Body=b"1")  # type: ignore[attr-defined]
    assert serving.get_object(Bucket="mlflow", Key="probe")["Body"].read() == b"1"  # type: ignore[attr-defined]
    with pytest.raises(ClientError, match="AccessDenied"):
        serving.put_object(Bucket="mlflow", Key="probe", Body=b"2")  # type: ignore[attr-defined]
    with pytest.raises(ClientError, match="AccessDenied"):
        tracking.put_object(Bucket="datasets", Key="probe", Body=b"2")  # type: ignore[attr-defined]
    versions = tracking.list_object_versions(Bucket="mlflow", Prefix="probe")  # type: ignore[attr-defined]
    assert len(versions["Versions"]) == 1


def test_plain_pulumi_works_after_lab_env(lab: Demo) -> None:
    tools.path("pulumi")
    assert pulumi(lab, "preview", "--stack", lab.stack.name).returncode == 0
    refreshed = pulumi(lab, "refresh", "--yes", "--stack", lab.stack.name)
    assert refreshed.returncode == 0, refreshed.stdout
    shown = pulumi(lab, "stack", "output", "gateway_url", "--stack", lab.stack.name)
    assert shown.stdout.strip() == lab.outputs["gateway_url"]


def test_a_refresh_leaves_nothing_to_change(lab: Demo) -> None:
    assert lab.stack.changes() == {}


def test_predictions_survive_a_new_start_of_every_pod(lab: Demo) -> None:
    name = lab.settings.name
    core(lab).delete_collection_namespaced_pod(name)

    eventually(
        "all pods ready",
        lambda: len(pods(lab)) >= 5 and all(ready(pod) for pod in pods(lab)),
        within=180,
    )
    for example in EXAMPLES:
        assert "answers equal" in lab.check(example)


def test_the_readmes_pulumi_commands_work_in_a_plain_shell(lab: Demo) -> None:
    readme = (PROJECT / "README.md").read_text()
    [block] = [b for b in re.findall(r"```sh\n(.*?)```", readme, re.S) if "eval" in b]
    commands = [line for line in block.splitlines() if "destroy" not in line]
    script = "\n".join(["set -eu", *commands]).replace("demo", lab.stack.name)
    script = re.sub(r"pulumi (up|refresh)", r"pulumi \1 --yes", script)

    done = subprocess.run(
        ["sh", "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.outputs["gateway_url"] in done.stdout


def test_the_demo_tells_its_whole_story_and_a_second_time_does_nothing_twice(
    lab: Demo, capfd: pytest.CaptureFixture[str]
) -> None:
    run(lab.stack.name)
    assert lab.outputs["tracking_url"] in capfd.readouterr().out

    lab.outputs = lab.stack.outputs()

    before = lab.services()
    run(lab.stack.name)
    shown = capfd.readouterr()
    assert "train" not in shown.err
    assert lab.services() == before

    request = shown.out[shown.out.index("curl ") :]
    answer = subprocess.run(
        ["sh", "-c", request], capture_output=True, text=True, check=True
    )
    assert "predictions" in json.loads(answer.stdout)
