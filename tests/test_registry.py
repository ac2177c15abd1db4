"""The registry client, against answers shaped like MLflow's."""

import hashlib
from typing import Any

import httpx
import pytest

from labfactory.errors import LabError
from labfactory.releases.models.registry import Registry
from labfactory.releases.models.run import Dataset
from labfactory.releases.models.server import NotThere

TREE = {"MLmodel": b"flavors: {}\n", "data/model.skops": b"\x00\x01"}
ROOT = "1/models/m-1/artifacts"


def mlflow(request: httpx.Request) -> httpx.Response:
    path, query = request.url.path, dict(request.url.params)
    known = {"name": "iris", "version": "3", "run_id": "r1"}
    match path.removeprefix("/api/2.0/"):
        case "mlflow/model-versions/get" if query == {"name": "iris", "version": "3"}:
            return httpx.Response(200, json={"model_version": known})
        case "mlflow/registered-models/alias" if query["alias"] == "best":
            return httpx.Response(200, json={"model_version": known})
        case "mlflow/model-versions/get-download-uri":
            return httpx.Response(
                200, json={"artifact_uri": f"mlflow-artifacts:/{ROOT}"}
            )
        case "mlflow-artifacts/artifacts":
            return httpx.Response(200, json={"files": listing(query["path"])})
        case other if other.startswith(f"mlflow-artifacts/artifacts/{ROOT}/"):
            return httpx.Response(200, content=TREE[other.split(f"{ROOT}/")[1]])
        case _:
            return httpx.Response(404, json={"message": "Model Version not found"})


def listing(path: str) -> list[dict[str, Any]]:
    if path == ROOT:
        return [{"path": "MLmodel", "is_dir": False}, {"path": "data", "is_dir": True}]
    if path == f"{ROOT}/data":
        return [{"path": "model.skops", "is_dir": False}]
    return []


def registry(answer: Any = mlflow) -> Registry:
    transport = httpx.MockTransport(answer)
    return Registry("http://mlflow", bucket="mlflow", transport=transport)


def test_a_version_is_pinned_by_the_content_of_its_artifact() -> None:
    found = registry().resolve("iris", "3")

    lines = "".join(
        f"{hashlib.sha256(TREE[name]).hexdigest()}  {name}\n" for name in sorted(TREE)
    )
    assert found.digest == "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    assert found.artifact == f"s3://mlflow/{ROOT}"


def test_an_alias_means_the_version_it_points_to() -> None:
    assert registry().resolve("iris", "best") == registry().resolve("iris", "3")


def test_a_version_that_does_not_exist_is_refused_in_mlflows_words() -> None:
    with pytest.raises(LabError, match="Model Version not found"):
        registry().resolve("iris", "4")


def test_an_artifact_that_is_gone_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def emptied(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("artifacts/artifacts"):
            return httpx.Response(200, json={"files": []})
        return mlflow(request)

    with pytest.raises(LabError, match="'iris' version 3: the store has no artifact"):
        registry(emptied).resolve("iris", "3")


def test_an_artifact_outside_the_labs_store_is_refused() -> None:
    def elsewhere(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("get-download-uri"):
            return httpx.Response(200, json={"artifact_uri": "file:///home/model"})
        return mlflow(request)

    with pytest.raises(LabError, match="not in the lab's store"):
        registry(elsewhere).resolve("iris", "3")


def test_a_tracking_server_that_is_away_is_named() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(LabError, match="tracking server http://mlflow: no answer"):
        registry(away).versions("iris")


def test_versions_come_in_order_and_an_unknown_model_has_none() -> None:
    def search(request: httpx.Request) -> httpx.Response:
        found = [{"version": "10"}, {"version": "9"}]
        known = request.url.params["filter"] == "name='iris'"
        return httpx.Response(200, json={"model_versions": found} if known else {})

    assert registry(search).versions("iris") == [9, 10]
    assert registry(search).versions("wine") == []


RUN = {
    "info": {
        "run_id": "r1",
        "run_name": "calm-owl",
        "user_id": "ada",
        "start_time": 1767225600000,
        "end_time": "1767225660000",
    },
    "data": {
        "params": [{"key": "C", "value": "0.1"}],
        "metrics": [{"key": "accuracy", "value": 0.9, "step": 0}],
        "tags": [{"key": "code", "value": "abc"}],
    },
    "inputs": {
        "dataset_inputs": [
            {
                "tags": [{"key": "mlflow.data.context", "value": "training"}],
                "dataset": {"name": "iris", "digest": "d1", "source": "{}"},
            }
        ]
    },
}


def answering(**answers: Any) -> Registry:
    """A registry whose server answers by the last part of the path."""

    def answer(request: httpx.Request) -> httpx.Response:
        found = answers.get(request.url.path.rpartition("/")[2].replace("-", "_"))
        if found is None:
            return httpx.Response(404, json={"message": "not found"})
        if isinstance(found, bytes):
            return httpx.Response(200, content=found)
        return httpx.Response(200, json=found)

    return registry(answer)


def test_a_run_says_who_made_what_from_what_and_when() -> None:
    run = answering(get={"run": RUN}).run("r1")

    assert (run.name, run.user, run.params) == ("calm-owl", "ada", {"C": "0.1"})
    assert run.metrics == {"accuracy": 0.9}
    assert run.datasets == (Dataset("iris", "d1", "training"),)
    assert run.code == "abc"
    assert run.start is not None
    assert run.end is not None
    assert run.start.isoformat() == "2026-01-01T00:00:00+00:00"
    assert (run.end - run.start).seconds == 60


def test_a_run_that_says_nothing_is_read_too() -> None:
    run = answering(get={"run": {"info": {"run_id": "r1"}}}).run("r1")

    assert (run.start, run.code, run.data) == (None, "", ())


def test_a_run_s_json_is_read_where_there_is_some_and_refused_where_it_is_none() -> (
    None
):
    files = {"files": [{"path": "contract.json", "is_dir": False}]}

    good = answering(list=files, get_artifact=b'{"inputs": []}')
    bad = answering(list=files, get_artifact=b"[1]")

    assert good.run_object("r1", "contract.json") == {"inputs": []}
    assert good.run_object("r1", "influence.json") is None
    with pytest.raises(LabError, match=r"run r1: its artifact 'contract\.json' is no"):
        bad.run_object("r1", "contract.json")


ARTIFACT = f"s3://mlflow/{ROOT}"


def test_an_artifact_that_is_gone_has_no_digest() -> None:
    there = registry()

    assert there.digest_of(ARTIFACT) == there.resolve("iris", "3").digest
    assert there.digest_of("s3://mlflow/1/models/m-2/artifacts") is None


def test_an_artifact_of_another_bucket_is_refused_without_asking() -> None:
    with pytest.raises(
        LabError, match="s3://other/m: the tracking server reaches only"
    ):
        registry(None).digest_of("s3://other/m")


SIGNED = b'signature:\n  inputs: \'[{"type": "double", "name": "age"}]\'\n'


@pytest.mark.parametrize(
    ("content", "signature"),
    [
        (SIGNED, {"inputs": '[{"type": "double", "name": "age"}]'}),
        (b"flavors: {}\n", None),
        (b"signature:\n", None),
    ],
)
def test_the_signature_is_the_one_in_the_artifact(
    monkeypatch: pytest.MonkeyPatch, content: bytes, signature: Any
) -> None:
    monkeypatch.setitem(TREE, "MLmodel", content)

    assert registry().signature(ARTIFACT) == signature


@pytest.mark.parametrize("content", [b"\t: {", b"[1]", b"\xff\xfe\x00", b"text"])
def test_an_mlmodel_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setitem(TREE, "MLmodel", content)

    with pytest.raises(LabError, match="MLmodel: it is not what MLflow writes"):
        registry().signature(ARTIFACT)


def test_a_version_without_its_artifact_has_no_signature() -> None:
    assert registry().signature("s3://mlflow/1/models/m-2/artifacts") is None


def test_a_file_is_written_where_its_address_says() -> None:
    written = []

    def store(request: httpx.Request) -> httpx.Response:
        written.append((request.method, request.url.raw_path, request.read()))
        return httpx.Response(200, json={})

    registry(store).write("s3://mlflow/1/models/m 1/card.html", b"<p>")

    path = b"/api/2.0/mlflow-artifacts/artifacts/1/models/m%201/card.html"
    assert written == [("PUT", path, b"<p>")]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, {"message": "No such run"}, "No such run"),
        (400, {"message": "Invalid alias"}, "Invalid alias"),
        (502, "<html>", "GET /api/2.0/mlflow/runs/get is answered with 502"),
        (500, ["x"], "is answered with 500"),
    ],
)
def test_every_refusal_of_the_server_is_a_sentence(
    status: int, body: Any, words: str
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=body)

    with pytest.raises(
        LabError, match=f"tracking server http://mlflow: .*{words}"
    ) as e:
        registry(refuse).run("r1")

    assert isinstance(e.value, NotThere) == (status == 404)


def test_a_store_that_breaks_off_is_told_as_one() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("MLmodel"):
            raise httpx.ReadError("reset", request=request)
        return mlflow(request)

    with pytest.raises(LabError, match="no answer"):
        registry(broken).digest_of(ARTIFACT)
