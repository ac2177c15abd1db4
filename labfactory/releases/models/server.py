"""A lab's MLflow server over HTTP: what it is asked, and what its refusals mean."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import httpx

from labfactory.errors import LabError

MLFLOW = "/api/2.0/mlflow"
STORE = "/api/2.0/mlflow-artifacts/artifacts"


class NotThere(LabError):
    """The tracking server or its store does not have what was asked for."""


class Server:
    """MLflow's REST interface, and the store behind it.

    Every method raises LabError, and NotThere where something does not exist.
    """

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        """Talk to the server at `url`."""
        self.url = url
        self._transport = transport

    def ask(self, what: str, **parameters: str) -> dict[str, Any]:
        """Answer of `what`, a path below MLflow's REST interface."""
        answer = self.send("GET", f"{MLFLOW}/{what}", params=parameters)
        found: dict[str, Any] = answer.json()
        return found

    def listed(self, path: str) -> list[tuple[str, bool]]:
        """Names in a folder of the store, and whether each is a folder itself."""
        found = self.send("GET", STORE, params={"path": path}).json()
        return [
            (PurePosixPath(entry["path"]).name, entry["is_dir"])
            for entry in found.get("files", [])
        ]

    def read(self, path: str) -> bytes | None:
        """Content of a file in the store; None when there is none."""
        folder, _, name = path.rpartition("/")
        # The store answers a download of what is not there with 500; a list tells.
        if (name, False) not in self.listed(folder):
            return None
        return self.send("GET", f"{STORE}/{quote(path)}").content

    def write(self, path: str, content: bytes) -> None:
        """Make `content` the file at `path` of the store."""
        self.send("PUT", f"{STORE}/{quote(path)}", content=content)

    def download(self, path: str, target: Path) -> None:
        """Copy a file of the store to `target`, however large it is."""
        try:
            with (
                self._client() as http,
                http.stream("GET", f"{STORE}/{quote(path)}") as answer,
                target.open("wb") as file,
            ):
                if answer.is_error:
                    answer.read()
                    raise self._refused(answer)
                for chunk in answer.iter_bytes():
                    file.write(chunk)
        except httpx.TransportError as error:
            raise self._silent(error) from None

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Answer to one request."""
        try:
            with self._client() as http:
                answer = http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._silent(error) from None
        if answer.is_error:
            raise self._refused(answer)
        return answer

    def _silent(self, error: Exception) -> LabError:
        return LabError(
            f"tracking server {self.url}: no answer ({error}); is the lab up? "
            f"`lab up` starts it"
        )

    def _refused(self, answer: httpx.Response) -> LabError:
        try:
            why = str(answer.json()["message"])
        except (ValueError, KeyError, TypeError):
            asked = f"{answer.request.method} {answer.request.url.path}"
            why = f"{asked} is answered with {answer.status_code}"
        kind = NotThere if answer.status_code == 404 else LabError
        return kind(f"tracking server {self.url}: {why}")

    def _client(self) -> httpx.Client:
        # Certificates take 30 ms to load, for every client: not where nobody asks.
        verify = self.url.startswith("https:")
        return httpx.Client(
            base_url=self.url, timeout=30, transport=self._transport, verify=verify
        )
