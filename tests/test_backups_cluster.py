"""What backups say to a cluster, over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from labfactory.backups.cluster import Cluster
from labfactory.backups.quiet import ways
from labfactory.errors import LabError

NAME = "/api/v1/namespaces/lab"


class Api:
    """The objects of an API server, and what it was asked."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.refuses = False

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        path = path.partition("?")[0]
        self.asked.append((method, path, body))
        if self.refuses:
            return 403, {"kind": "Status", "message": "you may not", "code": 403}
        if method == "PATCH" and body and "kind" in body:
            self.objects[path] = body
        if path not in self.objects:
            return 404, {"kind": "Status", "message": "not found", "code": 404}
        if method == "DELETE":
            del self.objects[path]
            return 200, {"kind": "Status", "status": "Success"}
        return 200, self.objects[path]


def reachable(home: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Write a kubeconfig whose context `c` is an API server on this machine."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    path = home / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))


@pytest.fixture
def api(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    found = Api()

    class Handler(BaseHTTPRequestHandler):
        def handle_it(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length)
            status, answer = found.answer(
                self.command, self.path, json.loads(text) if text else None
            )
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PATCH = do_DELETE = handle_it

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        reachable(home, monkeypatch, server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def test_what_is_absent_is_none_and_not_an_error(api: Api) -> None:
    with Cluster("c") as cluster:
        assert cluster.config_map("lab", "keeper") is None
        assert cluster.secret("lab", "keeper-repository") is None
        assert cluster.cron_job("lab", "backup") is None
        assert not cluster.has_namespace("lab")
        cluster.scale("lab", "feedback", 0)
        cluster.suspend("lab", "backup", True)
        cluster.remove_secret("lab", "keeper-source")
        cluster.remove_policy("lab", "keeper-source")


def test_a_secret_comes_back_as_it_was_written(api: Api) -> None:
    with Cluster("c") as cluster:
        cluster.write_secret("lab", "lab-record", {"at": b"now"}, "vision")

        assert cluster.secret("lab", "lab-record") == {"at": "now"}

    written = api.objects[f"{NAME}/secrets/lab-record"]
    assert written["metadata"]["labels"]["labfactory.io/owner"] == "vision"


def test_policies_are_written_where_they_belong_and_removed(api: Api) -> None:
    with Cluster("c") as cluster:
        for namespace, policy in ways("other", "lab"):
            cluster.write_policy(namespace, policy)
        [ours, theirs] = sorted(api.objects)
        spec = api.objects[theirs]["spec"]
        cluster.remove_policy("lab", "keeper-source")

    assert "/namespaces/lab/networkpolicies/keeper-source" in ours
    assert "/namespaces/other-backups/networkpolicies/keeper-source" in theirs
    [rule] = spec["ingress"]
    assert rule["from"][0]["podSelector"]["matchLabels"] == {
        "batch.kubernetes.io/job-name": "restore-now"
    }
    assert [*api.objects] == [theirs]


def test_a_lab_restored_from_its_own_backups_needs_no_other_way() -> None:
    assert ways("lab", "lab") == []


def test_deployments_and_cronjobs_are_changed_and_nothing_else_of_them(
    api: Api,
) -> None:
    deployment = "/apis/apps/v1/namespaces/lab/deployments/mlflow"
    cron_job = "/apis/batch/v1/namespaces/lab/cronjobs/backup"
    for path, kind in ((deployment, "Deployment"), (cron_job, "CronJob")):
        spec: dict[str, Any] = {"selector": {}, "template": {}}
        api.objects[path] = {"kind": kind, "metadata": {"name": "x"}, "spec": spec}

    with Cluster("c") as cluster:
        cluster.scale("lab", "mlflow", 0)
        cluster.suspend("lab", "backup", True)

    assert api.asked == [
        ("PATCH", deployment, {"spec": {"replicas": 0}}),
        ("PATCH", cron_job, {"spec": {"suspend": True}}),
    ]


def test_jobs_and_pods_are_counted(api: Api) -> None:
    job = {"metadata": {"name": "backup-1", "ownerReferences": []}}
    api.objects["/apis/batch/v1/namespaces/lab/jobs"] = {"items": [job], "metadata": {}}
    pods = {"items": [{"metadata": {"name": "mlflow-1"}}], "metadata": {}}
    api.objects[f"{NAME}/pods"] = pods

    with Cluster("c") as cluster:
        [found] = cluster.jobs("lab")
        assert found["metadata"]["name"] == "backup-1"
        assert cluster.pods("lab", "mlflow") == 1


def test_a_cluster_that_refuses_is_told_with_what_it_refused(api: Api) -> None:
    api.refuses = True

    with (
        Cluster("c") as cluster,
        pytest.raises(
            LabError, match=r"can't read the Secret x in lab \(.*you may not"
        ),
    ):
        cluster.secret("lab", "x")


def test_a_cluster_that_is_away_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reachable(home, monkeypatch, 9)

    with Cluster("c") as cluster, pytest.raises(LabError, match="does not answer"):
        cluster.has_namespace("lab")
