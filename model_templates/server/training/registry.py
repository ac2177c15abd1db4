"""What the job asks of MLflow's registry: is it there already, where does it lie."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from model_server.digest import tree_digest

KEY = "labfactory.key"
"""Tag of runs and versions: what they were made from; the same key, one version."""


def key(**made_from: Any) -> str:
    """Return one hash of everything that decides what a job learns."""
    text = json.dumps(made_from, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def code_version() -> str:
    """Return the digest of this package's source: an image has no git."""
    content = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content.update(f"{path.name}\0".encode() + path.read_bytes())
    return f"sha256:{content.hexdigest()}"


def registered(client: MlflowClient, name: str, made_from: str) -> Any | None:
    """Return the version of `name` that was made from the same, if there is one."""
    versions = client.search_model_versions(f"name = '{name}'")
    same = [version for version in versions if version.tags.get(KEY) == made_from]
    return min(same, key=lambda version: int(version.version), default=None)


def close_leftovers(client: MlflowClient, experiment_id: str, made_from: str) -> None:
    """End the runs of an earlier try that was killed: MLflow shows them as running."""
    for run in client.search_runs(
        [experiment_id],
        f"tags.`{KEY}` = '{made_from}' and attributes.status = 'RUNNING'",
    ):
        client.set_terminated(run.info.run_id, "KILLED")


def register(
    client: MlflowClient,
    name: str,
    *,
    source: str,
    run_id: str,
    model_id: str,
    tag: str,
) -> Any:
    """Register the model as the next version of `name`, with its key, in one call.

    The tag goes in with the version: a job that is killed at any point either has
    registered a version that the next try finds, or none.
    """
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(
        name, source, run_id=run_id, model_id=model_id, tags={KEY: tag}
    )


def summary(client: MlflowClient, version: Any, bucket: str) -> dict[str, str]:
    """Return what a release of this version says: its artifact and its digest."""
    location = client.get_model_version_download_uri(version.name, version.version)
    with tempfile.TemporaryDirectory() as folder:
        digest = tree_digest(download_artifacts(artifact_uri=location, dst_path=folder))
    return {
        "name": version.name,
        "version": str(version.version),
        "run_id": version.run_id,
        "model_id": version.source.rpartition("/")[2],
        "artifact": artifact(location, bucket),
        "digest": digest,
    }


def artifact(location: str, bucket: str) -> str:
    """Return where the store keeps what MLflow hands out under `location`."""
    parts = urlsplit(location)
    if parts.scheme != "mlflow-artifacts":
        return location
    return f"s3://{bucket}/{parts.path.strip('/')}"
