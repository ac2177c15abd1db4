"""What `lab bench` looks through for secrets, and what it makes of what it finds."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable
from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest

from components import credentials
from labfactory.bench import operations_secrets as engine
from labfactory.bench.ground import Ground
from labfactory.bench.kubectl import Kubectl
from labfactory.errors import LabError

SEED = "c2VlZCBvZiB0aGUgdGVzdHMsIG9mIG5vIG90aGVyIGxhYi4"
PASSWORD = credentials.password(SEED, "database")
VALUES = {"database": PASSWORD}
Places = dict[str, Callable[[], Iterable[engine.Source]]]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(name: str, **data: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "lab", "name": name},
        "data": {key.replace("_", "."): encoded(text) for key, text in data.items()},
    }


def clean() -> Places:
    """Places of every kind without a secret."""
    state = json.dumps({"deployment": {"resources": []}}).encode()
    return {
        "state": lambda: [("pulumi stack export", state)],
        "logs": lambda: [("log of a", b""), ("log of b", b"ready\n")],
        "objects": lambda: iter([("configmaps lab/a", b'{"kind": "ConfigMap"}')]),
        "backups": lambda: [("backup data/00", bytes(range(256)))],
    }


def test_a_clean_lab_has_no_secrets_to_find_and_every_planted_one_is_caught() -> None:
    said: list[str] = []

    found, caught = engine.looked(clean(), VALUES, say=said.append)

    assert (found.value, found.met) == (0, True)
    assert found.note == "1 secrets in 4 places, 0 MiB"
    assert (caught.value, caught.met) == (100, True)
    assert said == []


@pytest.mark.parametrize("kind", sorted(clean()))
def test_a_leak_in_each_kind_of_place_is_counted_and_never_told(kind: str) -> None:
    text = json.dumps({"annotations": {"note": encoded(f"user:{PASSWORD}@db")}})
    said: list[str] = []
    places: Places = {**clean(), kind: lambda: [("a", b"x"), ("b", text.encode())]}

    found, caught = engine.looked(places, VALUES, say=said.append)

    assert (found.value, found.met) == (1, False)
    assert caught.met
    assert said == ["  secret database is in b, as base64"]


def test_a_scanner_that_misses_what_is_planted_does_not_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "scan", lambda values, sources: [*sources] and [])

    _, caught = engine.looked(clean(), VALUES, say=print)

    assert (caught.value, caught.met) == (0, False)


def test_places_with_nothing_in_them_are_an_error_and_no_success() -> None:
    places: Places = {**clean(), "backups": lambda: []}

    with pytest.raises(LabError, match="backups: nothing to look"):
        engine.looked(places, VALUES, say=print)


def test_what_is_planted_is_in_the_middle_of_what_is_there() -> None:
    assert engine.seeded(("a", b"1234"), b"x") == ("a", b"12x34")


def test_secrets_are_values_that_are_neither_public_nor_documents() -> None:
    certificate = credentials.certificate(SEED, "ca", ["envoy"], date(2026, 11, 21))
    listed = [
        secret("store", AWS_KEY="k" * 9, PREDICTIONS_ENDPOINT="http://minio:9000"),
        secret("db", uri=f"postgresql://lab:{PASSWORD}@postgres:5432/mlflow"),
        secret("tls", tls_key=certificate.key, tls_crt=certificate.certificate),
        secret("long", text="x" * 5000, pin="123"),
        secret("lab-record", settings="encrypted"),
    ]

    found = engine.of_cluster({"items": listed})

    assert [*found] == [
        "lab/store/AWS.KEY",
        "lab/db/uri",
        "lab/db/uri (password)",
        "lab/tls/tls.key",
        "lab/tls/tls.key (line)",
    ]
    assert found["lab/db/uri (password)"] == PASSWORD
    assert found["lab/tls/tls.key (line)"] == certificate.key.splitlines()[1]


def test_a_value_under_two_names_is_looked_for_once() -> None:
    assert engine.once({"a": "same", "b": "same", "c": "other"}) == {
        "a": "same",
        "c": "other",
    }


def test_the_stack_s_secrets_are_those_that_are_marked_as_such() -> None:
    config = {
        "labfactory:seed": {"value": SEED, "secret": True},
        "labfactory:lab": {"value": "a-long-text", "secret": False},
    }
    ground = SimpleNamespace(pulumi=lambda *words: json.dumps(config))

    assert engine.of_stack(cast(Ground, ground)) == {"stack labfactory:seed": SEED}


class Cluster:
    """Answers as kubectl does."""

    def __init__(self, **lists: list[dict[str, Any]]) -> None:
        self.lists = lists

    def get(self, *words: str) -> dict[str, Any]:
        if words[0] == "-n":
            return self.lists[words[2]][0]
        return {"items": self.lists[words[0]]}

    def run(self, *words: str) -> str:
        if words[0] == "api-resources":
            return "".join(f"{kind}\n" for kind in self.lists)
        if "--previous" in words and words[3] == "gone":
            raise LabError("previous terminated container not found")
        return f"{' '.join(words[1:])}\n"


def test_every_object_but_secrets_is_looked_at() -> None:
    named = {"metadata": {"name": "a", "namespace": "lab"}}
    cluster = Cluster(
        configmaps=[named], secrets=[named], nodes=[{"metadata": {"name": "n"}}]
    )

    found = dict(engine.objects(cast(Kubectl, cluster)))

    assert [*found] == ["configmaps lab/a", "nodes /n"]
    assert json.loads(found["configmaps lab/a"]) == named


def test_logs_are_those_of_all_containers_and_of_the_ones_before_them() -> None:
    def pod(name: str, restarts: int, state: str = "running") -> dict[str, Any]:
        status = {"name": "main", "restartCount": restarts, "state": {state: {}}}
        return {
            "metadata": {"name": name, "namespace": "lab"},
            "status": {
                "initContainerStatuses": [{"name": "first"}],
                "containerStatuses": [status],
            },
        }

    pods = [pod("a", 1), pod("gone", 2), pod("slow", 0, "waiting")]

    found = dict(engine.logs(cast(Kubectl, Cluster(pods=pods))))

    assert [*found] == [
        "log of lab/a first",
        "log of lab/a main",
        "log of lab/a main before",
        "log of lab/gone first",
        "log of lab/gone main",
        "log of lab/gone main before",
        "log of lab/slow first",
    ]
    assert found["log of lab/a main before"] == b"lab logs a -c main --previous\n"
    assert found["log of lab/gone main before"] == b""


def test_backups_are_looked_at_as_they_lie_in_the_second_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    class Store:
        def get_paginator(self, _: str) -> Store:
            return self

        def paginate(self, Bucket: str) -> Iterable[dict[str, Any]]:
            asked["bucket"] = Bucket
            yield {"Contents": [{"Key": "lab/data/00"}]}
            yield {}

        def get_object(self, **_: str) -> dict[str, Any]:
            return {"Body": io.BytesIO(b"encrypted")}

        def close(self) -> None:
            asked["closed"] = True

    def client(_: str, **options: Any) -> Store:
        asked.update(options)
        return Store()

    monkeypatch.setattr(boto3, "client", client)
    repository = secret(
        "keeper-repository",
        AWS_ACCESS_KEY_ID="id",
        AWS_SECRET_ACCESS_KEY="key",
        AWS_DEFAULT_REGION="us-east-1",
        RESTIC_REPOSITORY="s3:http://minio.lab-backups.svc:9000/backups/lab",
    )
    repository["data"] = {k.replace(".", "_"): v for k, v in repository["data"].items()}
    ground = SimpleNamespace(
        stack=SimpleNamespace(settings=SimpleNamespace(backups=True)),
        cluster_ip=lambda namespace, service: f"{service}-of-{namespace}",
    )

    found = [
        *engine.backups(
            cast(Ground, ground), cast(Kubectl, Cluster(secret=[repository]))
        )
    ]

    assert found == [("backup lab/data/00", b"encrypted")]
    assert asked["endpoint_url"] == "http://minio-of-lab-backups:9000"
    assert (asked["bucket"], asked["closed"]) == ("backups", True)


def test_every_kind_of_place_that_was_promised_is_looked_at() -> None:
    said: list[tuple[str, ...]] = []

    def pulumi(*words: str) -> str:
        said.append(words)
        return "{}"

    ground = cast(Ground, SimpleNamespace(pulumi=pulumi))

    places = engine.collected(ground, cast(Kubectl, Cluster()))

    assert [*places] == ["state", "previews", "logs", "objects", "backups"]
    assert [where for where, _ in [*places["state"](), *places["previews"]()]] == [
        "pulumi stack export",
        "pulumi preview --json --show-sames",
        "pulumi preview --diff --show-sames",
    ]
