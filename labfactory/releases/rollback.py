"""Take a bad variant back: the route at once, then the settings, then `pulumi up`.

The route carries the reason until the settings do. So whatever dies in between, the
next `lab up`, on any machine, finds what was taken back and finishes it; and a plain
`pulumi up` in between changes nothing, because the settings have not changed.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from labfactory.errors import LabError
from labfactory.releases import changes
from labfactory.releases.routes import Routes, Verdict
from labfactory.settings import history
from labfactory.settings.edit import Edit, edit
from labfactory.stack import Stack
from model_templates.routes import rules, service_name
from stacks.schema import LabConfig, ReleaseConfig


@dataclass(frozen=True)
class RolledBack:
    """What a rollback did."""

    verdict: Verdict
    stable: str
    """The variant that answers now."""
    kept: str
    """Where the settings say so, as a sentence."""


def roll_back(
    lab: str,
    release: str,
    *,
    because: str,
    variant: str | None = None,
    evidence: Mapping[str, str] | None = None,
    push: bool = False,
) -> RolledBack:
    """Turn the route of `release` to what was good, and write that down.

    Nothing is started or stopped. Raises LabError when there is nothing to go back
    to, or when it can't answer: then nothing has changed.
    """
    stack = Stack(lab)
    before = stack.settings
    change = edit(
        stack.file,
        lambda tree: changes.roll_back(tree, release, because=because, variant=variant),
    )
    after = change.settings
    found = Verdict(
        release=release,
        rejected=taken_back(before.releases[release], after.releases[release]),
        because=because,
        by=f"{getpass.getuser()}@{socket.gethostname()}",
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        evidence=evidence or {},
    )
    good = after.releases[release].stable()
    with Routes(before.cluster.context, before.name) as routes:
        if not routes.ready().get(service_name(release, good)):
            raise LabError(
                f"release {release!r}: {good} can't answer (it is not ready), so "
                f"nothing was changed; `lab up {lab}` starts it, `kubectl -n "
                f"{before.name} describe inferenceservice "
                f"{service_name(release, good)}` says more"
            )
        routes.turn(release, rules(release, after.releases[release]), found)
    return RolledBack(found, good, write_back(change, found, push=push))


def write_back(change: Edit, verdict: Verdict, *, push: bool = False) -> str:
    """Write the verdict's settings; return a sentence about where they are kept."""
    change.write()
    taken = ", ".join(verdict.rejected)
    return history.kept(
        change.path,
        subject=f"Roll back {verdict.release}: {taken} taken back",
        reason=verdict.because,
        evidence={
            "Rolled-back-by": verdict.by,
            "Rolled-back-at": verdict.at,
            **verdict.evidence,
        },
        push=push,
    )


def pending(settings: LabConfig, routes: Routes) -> list[tuple[Verdict, bool]]:
    """Rollbacks that are not finished, and whether the settings have them already."""
    return [
        (verdict, is_written(settings, verdict))
        for verdict in routes.verdicts()
        if verdict.release in settings.releases
    ]


def finish(stack: Stack) -> list[Verdict]:
    """Write what routes carry and the settings do not; return every open verdict.

    The routes keep their verdicts until `close`, when Pulumi agrees.
    """
    settings = stack.settings
    with Routes(settings.cluster.context, settings.name) as routes:
        open_ = pending(settings, routes)
    for verdict, written in open_:
        operation = partial(reapplied, () if written else verdict.rejected, verdict)
        write_back(edit(stack.file, operation), verdict)
    return [verdict for verdict, _ in open_]


def close(stack: Stack, verdicts: list[Verdict]) -> None:
    """Take verdicts off their routes, once the settings say it and Pulumi agrees."""
    if not verdicts:
        return
    settings = stack.settings
    with Routes(settings.cluster.context, settings.name) as routes:
        for verdict in verdicts:
            routes.clear(verdict.release)


def reapplied(
    rejected: Sequence[str], verdict: Verdict, tree: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The settings with the variants `rejected` taken back, as the verdict says."""
    for variant in rejected:
        tree = changes.roll_back(
            tree, verdict.release, because=verdict.because, variant=variant
        )
    return tree


def is_written(settings: LabConfig, verdict: Verdict) -> bool:
    """Whether the settings take back what the verdict does, or have it no more."""
    variants = settings.releases[verdict.release].variants
    return all(
        name not in variants or variants[name].role == "rejected"
        for name in verdict.rejected
    )


def taken_back(before: ReleaseConfig, after: ReleaseConfig) -> tuple[str, ...]:
    """The variants that one edit has rejected."""
    return tuple(
        name
        for name, variant in after.variants.items()
        if variant.role == "rejected" and before.variants[name].role != "rejected"
    )
