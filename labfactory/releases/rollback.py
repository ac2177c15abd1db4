"""Take a bad variant back: the route at once, then the settings, then `pulumi up`.

The route carries the reason until the settings do. So whatever dies in between, the
next `lab up`, on any machine, finds what was taken back and finishes it; and a plain
`pulumi up` in between changes nothing, because the settings have not changed.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from labfactory.errors import LabError
from labfactory.releases import changes
from labfactory.releases.carried import unwritten
from labfactory.releases.decided import verdict_message
from labfactory.releases.routes import Verdict, connect
from labfactory.settings import history
from labfactory.settings.edit import Edit, edit
from labfactory.stack import Stack
from model_templates.routes import rules, service_name
from stacks.schema import ReleaseConfig


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
    with connect(before.cluster.context, before.name) as routes:
        promoted = unwritten(release, before, routes.live())
        change = edit(
            stack.file,
            lambda tree: changes.roll_back(
                promoted(tree), release, because=because, variant=variant
            ),
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
    return history.kept(change.path, **verdict_message(verdict), push=push)


def taken_back(before: ReleaseConfig, after: ReleaseConfig) -> tuple[str, ...]:
    """The variants that one edit has rejected."""
    return tuple(
        name
        for name, variant in after.variants.items()
        if variant.role == "rejected" and before.variants[name].role != "rejected"
    )
