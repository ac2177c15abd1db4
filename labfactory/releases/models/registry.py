"""Ask a lab's MLflow which artifact a model version is, and prove its content."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from labfactory.errors import LabError
from labfactory.releases.models import run as runs
from labfactory.releases.models.columns import Contract, of
from labfactory.releases.models.run import Run
from labfactory.releases.models.server import NotThere, Server
from model_templates.server.model_server.digest import tree_digest

PROXIED = "mlflow-artifacts:/"
CONTRACT = "contract.json"
"""Artifact of a run: what was learnt of the columns, beside the signature."""


@dataclass(frozen=True)
class Location:
    """Where a version of a registered model came from, and where it lies."""

    name: str
    version: int
    run_id: str
    """Empty when the version was registered without a run."""
    artifact: str
    """`s3://BUCKET/PATH` of the artifact tree."""

    def __str__(self) -> str:
        """Name the version in a sentence."""
        return f"model {self.name!r} version {self.version}"


@dataclass(frozen=True)
class ModelVersion(Location):
    """A version of a registered model, pinned by the content of its artifact."""

    digest: str
    """`sha256:…` over the artifact tree."""

    __str__ = Location.__str__


class Registry:
    """MLflow's model registry, its runs and its store.

    Every method raises LabError, and NotThere where something does not exist.
    """

    def __init__(
        self, url: str, *, bucket: str, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Talk to the server at `url`, whose artifacts live in `bucket`."""
        self._server = Server(url, transport)
        self._bucket = bucket

    def resolve(self, name: str, version: str) -> ModelVersion:
        """Return the version (a number or an alias) with its digest."""
        return self.pin(self.locate(name, version))

    def locate(self, name: str, version: str) -> Location:
        """Return where the version (a number or an alias) lies, unread."""
        ask = self._server.ask
        if version.isdigit():
            found = ask("model-versions/get", name=name, version=version)
        else:
            found = ask("registered-models/alias", name=name, alias=version)
        entry = found["model_version"]
        number = int(entry["version"])
        place = ask("model-versions/get-download-uri", name=name, version=str(number))
        uri: str = place["artifact_uri"]
        if not uri.startswith(PROXIED):
            raise LabError(
                f"model {name!r} version {number}: its artifact is at {uri!r}, "
                f"not in the lab's store; log it through {self._server.url}"
            )
        path = uri.removeprefix(PROXIED).lstrip("/")
        artifact = f"s3://{self._bucket}/{path}"
        return Location(name, number, entry.get("run_id", ""), artifact)

    def pin(self, at: Location) -> ModelVersion:
        """Return the located version with its digest; reads the whole artifact."""
        digest = self.digest_of(at.artifact)
        if digest is None:
            raise NotThere(
                f"{at}: the store has no artifact at {at.artifact}; "
                f"log the model again or choose another version"
            )
        return ModelVersion(at.name, at.version, at.run_id, at.artifact, digest)

    def digest_of(self, artifact: str) -> str | None:
        """`sha256:…` over the artifact tree as it is now; None when it is gone."""
        path = self._path(artifact)
        with tempfile.TemporaryDirectory() as folder:
            names = list(self._files(path))
            if not names:
                return None
            for name in names:
                target = Path(folder) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                self._server.download(f"{path}/{name}", target)
            digest: str = tree_digest(folder)
            return digest

    def versions(self, name: str) -> list[int]:
        """Version numbers of a model, oldest first; none when it is not registered."""
        found = self._server.ask("model-versions/search", filter=f"name='{name}'")
        return sorted(int(v["version"]) for v in found.get("model_versions", []))

    def description(self, name: str) -> str:
        """What the registry says of the model `name`; empty when it says nothing."""
        found = self._server.ask("registered-models/get", name=name)
        said: str = found["registered_model"].get("description", "")
        return said

    def run(self, run_id: str) -> Run:
        """What a run says of itself."""
        return runs.read(self._server.ask("runs/get", run_id=run_id))

    def run_files(self, run_id: str) -> frozenset[str]:
        """Names of the files and folders that a run logged, the outermost alone."""
        found = self._server.ask("artifacts/list", run_id=run_id).get("files", [])
        return frozenset(entry["path"] for entry in found)

    def run_artifact(self, run_id: str, path: str) -> bytes:
        """Content of one file that a run logged."""
        asked = {"run_uuid": run_id, "path": path}
        try:
            return self._server.send("GET", "/get-artifact", params=asked).content
        except NotThere:
            raise NotThere(f"run {run_id}: it has no artifact {path!r}") from None

    def run_object(self, run_id: str, path: str) -> Mapping[str, Any] | None:
        """The JSON object in a file that a run logged; None when it logged none."""
        if path not in self.run_files(run_id):
            return None
        try:
            found = json.loads(self.run_artifact(run_id, path))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise LabError(
                f"run {run_id}: its artifact {path!r} is no JSON object; log it again "
                f"with mlflow.log_dict"
            )
        return found

    def signature(self, artifact: str) -> Mapping[str, Any] | None:
        """The signature in the artifact's `MLmodel`; None when there is none.

        `inputs`, `outputs` and `params` are JSON texts, as MLflow writes them.
        """
        content = self.read(f"{artifact}/MLmodel")
        if content is None:
            return None
        try:
            signature: Mapping[str, Any] | None = yaml.safe_load(content)["signature"]
        except KeyError:
            return None
        except (yaml.YAMLError, ValueError, TypeError):
            raise LabError(
                f"{artifact}/MLmodel: it is not what MLflow writes; log the model again"
            ) from None
        return signature

    def contract(self, name: str, version: str | int) -> Contract:
        """What a version accepts and answers, as far as it says."""
        return self.contract_at(self.locate(name, str(version)))

    def contract_at(self, at: Location) -> Contract:
        """What the version that was located accepts and answers."""
        learnt = self.run_object(at.run_id, CONTRACT) if at.run_id else None
        return of(self.signature(at.artifact), learnt)

    def read(self, address: str) -> bytes | None:
        """Content of the object `s3://BUCKET/PATH`; None when there is none."""
        return self._server.read(self._path(address))

    def write(self, address: str, content: bytes) -> None:
        """Make `content` the object `s3://BUCKET/PATH`."""
        self._server.write(self._path(address), content)

    def _path(self, address: str) -> str:
        root = f"s3://{self._bucket}/"
        if not address.startswith(root):
            raise LabError(
                f"{address}: the tracking server reaches only the bucket "
                f"{self._bucket!r}; log the model through {self._server.url}"
            )
        return address.removeprefix(root)

    def _files(self, root: str, below: str = "") -> Iterator[str]:
        """Paths of the files below `root`, relative to it."""
        for name, is_folder in self._server.listed(f"{root}/{below}".strip("/")):
            path = f"{below}/{name}".lstrip("/")
            if is_folder:
                yield from self._files(root, path)
            else:
                yield path
