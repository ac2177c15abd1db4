"""The settings that a lab was last brought to, as Pulumi has kept them."""

from __future__ import annotations

import json
import os
import subprocess

from pydantic import ValidationError

from labfactory import environment
from labfactory.stack import Stack
from stacks.schema import PROJECT, LabConfig

UPDATES = 20
"""Updates that are looked through for one that has succeeded."""


def applied(stack: Stack) -> LabConfig | None:
    """Return the settings of the last `lab up` that succeeded.

    None when there was none, or when these settings would not be valid today.
    """
    # stdout alone is JSON; what Pulumi cannot do here, the preview says better.
    asked = ("stack", "history", "--json", "--page-size", str(UPDATES))
    done = subprocess.run(
        ["pulumi", *asked, "--stack", stack.name, "--non-interactive"],
        cwd=stack.project,
        env={**os.environ, **environment.variables()},
        capture_output=True,
        text=True,
        check=False,
    )
    return read(done.stdout) if done.returncode == 0 else None


def read(history: str) -> LabConfig | None:
    """Return the newest settings in the JSON of `pulumi stack history`. Pure."""
    for update in json.loads(history or "[]") or []:
        if update.get("kind") != "update" or update.get("result") != "succeeded":
            continue
        found = (update.get("config") or {}).get(f"{PROJECT}:lab") or {}
        try:
            return LabConfig.model_validate_json(found.get("value") or "")
        except ValidationError:
            return None
    return None
