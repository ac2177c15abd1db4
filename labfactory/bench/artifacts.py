"""Copy a model's artifact from one lab to another, through their MLflow servers."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

API = "/api/2.0/mlflow-artifacts/artifacts"
Files = dict[str, bytes]
"""Path below the artifact -> content."""


def read(tracking_url: str, artifact: str) -> Files:
    """The files of `s3://BUCKET/PATH`, where BUCKET is the tracking server's."""
    root = urlsplit(artifact).path.strip("/")
    with httpx.Client(base_url=tracking_url, timeout=30) as server:
        found: Files = {}
        folders = [""]
        while folders:
            below = folders.pop()
            listed = server.get(API, params={"path": f"{root}/{below}".strip("/")})
            for entry in listed.raise_for_status().json().get("files", []):
                name = f"{below}/{entry['path'].rpartition('/')[2]}".lstrip("/")
                if entry["is_dir"]:
                    folders.append(name)
                else:
                    content = server.get(f"{API}/{root}/{name}").raise_for_status()
                    found[name] = content.content
        return found


def write(tracking_url: str, artifact: str, files: Files) -> None:
    """Put `files` where `read` finds them."""
    root = urlsplit(artifact).path.strip("/")
    # By the name it has for others: its address may be new to it.
    host = {"Host": "mlflow:5000"}
    with httpx.Client(base_url=tracking_url, headers=host, timeout=30) as server:
        for name, content in files.items():
            server.put(f"{API}/{root}/{name}", content=content).raise_for_status()
