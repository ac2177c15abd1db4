"""`pulumi up` when there is nothing to do."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import yaml

from labfactory import paths
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME, Ground

EMPTY = "labbench-empty"


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Run `pulumi up` of the lab and of a program without resources, in turns."""
    ground.lab()
    with tempfile.TemporaryDirectory() as folder:
        project = _empty_project(Path(folder))
        ground.pulumi("stack", "init", EMPTY, project=project)
        ground.pulumi_up()
        ground.pulumi_up(project=project, stack=EMPTY)
        values, floors, changed = [], [], 0
        for _ in range(runs):
            values.append(ground.pulumi_up())
            changed += _changes(ground)
            floors.append(ground.pulumi_up(project=project, stack=EMPTY))
    return [
        Figure(
            "`pulumi up` with nothing to change",
            "the same for an empty program",
            "s",
            Aim(2),
            tuple(values),
            tuple(floors),
            note=f"{changed} changes",
        )
    ]


def _empty_project(folder: Path) -> Path:
    runtime = {"name": "python", "options": {"virtualenv": str(venv())}}
    text = yaml.safe_dump({"name": "empty", "runtime": runtime})
    (folder / "Pulumi.yaml").write_text(text)
    (folder / "__main__.py").write_text("import pulumi\n")
    return folder


def venv() -> Path:
    """The environment that the lab's program runs in."""
    return paths.PROJECT / ".venv"


def _changes(ground: Ground) -> int:
    history = ground.pulumi(
        "stack", "history", "--json", "--page-size", "1", "--stack", NAME
    )
    operations: dict[str, int] = json.loads(history)[0]["resourceChanges"]
    return sum(number for name, number in operations.items() if name != "same")
