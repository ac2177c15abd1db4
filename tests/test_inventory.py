"""`lab inventory`: what is asked, what is made of it, and how it is shown."""

from __future__ import annotations

import base64
import csv
import io
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from components import contour, credentials, kserve, minio
from labfactory.errors import LabError
from labfactory.inventory import certificates, collect, objects, promised, shown, store
from labfactory.inventory.cluster import Cluster, without_values
from labfactory.inventory.promised import Registered
from labfactory.inventory.registry import registered
from labfactory.inventory.things import Inventory, Section, section, size, told
from labfactory.stack import Stack
from stacks.schema import LabConfig
from tests.harness import SEED, example, variant

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MADE = "2026-11-20T12:00:00Z"
VALUE = "a-value-that-nobody-may-see"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def thing(name: str, namespace: str = "vision", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": MADE}
    return {"metadata": {**metadata, **fields.pop("metadata", {})}, **fields}


def lab(**sections: Any) -> LabConfig:
    return LabConfig.model_validate(example(name="vision", **sections))


AGREED = {
    "all": {"consumers": ["intake"], "cost": {"monthly": 120.0}},
    "wards": {
        "covers": ["iris"],
        "owner": "wards",
        "consumers": ["ward-app", "reports"],
        "objectives": {"availability": 0.995},
        "deadlines": {"review_by": "2027-01-31"},
    },
}
RELEASES = {
    "iris": {"template": "mlflow", "variants": {"v1": variant(1)}},
    "risk": {
        "template": "mlflow",
        "variants": {
            "theirs": {
                "external": {
                    "url": "https://vendor.example.com/v1",
                    "cost_per_call": 0.01,
                },
                "role": "stable",
                "traffic": 100,
            }
        },
    },
}
ARTIFACT = str(variant(1)["artifact"])


def test_a_model_has_the_consumers_of_the_agreement_that_its_release_is_under() -> None:
    rows = promised.models(
        lab(agreements=AGREED, releases=RELEASES),
        [
            Registered("flowers", 1, ARTIFACT, MADE, has_card=True),
            Registered("flowers", 2, "s3://mlflow/1/models/m-2/artifacts", MADE, False),
        ],
    )

    card = f"{ARTIFACT.rpartition('/')[0]}/card.html"
    served = ("flowers", "1", "iris/v1", "stable", card, "wards", "ward-app, reports")
    theirs = ("vendor.example.com", "external", "risk/theirs", "stable", None, "all")
    assert rows == [
        (*served, MADE),
        ("flowers", "2", None, None, None, None, None, MADE),
        (*theirs, "intake", None),
    ]


def test_what_is_served_is_in_the_inventory_when_the_registry_is_away() -> None:
    [row, _] = promised.models(lab(releases=RELEASES), [])

    assert row[:4] == ("iris", "1", "iris/v1", "stable")


def test_an_agreement_is_told_in_one_row() -> None:
    rows = [*promised.agreements(lab(agreements=AGREED, releases=RELEASES))]

    assert rows[0] == ("all", "the lab", "vision", "intake", "", "120 EUR", "")
    assert rows[1][4:] == (
        "99.500% of requests answered",
        None,
        "review by 2027-01-31",
    )


def test_a_secret_is_there_by_the_names_of_its_keys_and_its_users_alone() -> None:
    secret = thing(
        "db", type="Opaque", data={"uri": encoded(VALUE), "password": "eA=="}
    )
    secret["metadata"]["annotations"] = {"last-applied": VALUE}
    pod = thing(
        "mlflow-abc",
        metadata={"ownerReferences": [{"name": "mlflow"}]},
        spec={"containers": [{"envFrom": [{"secretRef": {"name": "db"}}]}]},
    )
    kept = without_values(secret)
    found = {"pods": [pod], "cronjobs": []}

    rows = objects.secrets([kept], objects.all_pods(found))

    assert rows == [("db", "Opaque", "vision", "password, uri", MADE, "mlflow")]
    assert VALUE not in repr(kept)
    assert encoded(VALUE) not in repr(kept)


@pytest.mark.parametrize(
    "spec",
    [
        {"imagePullSecrets": [{"name": "x"}]},
        {"volumes": [{"secret": {"secretName": "x"}}]},
        {"volumes": [{"projected": {"sources": [{"secret": {"name": "x"}}]}}]},
        {"initContainers": [{"envFrom": [{"secretRef": {"name": "x"}}]}]},
        {
            "containers": [
                {"env": [{"valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}}]}
            ]
        },
    ],
    ids=["pull", "volume", "projected", "env-from", "env"],
)
def test_every_way_to_use_a_secret_is_seen(spec: dict[str, Any]) -> None:
    assert objects.secrets_of(spec) == {"x"}
    assert objects.secrets_of({"containers": [{"env": [{"value": "x"}]}]}) == set()


def test_what_a_cron_job_will_use_is_used() -> None:
    spec = {"volumes": [{"secret": {"secretName": "keys"}}]}
    cron = {"jobTemplate": {"spec": {"template": {"spec": spec}}}}

    [found] = objects.all_pods({"pods": [], "cronjobs": [thing("backup", spec=cron)]})

    assert found == ("vision", "backup", spec)


def test_a_service_is_told_with_its_pods_and_its_address() -> None:
    template = {"metadata": {"labels": {"app": "mlflow", "x": "y"}}}
    of_iris = {objects.OF_SERVICE: "iris-v1"}
    found = {
        "deployments": [
            thing(
                "mlflow",
                spec={"replicas": 2, "template": template},
                status={"readyReplicas": 1},
            ),
            thing(
                "iris-v1-predictor",
                metadata={"labels": of_iris},
                spec={"replicas": 1},
                status={"readyReplicas": 1},
            ),
        ],
        "statefulsets": [thing("postgres", spec={"replicas": 1}, status={})],
        "daemonsets": [
            thing("envoy", status={"desiredNumberScheduled": 1, "numberReady": 1})
        ],
        "services": [
            thing(
                "mlflow", spec={"selector": {"app": "mlflow"}, "ports": [{"port": 80}]}
            )
        ],
        "inferenceservices": [
            thing(
                "iris-v1",
                spec={"predictor": {"minReplicas": 2}},
                status={"url": "http://iris"},
            )
        ],
    }

    assert [*objects.services(found)] == [
        ("envoy", "DaemonSet", "vision", 1, 1, None),
        ("mlflow", "Deployment", "vision", 1, 2, "mlflow.vision:80"),
        ("iris-v1", "InferenceService", "vision", 1, 2, "http://iris"),
        ("postgres", "StatefulSet", "vision", 0, 1, None),
    ]


def test_an_image_has_the_version_of_what_is_in_it() -> None:
    ours = "localhost/labfactory/minio:0123456789ab"
    pods = [
        ("vision", "minio", {"containers": [{"image": ours}]}),
        ("vision", "x", {"initContainers": [{"image": "host:5000/a/b@sha256:1"}]}),
    ]

    assert objects.images(pods, {"minio": "7.0"}) == [
        ("b", "sha256:1", "host:5000/a/b@sha256:1", "vision/x"),
        ("minio", "7.0", ours, "vision/minio"),
    ]
    assert collect.image_versions()["contour"] == "1.33.8"


def test_a_volume_tells_what_is_used_of_it_where_that_is_known() -> None:
    def claim(name: str) -> dict[str, Any]:
        return thing(
            name,
            spec={"resources": {"requests": {"storage": "5Gi"}}},
            status={"phase": "Bound"},
        )

    rows = [*objects.volumes([claim("b"), claim("a")], {("vision", "a"): 7})]

    assert rows == [
        ("a", "vision", "5Gi", 7, None, "Bound", MADE),
        ("b", "vision", "5Gi", None, None, "Bound", MADE),
    ]


def test_a_certificate_is_there_with_its_end_and_the_soonest_end_comes_first() -> None:
    made = credentials.certificate(SEED, "ca", ["envoy", "contour"], NOW.date())
    tls = {"tls.crt": encoded(made.certificate), "ca.crt": encoded("no PEM"), "x": ""}
    secrets = [
        thing("certs", type="kubernetes.io/tls", data=tls),
        thing("other", type="Opaque", data=tls),
    ]

    rows = certificates.certificates(secrets, NOW)

    ends = NOW.date() + timedelta(days=certificates.CREDENTIAL_DAYS)
    broken, found = rows
    assert broken == (
        *("cannot be read: not PEM", "vision/certs (ca.crt)"),
        *(None, None, None),
    )
    assert found[:2] == ("CN=envoy (contour)", "vision/certs (tls.crt)")
    assert found[2:4] == (ends.isoformat(), (ends - NOW.date()).days - 1)
    own = certificates.credentials(lab(credentials_issued="2026-11-21"), NOW)
    assert own[1:4] == ("credentials_issued", *found[2:4])


def test_what_the_inventory_knows_by_heart_is_what_the_program_declares() -> None:
    assert (contour.NAMESPACE, kserve.NAMESPACE) == collect.PLATFORM
    assert store.KEYS[1] == (
        minio.ROOT_SECRET,
        *minio.root_secret("user", "password")["stringData"],
    )


def test_objects_are_counted_by_top_folder() -> None:
    def stored(key: str, size: int, day: int) -> dict[str, Any]:
        when = datetime(2026, 11, day, tzinfo=UTC)
        return {"Key": key, "Size": size, "LastModified": when}

    listed = [stored("a/1", 5, 1), stored("a/b/2", 6, 3), stored("top.csv", 7, 2)]

    assert store.folders("datasets", listed) == [
        ("/", "datasets", 1, 7, "2026-11-02T00:00:00+00:00"),
        ("a/", "datasets", 2, 11, "2026-11-03T00:00:00+00:00"),
    ]


def test_a_bucket_with_too_many_objects_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "MOST", 2)
    listed = [{"Key": f"a/{n}", "Size": 1, "LastModified": NOW} for n in range(3)]

    [counted, rest] = store.folders("datasets", listed)

    assert counted[2] == 2
    assert rest[0] == "not counted: more than 2 objects"


class Api(BaseHTTPRequestHandler):
    """A cluster's API with one page of objects per path, or a status."""

    answers: dict[str, Any]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        answer = self.answers.get(self.path, self.answers.get(self._plain(), 404))
        status = answer if isinstance(answer, int) else 200
        body = json.dumps({} if isinstance(answer, int) else answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _plain(self) -> str:
        return self.path.partition("?")[0]

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def api(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Api]]:
    """A cluster that the kubeconfig has as the context `labfactory-example`."""
    kind = type("OneApi", (Api,), {"answers": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    write_kubeconfig(home / "config", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("KUBECONFIG", str(home / "config"))
    yield kind
    server.shutdown()
    thread.join()
    server.server_close()


def write_kubeconfig(path: Path, url: str) -> None:
    context = {"cluster": "c", "user": "u"}
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "contexts": [{"name": "labfactory-example", "context": context}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )


def cluster(*namespaces: str) -> Cluster:
    return Cluster("labfactory-example", namespaces)


def test_a_long_list_is_read_to_its_end_and_once(api: type[Api]) -> None:
    path = "/api/v1/namespaces/vision/pods"
    first = {"items": [thing("a")], "metadata": {"continue": "next/page"}}
    api.answers |= {path: first, f"{path}?limit=500&continue=next/page": {}}
    api.answers[f"{path}?limit=500&continue=next/page"] = {"items": [thing("b")]}

    with closing(cluster("vision", "not-there")) as found:
        names = [each["metadata"]["name"] for each in found.all("pods")]
        again = found.all("pods")

    assert names == ["a", "b"]
    assert len(again) == 2
    assert len(api.asked) == 3


def test_the_values_of_secrets_are_forgotten_as_soon_as_they_come(
    api: type[Api],
) -> None:
    secret = thing("db", data={"password": encoded(VALUE)})
    api.answers["/api/v1/namespaces/vision/secrets"] = {"items": [secret]}

    with closing(cluster("vision")) as found:
        [kept] = found.all("secrets")

    assert kept["data"] == {"password": ""}


def test_a_refusal_of_the_cluster_names_what_could_not_be_read(api: type[Api]) -> None:
    api.answers["/api/v1/namespaces/vision/pods"] = 403

    with closing(cluster("vision")) as found, pytest.raises(LabError, match="403"):
        found.all("pods")


def test_used_bytes_are_those_that_the_kubelets_measure(api: type[Api]) -> None:
    claim = {"namespace": "vision", "name": "data"}
    volumes = [{"pvcRef": claim, "usedBytes": 9}, {"name": "scratch", "usedBytes": 1}]
    api.answers |= {
        "/api/v1/nodes": {"items": [thing("n1")]},
        "/api/v1/nodes/n1/proxy/stats/summary": {"pods": [{"volume": volumes}]},
    }

    with closing(cluster("vision")) as found:
        assert found.volume_use() == {("vision", "data"): 9}


@pytest.fixture
def stack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A lab `example` of a stack file with one secret, which was never applied."""
    (home / "stacks").mkdir()
    settings = example(agreements=AGREED, releases=RELEASES, backups=None)
    config = {"labfactory:lab": settings, "labfactory:seed": {"secure": "v1:x"}}
    found = Stack("example", project=home)
    found.file.write_text(yaml.safe_dump({"config": json.loads(plain(config))}))
    monkeypatch.setattr(collect, "Stack", lambda name: found)
    monkeypatch.setattr(found, "outputs", dict)
    return found


def plain(tree: Any) -> str:
    return json.dumps(tree, default=str)


def sections(found: Inventory) -> dict[str, Section]:
    return {each.name: each for each in found.sections}


def test_what_cannot_be_asked_is_unknown_and_the_rest_is_there(
    stack: Stack, api: type[Api]
) -> None:
    api.answers["/api/v1/namespaces/example/persistentvolumeclaims"] = {
        "items": [thing("minio-data", "example")]
    }
    api.answers["/api/v1/nodes"] = 403
    api.answers["/apis/apps/v1/namespaces/example/deployments"] = 500

    found = sections(collect.inventory("example", now=NOW))

    assert found["models"].rows[0][:3] == ("iris", "1", "iris/v1")
    assert "never run" in found["models"].unknown[0]
    assert "never up" in found["data sets"].unknown[0]
    assert "500" in found["services"].unknown[0]
    assert found["volumes"].rows[0][0] == "minio-data"
    assert "403" in found["volumes"].unknown[0]
    assert [row[0] for row in found["secrets"].rows] == ["seed"]
    assert found["certificates"].rows[0][1] == "credentials_issued"
    assert len(found["agreements"].rows) == 2


def test_a_cluster_that_is_away_is_said_in_each_section_and_waited_for_once(
    stack: Stack, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_kubeconfig(home / "config", "http://127.0.0.1:9")
    monkeypatch.setenv("KUBECONFIG", str(home / "config"))

    found = sections(collect.inventory("example", now=NOW))

    for name in ("services", "images", "volumes"):
        assert "no answer" in found[name].unknown[0]
    assert [row[0] for row in found["secrets"].rows] == ["seed"]
    assert found["agreements"].rows


def test_without_a_cluster_in_the_kubeconfig_the_settings_are_still_told(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")

    found = sections(collect.inventory("example", now=NOW))

    assert "no kubeconfig has it" in found["services"].unknown[0]
    assert [row[0] for row in found["secrets"].rows] == ["seed"]
    assert found["certificates"].rows[0][1] == "credentials_issued"


def test_backups_and_drills_are_told_the_newest_first() -> None:
    kept = [
        {"consistent_at": "2026-11-19T00:00:00Z", "ok": True, "bytes": 5, "error": ""},
        {"started": "2026-11-20T00:00:00Z", "ok": False, "error": "the store is away"},
    ]
    drill = {"started": MADE, "ok": False, "rto_seconds": 9, "problems": ["a", "b"]}

    rows = [*collect.backups(kept)]

    assert [row[:2] for row in rows] == [
        ("2026-11-20T00:00:00Z", False),
        ("2026-11-19T00:00:00Z", True),
    ]
    assert rows[0][-1] == "the store is away"
    assert [*collect.drills([drill])] == [(MADE, False, None, None, 9, None, "a; b")]


def test_the_registry_s_versions_have_their_artifacts_and_cards(
    api: type[Api], home: Path
) -> None:
    rest = "/api/2.0/mlflow/model-versions"
    listed = {"name": "iris", "creation_timestamp": 1_795_262_400_000}
    first = {"model_versions": [{**listed, "version": "1"}], "next_page_token": "2"}
    further = {"model_versions": [{**listed, "version": v} for v in ("2", "3", "4")]}
    card = {"files": [{"path": "1/models/m-1/card.html", "is_dir": False}]}
    store_ = "/api/2.0/mlflow-artifacts/artifacts?path="
    api.answers |= {
        f"{rest}/search?max_results=200&page_token=": first,
        f"{rest}/search?max_results=200&page_token=2": further,
        f"{store_}1%2Fmodels%2Fm-1": card,
        f"{store_}1%2Fmodels%2Fm-2": {"files": []},
    }
    uris = {
        "1": "mlflow-artifacts:/1/models/m-1/artifacts",
        "2": "mlflow-artifacts:/1/models/m-2/artifacts",
        "3": "https://elsewhere.example.com/m",
    }
    for version, uri in uris.items():
        asked = f"?name=iris&version={version}"
        api.answers[f"{rest}/get-download-uri{asked}"] = {"artifact_uri": uri}
    kubeconfig = yaml.safe_load((home / "config").read_text())

    found = registered(kubeconfig["clusters"][0]["cluster"]["server"], "mlflow")

    when = "2026-11-21T12:00:00+00:00"
    artifact = "s3://mlflow/1/models/m-{}/artifacts"
    assert found == [
        Registered("iris", 1, artifact.format(1), when, has_card=True),
        Registered("iris", 2, artifact.format(2), when, has_card=False),
        Registered("iris", 3, uris["3"], when, has_card=False),
    ]


def made_up(*rows: tuple[Any, ...], unknown: tuple[str, ...] = ()) -> Inventory:
    columns = ("name", "bytes", "made")
    things = Section("things", columns, rows, unknown)
    return Inventory("vision", NOW, (things, Section("others", ("name", "ok"))))


def test_the_document_has_plain_values_and_says_what_is_unknown() -> None:
    found = made_up(("a", 2048, MADE), unknown=("the store is away",)).document()

    assert json.loads(json.dumps(found)) == {
        "lab": "vision",
        "at": "2026-11-21T12:00:00+00:00",
        "sections": {
            "things": [{"name": "a", "bytes": 2048, "made": MADE}],
            "others": [],
        },
        "unknown": {"things": ["the store is away"]},
    }


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1"])
def test_no_cell_of_the_csv_is_a_formula(text: str) -> None:
    found = shown.as_csv(made_up((text, -5, None), unknown=(text,)))

    head, row, unknown = csv.reader(io.StringIO(found))
    assert head == ["section", "name", "bytes", "made", "ok", "unknown"]
    assert row == ["things", f"'{text}", "-5", "", "", ""]
    assert unknown == ["things", "", "", "", "", f"'{text}"]


def test_the_terminal_tells_every_cell_and_what_is_unknown() -> None:
    console = Console(file=io.StringIO(), width=100)

    found = made_up(("[bold]a", 1536, MADE), unknown=("no answer",))
    console.print(shown.screen(found))

    said = console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("things (1)", "[bold]a", "1.5 KiB", "1 d ago", "unknown: no answer"):
        assert text in said


def test_show_writes_the_files_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shown, "inventory", lambda lab, now: made_up(("a", 1, MADE)))
    csv_, html = tmp_path / "a.csv", tmp_path / "a.html"

    shown.show("vision", csv=csv_, html=html)
    silent = capsys.readouterr().out
    shown.show("vision", json=True)

    assert silent == ""
    assert json.loads(capsys.readouterr().out)["lab"] == "vision"
    assert csv_.read_bytes().startswith(b"section,name")
    assert "<h1>vision</h1>" in html.read_text()
    with pytest.raises(LabError, match="cannot be written"):
        shown.show("vision", html=tmp_path / "none" / "a.html")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (2**60, "1024.0 PiB")],
)
def test_sizes_are_told_in_their_largest_unit(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("column", "cell", "text"),
    [("x", None, "–"), ("ok", True, "yes"), ("x", 12345, "12,345"), ("x", 0.5, "0.5")],
)
def test_cells_are_told_for_people(column: str, cell: Any, text: str) -> None:
    assert told(column, cell, NOW) == text


def test_a_section_that_cannot_be_asked_says_why() -> None:
    def refused() -> list[tuple[str]]:
        raise LabError("the store is away")

    assert section("x", ("a",), refused).unknown == ("the store is away",)
