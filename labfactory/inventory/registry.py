"""Every version of every model that a lab's registry has."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from labfactory.inventory.promised import Registered
from model_templates.manifests import card_address

AT_ONCE = 8


def registered(url: str, bucket: str) -> list[Registered]:
    """Every version of every model that MLflow at `url` has; raises LabError."""
    from labfactory.releases.models.registry import PROXIED
    from labfactory.releases.models.server import NotThere, Server

    server, token = Server(url), ""
    found: list[Mapping[str, Any]] = []
    while True:
        page = server.ask("model-versions/search", max_results="200", page_token=token)
        found += page.get("model_versions") or ()
        token = page.get("next_page_token") or ""
        if not token:
            break

    def one(entry: Mapping[str, Any]) -> Registered | None:
        name, version = entry["name"], str(entry["version"])
        asked = "model-versions/get-download-uri"
        try:
            artifact = server.ask(asked, name=name, version=version)["artifact_uri"]
        except NotThere:
            return None  # deleted since it was listed
        has_card = False
        if artifact.startswith(PROXIED):
            path = artifact.removeprefix(PROXIED).lstrip("/")
            artifact = f"s3://{bucket}/{path}"
            folder, _, page = card_address(path).rpartition("/")
            has_card = (page, False) in server.listed(folder)
        made = datetime.fromtimestamp(int(entry["creation_timestamp"]) / 1000, UTC)
        when = made.isoformat(timespec="seconds")
        return Registered(name, int(version), artifact, when, has_card)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [each for each in pool.map(one, found) if each]
