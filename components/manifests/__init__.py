"""Others' objects that the platform needs, taken from their Go modules by `render`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def load(name: str) -> list[dict[str, Any]]:
    """The objects in `<name>.json`."""
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text())[
        "objects"
    ]
    return found
