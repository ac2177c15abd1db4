"""The registry client, against answers shaped like MLflow's."""

import hashlib
from typing import Any

import httpx
import pytest

from labfactory.errors import LabError
from labfactory.releases.registry import Registry

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
