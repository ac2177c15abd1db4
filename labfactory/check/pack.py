"""The committed policy pack, in the form that every `pulumi` can start.

A CLI without its own way to start packs in Python takes the plugin
`pulumi-analyzer-policy-RUNTIME`, with the RUNTIME of PulumiPolicy.yaml. So a twin of
the pack is made, with a runtime of our own: the same on every machine.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from labfactory import paths

RUNTIME = "labfactory"
PLUGIN = f"analyzer-policy-{RUNTIME}"
POLICY = f"""name: labfactory
description: The twin of policies/; made by `lab`, do not edit.
runtime: {RUNTIME}
"""


@dataclass(frozen=True)
class Run:
    """One run of Pulumi with the pack."""

    environment: Mapping[str, str]
    flags: tuple[str, ...]
    """What `pulumi preview` and `pulumi up` are told."""
    told: Path
    """The file in which the pack writes what it has found."""

    def found(self) -> list[dict[str, str]]:
        """Each breach: its `rule`, `level`, and the sentence that was `told`.

        Nothing when it never came to that.
        """
        rows: list[dict[str, str]] = self._read().get("found", [])
        return rows

    def refusal(self, stack: str) -> str | None:
        """Every mandatory rule that is broken, as a text; None without any."""
        refused = [row for row in self.found() if row["level"] == "mandatory"]
        if not refused:
            return None
        changed = "nothing was changed" if self._read()["preview"] else "see above"
        lines = [f"  {row['told']} ({row['rule']})" for row in refused]
        return f"stack {stack!r}: refused by its policies; {changed}:\n" + "\n".join(
            lines
        )

    def _read(self) -> dict[str, Any]:
        if not self.told.is_file():
            return {}
        read: dict[str, Any] = json.loads(self.told.read_text())
        return read


def twin(home: Path, project: Path = paths.PROJECT) -> Path:
    """Folder of the twin, made where it is not there yet, with its plugin in `home`.

    `home` is Pulumi's: of an executable that lies on PATH it warns in every run.
    """
    made = paths.data() / "policy-pack"
    program = project / "policies" / "__main__.py"
    script = (
        "#!/bin/sh\n# Made by `lab`: starts the policy pack.\n"
        f"exec {shlex.quote(sys.executable)} {shlex.quote(str(program))}\n"
    )
    _write(made / "PulumiPolicy.yaml", POLICY, mode=0o644)
    # Any version will do: the project of a pack asks for none.
    _write(
        home / "plugins" / f"{PLUGIN}-v0.0.1" / f"pulumi-{PLUGIN}", script, mode=0o755
    )
    return made


@contextmanager
def run(given: Mapping[str, str], drill: Mapping[str, Any] | None) -> Iterator[Run]:
    """Prepare one run of Pulumi in the environment `given`, which names the twin.

    `drill` is the last drill as it was recorded: None where nobody has asked for it.
    """
    with TemporaryDirectory(prefix="labfactory-") as into:
        facts, told = Path(into, "facts.json"), Path(into, "told.json")
        facts.write_text(json.dumps({"drill": drill}, default=str))
        yield Run(
            environment={
                **given,
                "LABFACTORY_FACTS": str(facts),
                "LABFACTORY_TOLD": str(told),
            },
            flags=("--policy-pack", given["LABFACTORY_POLICIES"]),
            told=told,
        )


def _write(path: Path, content: str, *, mode: int) -> None:
    if path.is_file() and path.read_text() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another `lab` may read it at this moment: it sees the old one or the new one.
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(content)
    fresh.chmod(mode)
    fresh.replace(path)
