"""Change a lab's releases: edit the settings, look at what it means, apply it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from labfactory import labs
from labfactory.errors import LabError
from labfactory.releases.planning.plan import plan
from labfactory.releases.planning.shown import terminal
from labfactory.settings import history
from labfactory.settings.edit import Edit, edit
from labfactory.stack import Stack

Tree = Mapping[str, Any]


def change(
    lab: str,
    operation: Callable[[dict[str, Any]], Tree],
    subject: str,
    *,
    no_way_back: str | None = None,
    push: bool = False,
) -> None:
    """Do `operation` on the settings of `lab`, show the plan, and apply it.

    A plan that refuses the change takes the edit back: raises LabError with every
    refusal. `subject` is what the edit's commit says.
    """
    stack = Stack(lab)
    edited = edit(stack.file, operation)
    if edited.before == edited.after:
        return
    undone = Edit(edited.path, before=edited.after, after=edited.before)
    edited.write()
    try:
        found = plan(lab, no_way_back=no_way_back)
    except BaseException:
        undone.write()
        raise
    console = Console(stderr=True)
    console.print(terminal(found))
    if found.refusals:
        undone.write()
        refusals = "\n".join(f"  {refusal}" for refusal in found.refusals)
        raise LabError(
            f"{subject}: refused, the settings are as they were:\n{refusals}"
        )
    evidence = {"No-way-back": no_way_back} if no_way_back else {}
    console.print(
        history.kept(
            stack.file, subject=subject, reason=None, evidence=evidence, push=push
        )
    )
    labs.stand_up(lab)
