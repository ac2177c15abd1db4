"""Hold whole stacks against the policy rules, side by side."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from labfactory.check.declared import declared
from labfactory.errors import LabError
from policies.rules import RULES
from policies.rules.judge import findings
from policies.rules.lab import Lab
from stacks import load, text
from stacks.text import StackText

SETTINGS = "settings"
"""Stands for a rule where the settings, or the program, say nothing that can be held
against one."""
ROOMS = {"serving": "releases"}
"""Sections of the settings that are not called as the room that they are about."""


@dataclass(frozen=True)
class Breach:
    """One breach of one rule in one stack."""

    rule: str
    level: Literal["mandatory", "advisory"]
    told: str
    line: int
    """Line of the stack file, from 1."""


@dataclass(frozen=True)
class Checked:
    """One stack, looked at."""

    stack: str
    file: str
    """Its file, from the project's folder."""
    breaches: tuple[Breach, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing refuses it."""
        return all(each.level == "advisory" for each in self.breaches)


def every(stacks: Sequence[str], *, today: date) -> list[Checked]:
    """Check stacks; every committed one unless some are named. Raises LabError."""
    names = list(stacks) or committed()
    if not names:
        raise LabError(
            "stacks/: there is no stack file to check; `lab new NAME` writes one"
        )
    # Each is a process of its own: a thread only waits for it.
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(lambda name: check(name, today=today), names))


def committed(folder: Path = load.STACKS) -> list[str]:
    """Names of the stacks in git; of all there are where there is no git."""
    there = sorted(path.name for path in folder.glob("Pulumi.*.yaml"))
    try:
        listed = subprocess.run(
            ["git", "ls-files", "Pulumi.*.yaml"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        files = [name for name in listed.stdout.split() if name in there]
    except (OSError, subprocess.CalledProcessError):
        files = there
    return [name.removeprefix("Pulumi.").removesuffix(".yaml") for name in files]


def refuse(stack: str, *, today: date, drill: Mapping[str, Any] | None = None) -> None:
    """Raise LabError with every mandatory rule that a stack breaks.

    Neither the cluster nor Pulumi is asked: `drill` is the last drill, as recorded.
    """
    found = check(stack, today=today, drill=drill).breaches
    refused = [each for each in found if each.level == "mandatory"]
    if refused:
        lines = "\n".join(f"  {each.told} ({each.rule})" for each in refused)
        raise LabError(
            f"stack {stack!r}: refused by its policies; nothing was changed:\n{lines}"
        )


def check(
    stack: str, *, today: date, drill: Mapping[str, Any] | None = None
) -> Checked:
    """Hold one stack against every rule; unreadable settings are a breach too."""
    path = load.path_of(stack)
    file = load.named(path)
    try:
        load.read(path)
        resources = declared(stack)
    except load.SettingsError as error:
        return Checked(stack, file, tuple(map(_unreadable, str(error).splitlines())))
    except LabError as error:
        return Checked(stack, file, (Breach(SETTINGS, "mandatory", str(error), 1),))
    page = text.parse(path.read_bytes())
    settings = json.loads(json.dumps(page.data["config"][load.LAB[1]], default=str))
    lab = Lab(settings, resources, today, drill)
    rooms = {each.name: each.parent for each in resources}
    return Checked(
        stack,
        file,
        tuple(
            Breach(
                found.rule.name,
                found.level,
                found.told,
                _line(page, found.complaint.where, rooms),
            )
            for found in findings(lab, RULES.values())
        ),
    )


def _unreadable(sentence: str) -> Breach:
    found = re.match(r"[^:]+:(\d+): (.*)", sentence)
    if found:
        return Breach(SETTINGS, "mandatory", found[2], int(found[1]))
    return Breach(SETTINGS, "mandatory", sentence, 1)


def _line(page: StackText, where: str, rooms: Mapping[str, str]) -> int:
    """Line of a setting, or of the section that a resource follows from."""
    path: tuple[str, ...]
    if where in rooms:
        room = where
        while rooms.get(room) in rooms:
            room = rooms[room]
        path = (ROOMS.get(room, room),)
    else:
        path = tuple(where.split("."))
    return page.line((*load.LAB, *path)) or 1
