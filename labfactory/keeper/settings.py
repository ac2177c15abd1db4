"""What a pod of the keeper is told, by its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from labfactory.errors import LabError

REPOSITORY = ("RESTIC_REPOSITORY", "RESTIC_PASSWORD")
COPIES = (
    *REPOSITORY,
    "LAB",
    "STORE_ENDPOINT",
    "STORE_KEY_ID",
    "STORE_SECRET",
    "BUCKETS",
    "DATABASE_URI",
)
NEEDED = {"backup": COPIES, "drill": COPIES, "restore": COPIES, "check": REPOSITORY}
"""Variables without which a verb can do nothing."""


@dataclass(frozen=True)
class StoreAccess:
    """How to get into an object store."""

    endpoint: str
    region: str
    key_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class RepositoryAccess:
    """Where encrypted copies are kept, and how to get in."""

    url: str
    """`s3:ENDPOINT/BUCKET/LAB`, or a folder."""
    password: str = field(repr=False)
    key_id: str
    secret: str = field(repr=False)
    region: str

    @property
    def endpoint(self) -> str:
        """Address of the second store; empty where the repository is a folder."""
        if not self.url.startswith("s3:http"):
            return ""
        address = urlsplit(self.url.removeprefix("s3:"))
        return f"{address.scheme}://{address.netloc}"


@dataclass(frozen=True)
class DatabaseAccess:
    """How to get into a PostgreSQL database."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    name: str

    @classmethod
    def of(cls, uri: str) -> DatabaseAccess:
        """Read `postgresql://USER:PASSWORD@HOST:PORT/NAME`. Raises LabError."""
        address = urlsplit(uri)
        try:
            port = address.port or 5432
        except ValueError:
            port = 0
        if not (port and address.hostname and address.username and address.path[1:]):
            raise LabError(
                "DATABASE_URI: is not the address of a database; it has to be "
                "postgresql://USER:PASSWORD@HOST:PORT/NAME"
            )
        return cls(
            address.hostname,
            port,
            unquote(address.username),
            unquote(address.password or ""),
            unquote(address.path[1:]),
        )

    @property
    def uri(self) -> str:
        """The address without the password, for sentences."""
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.name}"


@dataclass(frozen=True)
class Model:
    """A variant that is served from an artifact in the lab's store."""

    artifact: str
    digest: str
    url: str


@dataclass(frozen=True)
class Settings:
    """Everything that the environment says."""

    lab: str
    namespace: str
    staging: Path
    record: Path
    repository: RepositoryAccess
    store: StoreAccess
    buckets: tuple[str, ...]
    database_uri: str = field(repr=False)
    keep: Mapping[str, int]
    """How many backups of an hour, a day, a week and a month are kept."""
    models: Mapping[str, Model]
    """By RELEASE/VARIANT."""
    at: datetime | None
    """A restore's time; None is the newest backup."""
    newest: bool
    """Whether that is to be the newest of all: never an older one in its place."""
    over: str
    """Name of the lab whose content a restore may replace."""
    mend: bool
    """Whether a backup first reads all that is kept, and replaces what is damaged."""

    @property
    def database(self) -> DatabaseAccess:
        """How to get into the database. Raises LabError."""
        return DatabaseAccess.of(self.database_uri)

    @property
    def copy(self) -> Path:
        """Folder of the copy that is put together or was brought back."""
        return self.staging / "copy"


def read(said: Mapping[str, str], verb: str) -> Settings:
    """Read the environment of `verb`; one LabError names everything that is missing."""
    if missing := [name for name in NEEDED[verb] if not said.get(name)]:
        raise LabError(
            f"the environment lacks {', '.join(missing)}; the lab's program sets them: "
            "run `lab up`"
        )
    return Settings(
        lab=said.get("LAB", ""),
        namespace=said.get("NAMESPACE", said.get("LAB", "")),
        staging=Path(said.get("STAGING", "/staging")),
        record=Path(said.get("RECORD", "/run/record")),
        repository=RepositoryAccess(
            url=said["RESTIC_REPOSITORY"],
            password=said["RESTIC_PASSWORD"],
            key_id=said.get("AWS_ACCESS_KEY_ID", ""),
            secret=said.get("AWS_SECRET_ACCESS_KEY", ""),
            region=said.get("AWS_DEFAULT_REGION", "us-east-1"),
        ),
        store=StoreAccess(
            said.get("STORE_ENDPOINT", ""),
            said.get("STORE_REGION", "us-east-1"),
            said.get("STORE_KEY_ID", ""),
            said.get("STORE_SECRET", ""),
        ),
        buckets=tuple(filter(None, said.get("BUCKETS", "").split(","))),
        database_uri=said.get("DATABASE_URI", ""),
        keep=_tree(said, "KEEP"),
        models={
            name: Model(m["artifact"], m.get("digest", ""), m.get("url", ""))
            for name, m in _tree(said, "MODELS").items()
        },
        at=_time(said.get("AT", "")),
        newest=bool(said.get("NEWEST")),
        over=said.get("OVER", ""),
        mend=bool(said.get("MEND")),
    )


def child(**more: str) -> dict[str, str]:
    """The environment of a child process: no key but those in `more`."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "LD_LIBRARY_PATH")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    return {**own, "TZ": "UTC", **more}


def _tree(said: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        found = json.loads(said.get(name) or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise LabError(f"{name}: is not an object in JSON; run `lab up`")
    return found


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise LabError(
            f"AT: {text!r} is not a time; write it like 2026-01-31T14:30+00:00"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
