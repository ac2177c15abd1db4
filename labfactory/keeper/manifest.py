"""What a backup says of itself: enough to prove that a restore is equal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from labfactory.errors import LabError

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """One consistent state of a lab."""

    lab: str
    consistent_at: str
    """ISO time that database and objects are of."""
    database: Mapping[str, Mapping[str, Any]]
    """`rows` and `sum` by table."""
    objects: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """`bytes` and `sha256` by key, by bucket."""
    runs: int
    """MLflow's runs, deleted ones included."""
    models: Mapping[str, Mapping[str, str]]
    """`artifact` and `digest` by NAME/VERSION of the registry."""
    predictions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`artifact`, `rows` and `answers` by RELEASE/VARIANT."""
    settings_at: str | None = None
    """When the settings in it were written down; None: there are none."""
    cluster: tuple[str, ...] = ()
    """KIND/NAME of the objects that no program declares."""
    notes: tuple[str, ...] = ()
    """What it lacks, and why."""
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table["rows"] for table in self.database.values())

    @property
    def keys(self) -> int:
        """Objects of all buckets."""
        return sum(map(len, self.objects.values()))

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into the folder of the copy."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True)
        (folder / NAME).write_text(text)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read it. Raises LabError when it is missing, broken or of another format."""
        where = f"{NAME} of the backup"
        try:
            found = json.loads((folder / NAME).read_text())
            if found["format"] != FORMAT:
                raise LabError(
                    f"{where}: has format {found['format']}, this keeper reads "
                    f"{FORMAT}; restore with the version of labfactory that made it"
                )
            known = {each.name for each in fields(cls)}
            taken = {key: value for key, value in found.items() if key in known}
            for name in ("cluster", "notes"):
                taken[name] = tuple(taken.get(name, ()))
            return cls(**taken)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LabError(
                f"{where}: can't be read ({type(error).__name__}: {error}); restore an "
                "older one with `--at`"
            ) from None
