"""`lab check`: the policy rules over stacks, without a cluster and without Pulumi."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def show(stacks: Sequence[str], *, sarif: Path | None, junit: Path | None) -> int:
    """Check stacks, every committed one unless named, and print what was found.

    Writes reports where they are asked for. Returns 0, or 1 when a mandatory rule is
    broken or settings cannot be read. Raises LabError when there is nothing to check.
    """
    from datetime import date

    from labfactory.check import checked, reports, shown

    found = checked.every(stacks, today=date.today())
    shown.show(found)
    for path, report in ((sarif, reports.sarif), (junit, reports.junit)):
        if path:
            path.write_text(report(found), encoding="utf-8")
    return 0 if all(each.ok for each in found) else 1
