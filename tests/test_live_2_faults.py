"""The fault list: break each part of a living lab, and see that nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from kubernetes import client

from labfactory import embedded, environment, paths
from labfactory.demo.story import CLASSIFIER, EXAMPLES, REGRESSOR, Demo, only
from labfactory.errors import LabError
from tests.live_lab import cluster, core, eventually, pods, ready

pytestmark = pytest.mark.live

NODE = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "containerd",
    "kubelet",
)
PODS = (
    ("labtest", "minio"),
    ("labtest", "postgres"),
    ("labtest", "mlflow"),
    ("labtest", f"{REGRESSOR.model}-v1-predictor"),
    ("kserve", "kserve-controller-manager"),
    ("projectcontour", "contour"),
    ("projectcontour", "envoy"),
)


def nothing_is_lost(demo: Demo) -> bool:
    """Runs, registered models and stored objects are there, and models answer."""
    return all(
        demo.registry.versions(example.model) and demo.check(example)
        for example in EXAMPLES
    )


def all_ready(demo: Demo) -> bool:
    spaces = (demo.settings.name, "kserve", "projectcontour", "kube-system")
    return all(ready(pod) for space in spaces for pod in pods(demo, space))


@pytest.mark.parametrize("name", NODE)
def test_a_killed_process_of_the_node_is_started_again(lab: Demo, name: str) -> None:
    old = embedded.processes(cluster(lab))[name]
    os.kill(old, signal.SIGKILL)

    eventually(
        f"a new {name}",
        lambda: embedded.processes(cluster(lab)).get(name, old) != old,
    )
    eventually("all pods ready", lambda: all_ready(lab), within=180)
    eventually("nothing is lost", lambda: nothing_is_lost(lab))


@pytest.mark.parametrize(("namespace", "name"), PODS, ids=lambda part: str(part))
def test_a_killed_pod_comes_back_with_its_data(
    lab: Demo, namespace: str, name: str
) -> None:
    [old, *_] = [p for p in pods(lab, namespace) if p.metadata.name.startswith(name)]
    core(lab).delete_namespaced_pod(
        old.metadata.name, namespace, grace_period_seconds=0
    )

    def back() -> bool:
        own = [p for p in pods(lab, namespace) if p.metadata.name.startswith(name)]
        return any(p.metadata.uid != old.metadata.uid and ready(p) for p in own)

    eventually(f"{name} is back", back, within=180)
    eventually("nothing is lost", lambda: nothing_is_lost(lab))


def test_everything_dying_at_once_is_a_reboot_that_up_recovers_from(lab: Demo) -> None:
    versions = {e.model: lab.registry.versions(e.model) for e in EXAMPLES}
    os.kill(embedded.processes(cluster(lab))["supervisor"], signal.SIGKILL)
    eventually("all gone", lambda: not embedded.running(cluster(lab)))

    lab.outputs = lab.apply()

    eventually("all pods ready", lambda: all_ready(lab), within=240)
    eventually("nothing is lost", lambda: nothing_is_lost(lab))
    assert {e.model: lab.registry.versions(e.model) for e in EXAMPLES} == versions


def test_stop_and_start_brings_back_the_same_lab(lab: Demo) -> None:
    embedded.down(cluster(lab), progress=lab.progress)
    assert embedded.leftovers(cluster(lab)) == []

    lab.outputs = lab.apply()

    eventually("all pods ready", lambda: all_ready(lab), within=240)
    eventually("nothing is lost", lambda: nothing_is_lost(lab))


def toggle(demo: Demo) -> None:
    """Edit the settings to the version that is not served now."""
    version = 1 if "v2" in demo.settings.releases[CLASSIFIER.model].variants else 2
    found = demo.registry.resolve(CLASSIFIER.model, str(version))
    demo.edit(lambda tree: only(tree, CLASSIFIER.model, found))


def killed_up(demo: Demo, moment: int) -> bool:
    """Run `pulumi up` and kill it -9 at its n-th line about an object; did it land?"""
    process = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--stack", demo.stack.name],
        cwd=paths.PROJECT,
        env={**os.environ, **environment.variables()},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    with process.stdout:
        objects = (line for line in process.stdout if "kubernetes:" in line)
        landed = any(count == moment for count, _ in enumerate(objects, start=1))
        process.kill()
    process.wait()
    return landed


@pytest.mark.parametrize("moment", [1, 2, 4, 6, 8, 10])
def test_a_pulumi_that_was_killed_never_needs_a_manual_edit(
    lab: Demo, moment: int
) -> None:
    toggle(lab)

    assert killed_up(lab, moment)
    lab.outputs = lab.apply()

    assert lab.stack.changes() == {}
    assert nothing_is_lost(lab)


def run_lab(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "labfactory", *words],
        cwd=paths.PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_an_interrupted_up_gives_its_lock_back_and_the_next_continues(
    lab: Demo,
) -> None:
    for seconds in (0.5, 2.0, 4.0, 6.0):
        toggle(lab)
        process = run_lab("up", lab.stack.name)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        shown, _ = process.communicate(timeout=120)
        assert "Traceback" not in shown

    lab.outputs = lab.apply()
    assert lab.stack.changes() == {}


def test_of_two_ups_at_once_one_says_who_holds_the_lab(lab: Demo) -> None:
    runs = [run_lab("up", lab.stack.name) for _ in range(2)]
    shown = [run.communicate(timeout=180)[0] for run in runs]

    codes = sorted(run.returncode for run in runs)
    assert codes in ([0, 0], [0, 1]), shown
    if codes == [0, 1]:
        [refused] = [s for r, s in zip(runs, shown, strict=True) if r.returncode == 1]
        assert "another `lab` (process" in refused


def test_a_wrong_passphrase_is_a_sentence_and_changes_nothing(
    lab: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "passphrase"
    wrong.write_text("not the one")
    before = lab.stack.file.read_bytes()
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(wrong))

    with pytest.raises(LabError, match="another passphrase than the one in") as error:
        lab.apply()

    assert str(wrong) in str(error.value)
    assert lab.stack.file.read_bytes() == before


def test_a_mistake_in_the_settings_touches_nothing(lab: Demo) -> None:
    good = lab.stack.file.read_text()
    lab.stack.file.write_text(good.replace("releases:", "relases:"))
    try:
        shown, _ = (process := run_lab("up", lab.stack.name)).communicate(timeout=60)
    finally:
        lab.stack.file.write_text(good)

    assert process.returncode == 1
    assert "releases" in shown
    assert "Traceback" not in shown
    assert lab.stack.changes() == {}


def test_a_full_object_store_says_so_and_goes_on_when_there_is_room(
    lab: Demo,
) -> None:
    import boto3
    from botocore.exceptions import ClientError

    # A small file system over the store's folder stands for a volume that is full.
    [volume] = (paths.cluster(cluster(lab)) / "volumes").glob(
        f"*_{lab.settings.name}_minio*"
    )
    supervisor = psutil.Process(embedded.processes(cluster(lab))["supervisor"])
    apps = client.AppsV1Api(environment.kubernetes(lab.settings.cluster.context))
    inside = ["nsenter", f"--target={supervisor.pid}", "--mount", "--pid"]
    where = f"/run/labfactory/volumes/{volume.name}"
    store = core(lab).read_namespaced_secret("storage-tracking", lab.settings.name)
    from base64 import b64decode

    def s3() -> object:
        return boto3.client(
            "s3",
            endpoint_url=lab.outputs["storage_url"],
            region_name="us-east-1",
            aws_access_key_id=b64decode(store.data["AWS_ACCESS_KEY_ID"]).decode(),
            aws_secret_access_key=b64decode(
                store.data["AWS_SECRET_ACCESS_KEY"]
            ).decode(),
        )

    def fill() -> None:
        for part in range(30):
            try:
                s3().put_object(  # type: ignore[attr-defined]
                    Bucket="mlflow", Key=f"big-{part}", Body=os.urandom(8 * 2**20)
                )
            except ClientError as error:
                # What MinIO says of the write in which the room runs out, now and
                # then; of the next one it says what is wrong.
                if "IncompleteBody" not in str(error):
                    raise

    def scale_store(replicas: int) -> None:
        apps.patch_namespaced_stateful_set_scale(
            "minio", lab.settings.name, {"spec": {"replicas": replicas}}
        )

        def done() -> bool:
            own = [
                p
                for p in core(lab).list_namespaced_pod(lab.settings.name).items
                if p.metadata.name == "minio-0"
            ]
            return len(own) == replicas and all(ready(pod) for pod in own)

        eventually(f"{replicas} stores", done, within=120)

    small = (
        f"cp -a {where} /run/store && mount -t tmpfs -o size=64m,mode=777 full {where}"
        f" && cp -a /run/store/. {where}/"
    )
    scale_store(0)
    subprocess.run([*inside, "sh", "-c", small], check=True)
    try:
        scale_store(1)
        with pytest.raises(ClientError, match=r"XMinioStorageFull|no space left"):
            fill()
        assert nothing_is_lost(lab)  # reading goes on
    finally:
        scale_store(0)
        subprocess.run([*inside, "umount", where], check=True)
        scale_store(1)
    assert eventually("nothing is lost", lambda: nothing_is_lost(lab))
    s3().put_object(Bucket="mlflow", Key="small", Body=b"room again")  # type: ignore[attr-defined]


def test_callers_see_no_error_while_the_gateways_controller_restarts(
    lab: Demo,
) -> None:
    failures: list[str] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.wait(0.05):
            try:
                lab.check(REGRESSOR)
            except Exception as error:
                failures.append(repr(error))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    [pod] = [
        p for p in pods(lab, "projectcontour") if p.metadata.name.startswith("contour")
    ]
    core(lab).delete_namespaced_pod(pod.metadata.name, "projectcontour")
    eventually("contour is back", lambda: all_ready(lab), within=120)
    stop.set()
    asking.join()
    assert failures == []
