"""Stories on a real cluster: a rollback that stays, files, a vendor, the docs."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from components.credentials import certificate
from labfactory import paths
from labfactory.demo.story import CLASSIFIER, REGRESSOR, Demo, ask, only
from labfactory.errors import LabError
from labfactory.releases import batch, changes, rollback
from labfactory.releases.planning.plan import plan
from labfactory.releases.rollback import roll_back
from labfactory.releases.routes import connect
from labfactory.releases.status import status
from tests.harness import SEED
from tests.live_lab import compared, core, eventually, pulumi, unwatched

pytestmark = pytest.mark.live

MODEL = CLASSIFIER.model


@pytest.fixture(scope="module")
def rows(lab: Demo) -> pd.DataFrame:
    """Rows of the classifier, which is released in two versions."""
    for version in (1, 2):
        lab.train(CLASSIFIER, version)
    first = lab.registry.resolve(MODEL, "1")
    lab.edit(lambda tree: unwatched(only(tree, MODEL, first), MODEL))
    lab.release(CLASSIFIER, 2, traffic=10)
    lab.outputs = lab.apply()
    expected = json.loads(lab.registry.run_artifact(first.run_id, "expected.json"))
    return pd.DataFrame(expected["rows"], columns=expected["columns"])


def served_by(demo: Demo, rows: pd.DataFrame) -> set[str]:
    """Who answers, over twenty requests."""
    one = rows.head(1).to_numpy().tolist()
    return {ask(demo.outputs, MODEL, one)["served_by"] for _ in range(20)}


def canary_again(demo: Demo) -> None:
    """v1 with nine requests in ten, v2 with the tenth."""

    def operation(tree: dict[str, Any]) -> dict[str, Any]:
        variants = tree["releases"][MODEL]["variants"]
        variants["v1"].update(role="stable", traffic=90)
        variants["v2"].update(role="candidate", traffic=10)
        variants["v2"].pop("because", None)
        return tree

    demo.edit(operation)
    demo.outputs = demo.apply()


@pytest.fixture
def checkout(lab: Demo, tmp_path: Path) -> Iterator[Path]:
    """A copy of the project that keeps the lab's settings in git."""
    copy = tmp_path / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=paths.PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in [*listed, f"stacks/{lab.stack.file.name}"]:
        if (paths.PROJECT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(paths.PROJECT / name, copy / name)
    (copy / ".venv").symlink_to(paths.PROJECT / ".venv")
    git(copy, "init", "--quiet", "--initial-branch=main")
    git(copy, "config", "user.name", "On Call")
    git(copy, "config", "user.email", "oncall@example.com")
    git(copy, "add", ".")
    git(copy, "add", "--force", f"stacks/{lab.stack.file.name}")
    git(copy, "commit", "--quiet", "-m", "The lab as it is")
    yield copy
    shutil.copy2(copy / "stacks" / lab.stack.file.name, lab.stack.file)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
    ).stdout


def shell(folder: Path, command: str, lab: Demo) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", command],
        cwd=folder,
        env={**os.environ, "LABFACTORY_LAB": lab.stack.name},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_rollback_takes_effect_and_git_log_tells_why_and_pulumi_agrees(
    lab: Demo, rows: pd.DataFrame, checkout: Path
) -> None:
    before = lab.services()

    done = shell(
        checkout, f'./lab rollback {MODEL} --because "malign rows come out benign"', lab
    )

    assert done.returncode == 0, done.stderr
    assert served_by(lab, rows) == {f"{MODEL}-v1"}
    assert lab.services() == before
    log = git(checkout, "log", "-1", "--format=%an%n%B", "--stat")
    assert log.startswith(f"On Call\nRoll back {MODEL}: v2 taken back\n")
    assert "malign rows come out benign" in log
    assert "Rolled-back-by:" in log
    assert f"stacks/{lab.stack.file.name} |" in log
    assert git(checkout, "status", "--porcelain") == ""
    agreed = shell(checkout, "./lab plan --json", lab)
    assert agreed.returncode == 0, agreed.stdout
    with connect(lab.settings.cluster.context, lab.settings.name) as routes:
        assert routes.verdicts() == []


def test_a_pulumi_up_before_the_settings_say_it_never_brings_the_bad_one_back(
    lab: Demo, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary_again(lab)

    def dies(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rollback, "write_back", dies)
        with pytest.raises(KeyboardInterrupt):
            roll_back(lab.stack.name, MODEL, because="errors")
    assert lab.settings.releases[MODEL].variants["v2"].role == "candidate"
    assert served_by(lab, rows) == {f"{MODEL}-v1"}
    [half_done] = status(lab.stack.name).half_done
    assert "errors" in half_done
    assert "finishes it" in half_done

    done = pulumi(lab, "up", "--yes", "--skip-preview", "--stack", lab.stack.name)
    assert done.returncode == 0, done.stdout
    assert served_by(lab, rows) == {f"{MODEL}-v1"}

    lab.outputs = lab.apply()
    assert lab.settings.releases[MODEL].variants["v2"].because == "errors"
    assert served_by(lab, rows) == {f"{MODEL}-v1"}
    assert status(lab.stack.name).half_done == ()
    assert lab.stack.changes() == {}


def test_a_plan_gives_every_reason_against_a_change_at_once(
    lab: Demo, rows: pd.DataFrame
) -> None:
    canary_again(lab)
    good = lab.stack.file.read_bytes()
    assert plan(lab.stack.name).exit_code == 0

    def lose_the_stable(tree: dict[str, Any]) -> dict[str, Any]:
        variants = tree["releases"][MODEL]["variants"]
        del variants["v1"]
        variants["v2"].update(role="stable", traffic=100)
        del tree["releases"][REGRESSOR.model]
        return tree

    lab.edit(lose_the_stable)
    found = plan(lab.stack.name)
    lab.stack.file.write_bytes(good)

    assert found.exit_code == 1
    text = "\n".join(found.refusals)
    assert "variant 'v1' answers requests now, and would be gone" in text
    assert f"release {REGRESSOR.model!r}: answers requests now" in text


def test_there_is_no_way_back_to_a_model_that_the_store_has_lost(
    lab: Demo, rows: pd.DataFrame
) -> None:
    canary_again(lab)
    good = lab.stack.file.read_bytes()
    lab.edit(lambda tree: changes.weigh(tree, MODEL, {"v2": 100}))
    lab.outputs = lab.apply()
    pinned = lab.settings.releases[MODEL].variants["v1"].pinned
    key = f"{pinned.artifact.removeprefix('s3://mlflow/')}/MLmodel"
    client = root(lab)
    kept = client.get_object(Bucket="mlflow", Key=key)["Body"].read()
    client.put_object(Bucket="mlflow", Key=key, Body=kept + b"\n")

    def only_the_new_one(tree: dict[str, Any]) -> dict[str, Any]:
        variants = tree["releases"][MODEL]["variants"]
        del variants["v1"]
        variants["v2"].update(role="stable")
        return tree

    lab.edit(only_the_new_one)
    refused = plan(lab.stack.name)
    waived = plan(lab.stack.name, no_way_back="v1 is worse in every way")
    client.put_object(Bucket="mlflow", Key=key, Body=kept)
    allowed = plan(lab.stack.name)
    lab.stack.file.write_bytes(good)
    canary_again(lab)

    [refusal] = refused.refusals
    assert "there is no way back to 'v1'" in refusal
    assert "sha256:" in refusal
    assert (waived.exit_code, allowed.exit_code) == (2, 2)


def secret(demo: Demo, name: str) -> dict[str, str]:
    data = core(demo).read_namespaced_secret(name, demo.settings.name).data
    return {key: base64.b64decode(text).decode() for key, text in data.items()}


def s3(demo: Demo, key_id: str, key: str) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=demo.outputs["storage_url"],
        region_name="us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key=key,
    )


def root(demo: Demo) -> Any:
    """A client of the lab's store that may do everything."""
    found = secret(demo, "minio-root")
    return s3(demo, found["MINIO_ROOT_USER"], found["MINIO_ROOT_PASSWORD"])


def put(demo: Demo, key: str, frame: pd.DataFrame) -> str:
    """Put a Parquet file into the bucket of data sets; return its address."""
    content = io.BytesIO()
    frame.to_parquet(content)
    root(demo).put_object(Bucket="datasets", Key=key, Body=content.getvalue())
    return f"s3://datasets/{key}"


def with_files(tree: dict[str, Any]) -> dict[str, Any]:
    tree["releases"][MODEL]["serve"] = ["api", "batch"]
    return tree


@pytest.fixture
def with_batch(lab: Demo, rows: pd.DataFrame) -> None:
    lab.edit(with_files)


def predictions(demo: Demo, folder: str) -> pd.DataFrame:
    bucket, _, prefix = folder.removeprefix("s3://").partition("/")
    client = root(demo)
    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/part-")
    parts = [
        pd.read_parquet(
            io.BytesIO(client.get_object(Bucket=bucket, Key=o["Key"])["Body"].read())
        )
        for o in listed["Contents"]
    ]
    return pd.concat(parts).sort_values("row", ignore_index=True)


@pytest.mark.usefixtures("with_batch")
def test_files_and_requests_get_the_same_answers(lab: Demo, rows: pd.DataFrame) -> None:
    address = put(lab, "rows.parquet", rows)
    folder = "s3://predictions/first"

    summary = batch.run(lab.stack.name, MODEL, address, folder)

    assert summary is not None
    found = predictions(lab, folder)

    def of_stable() -> Any:
        answer = ask(lab.outputs, MODEL, rows.to_numpy().tolist())
        return answer["served_by"] == f"{MODEL}-v1" and answer

    answered = eventually("the stable variant answers", of_stable)
    assert found["prediction"].tolist() == answered["predictions"]
    again = batch.run(lab.stack.name, MODEL, address, folder)
    assert again == summary


@pytest.mark.usefixtures("with_batch")
def test_rows_that_the_model_does_not_take_are_counted_with_the_reason(
    lab: Demo, rows: pd.DataFrame
) -> None:
    bad = pd.concat([rows] * 50, ignore_index=True)
    bad.loc[[7, 700], bad.columns[0]] = None
    address = put(lab, "bad.parquet", bad)

    summary = batch.run(
        lab.stack.name, MODEL, address, "s3://predictions/bad", parallelism=2
    )

    assert summary is not None
    assert (summary["rows"], summary["predicted"]) == (1000, 998)
    assert sum(summary["rejected"].values()) == 2


@pytest.mark.usefixtures("with_batch")
def test_an_input_without_the_model_s_columns_is_refused_in_a_sentence(
    lab: Demo, rows: pd.DataFrame
) -> None:
    column = rows.columns[3]
    address = put(lab, "narrow.parquet", rows.drop(columns=column))

    with pytest.raises(LabError, match=re.escape(column)):
        batch.run(lab.stack.name, MODEL, address, "s3://predictions/narrow")


VENDOR = """
import json, ssl, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Vendor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != "Bearer not-a-secret":
            return self.reply(401, b"{}")
        labels = ["benign" for _ in sent["records"]]
        found = {"results": [{"label": label} for label in labels]}
        self.reply(200, json.dumps(found).encode())

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("", 8443), Vendor)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


HOST = "vendor.default.svc"


@pytest.fixture
def vendor(lab: Demo) -> Iterator[str]:
    """Somebody else's endpoint in the cluster; its authority's certificate (PEM)."""
    tls = certificate(SEED, "vendor", [HOST], date.today())
    data = {"tls.crt": tls.certificate, "tls.key": tls.key, "vendor.py": VENDOR}
    api = core(lab)
    pod = {
        "metadata": {"name": "vendor", "labels": {"app": "vendor"}},
        "spec": {
            "containers": [
                {
                    "name": "vendor",
                    "image": lab.outputs["lab_image"],
                    "command": ["python3", "/tls/vendor.py"],
                    "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
                }
            ],
            "volumes": [{"name": "tls", "secret": {"secretName": "vendor"}}],
        },
    }
    port = {"port": 443, "targetPort": 8443}
    service = {"selector": {"app": "vendor"}, "ports": [port]}
    meta = {"metadata": {"name": "vendor"}}
    api.create_namespaced_secret("default", {**meta, "stringData": data})
    api.create_namespaced_pod("default", pod)
    api.create_namespaced_service("default", {**meta, "spec": service})
    yield tls.authority
    api.delete_namespaced_service("vendor", "default")
    api.delete_namespaced_pod("vendor", "default", grace_period_seconds=0)
    api.delete_namespaced_secret("vendor", "default")


def test_a_vendor_s_endpoint_is_a_variant_like_any_other(
    lab: Demo, rows: pd.DataFrame, vendor: str
) -> None:
    canary_again(lab)
    good = lab.stack.file.read_bytes()
    set_key = ("config", "set", "--secret", "--stack", lab.stack.name)
    done = pulumi(lab, *set_key, "external-vendor", "not-a-secret")
    assert done.returncode == 0, done.stderr

    def operation(tree: dict[str, Any]) -> dict[str, Any]:
        variants = tree["releases"][MODEL]["variants"]
        del variants["v2"]
        variants["v1"]["traffic"] = 100
        variants["vendor"] = {
            "role": "shadow",
            "mirror": 100,
            "external": {
                "url": f"https://{HOST}/v1/score",
                "key": "vendor",
                "request": "{records: rows}",
                "response": "results[].label",
                "cost_per_call": 0.002,
                "trust": vendor,
            },
        }
        return tree

    lab.edit(operation)
    lab.outputs = lab.apply()
    some = rows.to_numpy().tolist()

    previewed = httpx.post(
        f"{lab.outputs['gateway_url']}/preview/vendor/v1/models/{MODEL}:predict",
        headers={"Host": lab.outputs["model_hosts"][MODEL]},
        json={"instances": some},
        timeout=10,
    )
    assert previewed.json()["predictions"] == ["benign"] * len(some)
    assert previewed.json()["served_by"] == f"{MODEL}-vendor"
    for _ in range(20):
        assert ask(lab.outputs, MODEL, some)["served_by"] == f"{MODEL}-v1"

    def both() -> Any:
        figures = compared(lab, MODEL)
        agreed = figures["vendor"].agreement
        return agreed and agreed.requests >= 20 and figures

    figures = eventually("both are in the log", both, within=60)
    share = figures["vendor"].agreement.share
    own = ask(lab.outputs, MODEL, some)["predictions"]
    assert share == pytest.approx(own.count("benign") / len(own))
    assert figures["vendor"].cost == pytest.approx(2.0)
    assert figures["v1"].cost > 0
    lab.stack.file.write_bytes(good)
    pulumi(lab, "config", "rm", "--stack", lab.stack.name, "external-vendor")
    canary_again(lab)


def test_the_docs_commands_work_one_after_the_other(
    lab: Demo, rows: pd.DataFrame, request: pytest.FixtureRequest
) -> None:
    canary_again(lab)
    lab.edit(lambda tree: changes.promote(tree, MODEL))
    lab.edit(with_files)
    lab.outputs = lab.apply()
    put(lab, "rows.parquet", rows)
    checkout: Path = request.getfixturevalue("checkout")
    pages = [
        (checkout / "docs" / f"{name}.md").read_text()
        for name in ("releases", "guard", "monitoring")
    ]
    blocks = re.findall(r"```sh\n(.*?)```", "\n".join(pages), re.S)

    script = "\n".join(["set -x", *blocks]).replace("=demo", f"={lab.stack.name}")
    done = shell(checkout, script, lab)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    subjects = git(checkout, "log", "--format=%s").splitlines()
    assert f"Promote {MODEL}" in subjects
    assert f"Roll back {MODEL}: v2 taken back" in subjects
