"""Ask a lab's MLflow which artifact a model version is, and prove its content."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from labfactory.errors import LabError
from model_templates.server.model_server.digest import tree_digest

PROXIED = "mlflow-artifacts:/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True)
class ModelVersion:
    """A version of a registered model, pinned by the content of its artifact."""

    name: str
    version: int
    run_id: str
    artifact: str
    """`s3://BUCKET/PATH` of the artifact tree."""
    digest: str
    """`sha256:…` over the artifact tree."""


class Registry:
    """MLflow's model registry, over its REST interface."""

    def __init__(
        self, url: str, *, bucket: str, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Talk to the server at `url`, whose artifacts live in `bucket`."""
        self._url = url
        self._bucket = bucket
        self._transport = transport

    def resolve(self, name: str, version: str) -> ModelVersion:
        """Return the version (a number or an alias) with its digest.

        Raises LabError when the model, version, alias or artifact does not exist.
        """
        found = self._model_version(name, version)
        number = int(found["version"])
        location = self._get(
            "model-versions/get-download-uri", name=name, version=str(number)
        )["artifact_uri"]
        if not location.startswith(PROXIED):
            raise LabError(
                f"model {name!r} version {number}: its artifact is at {location!r}, "
                f"not in the lab's store; log it through {self._url}"
            )
        path = location.removeprefix(PROXIED).lstrip("/")
        return ModelVersion(
            name=name,
            version=number,
            run_id=found.get("run_id", ""),
            artifact=f"s3://{self._bucket}/{path}",
            digest=self._digest(path, f"model {name!r} version {number}"),
        )

    def versions(self, name: str) -> list[int]:
        """Version numbers of a model, oldest first; none when it is not registered."""
        found = self._get("model-versions/search", filter=f"name='{name}'")
        return sorted(int(v["version"]) for v in found.get("model_versions", []))

    def run_artifact(self, run_id: str, path: str) -> bytes:
        """Content of one file that a run logged."""
        with self._client() as http:
            answer = http.get(
                "/get-artifact", params={"run_uuid": run_id, "path": path}
            )
        if answer.is_error:
            raise LabError(f"run {run_id}: it has no artifact {path!r}")
        return answer.content

    def _model_version(self, name: str, version: str) -> dict[str, str]:
        if version.isdigit():
            found = self._get("model-versions/get", name=name, version=version)
        else:
            found = self._get("registered-models/alias", name=name, alias=version)
        model_version: dict[str, str] = found["model_version"]
        return model_version

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        try:
            with self._client() as http:
                answer = http.get(f"/api/2.0/mlflow/{what}", params=parameters)
        except httpx.TransportError as error:
            raise LabError(
                f"tracking server {self._url}: no answer ({error}); is the lab up? "
                f"`lab up` starts it"
            ) from None
        if answer.status_code == 404:
            raise LabError(f"tracking server {self._url}: {answer.json()['message']}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def _digest(self, path: str, whose: str) -> str:
        with tempfile.TemporaryDirectory() as folder, self._client() as http:
            names = list(_files(http, path))
            if not names:
                raise LabError(
                    f"{whose}: the store has no artifact at {path!r}; "
                    f"log the model again or choose another version"
                )
            for name in names:
                target = Path(folder) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with (
                    http.stream("GET", f"{ARTIFACTS}/{path}/{name}") as answer,
                    target.open("wb") as file,
                ):
                    answer.raise_for_status()
                    for chunk in answer.iter_bytes():
                        file.write(chunk)
            digest: str = tree_digest(Path(folder))
            return digest

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, timeout=30, transport=self._transport)


def _files(http: httpx.Client, root: str, below: str = "") -> Iterator[str]:
    """Paths of the files below `root`, relative to it."""
    answer = http.get(ARTIFACTS, params={"path": f"{root}/{below}".strip("/")})
    answer.raise_for_status()
    for entry in answer.json().get("files", []):
        name = f"{below}/{Path(entry['path']).name}".lstrip("/")
        if entry["is_dir"]:
            yield from _files(http, root, name)
        else:
            yield name
