"""An MLflow server on what was restored, and what it lists."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from labfactory.errors import LabError
from labfactory.keeper.processes import stop
from labfactory.keeper.settings import Settings, child

START_SECONDS = 180.0
PAGE = 1000


@contextmanager
def served(settings: Settings, bucket: str) -> Iterator[str]:
    """Run a tracking server as a child; its address. Raises LabError."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    store = settings.store
    env = child(
        MLFLOW_BACKEND_STORE_URI=settings.database_uri,
        MLFLOW_S3_ENDPOINT_URL=store.endpoint,
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        MLFLOW_DISABLE_TELEMETRY="true",
        GIT_PYTHON_REFRESH="quiet",
        AWS_DEFAULT_REGION=store.region,
        AWS_ACCESS_KEY_ID=store.key_id,
        AWS_SECRET_ACCESS_KEY=store.secret,
    )
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1"]
    flags = [f"--port={port}", "--workers=1", "--serve-artifacts"]
    log = settings.staging / "mlflow.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *flags, f"--artifacts-destination=s3://{bucket}"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
        )
        try:
            _wait(process, url, log)
            yield url
        finally:
            stop(process)


def listed(url: str) -> tuple[int, int]:
    """How many runs and how many registered models the server lists."""
    api = f"{url}/api/2.0/mlflow"
    with httpx.Client(timeout=60.0) as client:
        try:
            experiments = [
                each["experiment_id"]
                for each in _pages(
                    client, f"{api}/experiments/search", "experiments", view="ALL"
                )
            ]
            runs = sum(
                1
                for some in _parts(experiments)
                for _ in _pages(client, f"{api}/runs/search", "runs", experiments=some)
            )
            models = f"{api}/registered-models/search"
            return runs, sum(1 for _ in _pages(client, models, "registered_models"))
        except httpx.HTTPError as error:
            raise LabError(
                f"MLflow on the restored database: does not answer ({error}); the "
                "backup can't be used by this version of it"
            ) from None


def _pages(
    client: httpx.Client,
    url: str,
    what: str,
    *,
    view: str = "",
    experiments: Sequence[str] = (),
) -> Iterator[Any]:
    asked: dict[str, Any] = {"max_results": PAGE}
    if view:
        asked["view_type"] = view
    if experiments:
        asked |= {"experiment_ids": experiments, "run_view_type": "ALL"}
    token = ""
    while True:
        body = {**asked, **({"page_token": token} if token else {})}
        if what == "registered_models":
            answer = client.get(url, params=body)
        else:
            answer = client.post(url, json=body)
        answer.raise_for_status()
        found = answer.json()
        yield from found.get(what, [])
        if not (token := found.get("next_page_token", "")):
            return


def _parts(names: Sequence[str], size: int = 100) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _wait(process: subprocess.Popen[str], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/health", timeout=2.0).status_code == 200:
                return
        time.sleep(0.3)
    said = [line.strip() for line in log.read_text().splitlines() if line.strip()]
    raise LabError(
        "MLflow does not start on the restored database "
        f"({said[-1][:400] if said else 'it says nothing'}); is it of the version that "
        "the backup was made with?"
    )
