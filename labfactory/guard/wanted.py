"""What a route becomes when a variant is taken back or given more. Pure.

The settings that a route was made from, with the verdicts that it carries, are where
`lab sync` begins too: what is written here is what the next `pulumi up` would write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from labfactory.errors import LabError
from labfactory.releases import changes
from labfactory.releases.routes import Verdict
from stacks.schema import ReleaseConfig

LONGEST = 300
"""Characters of a reason in the settings."""


def judged(
    release: str, settings: ReleaseConfig, verdicts: Iterable[Verdict]
) -> ReleaseConfig:
    """The settings with everything rejected that a verdict is against."""
    found = settings
    for verdict in verdicts:
        for variant in verdict.rejected:
            known = found.variants.get(variant)
            if known and known.role != "rejected":
                with suppress(LabError):  # a person has settled it already
                    found = taken_back(release, found, variant, verdict.because)
    return found


def taken_back(
    release: str, settings: ReleaseConfig, variant: str, because: str
) -> ReleaseConfig:
    """The settings without requests for `variant`; LabError with nowhere to go."""
    tree = changes.roll_back(
        _tree(release, settings), release, because=short(because), variant=variant
    )
    return _config(release, tree)


def given(
    release: str,
    settings: ReleaseConfig,
    live: Mapping[str, int],
    variant: str,
    traffic: int,
) -> ReleaseConfig:
    """The settings with `traffic` per cent for a candidate; with all it is stable.

    Other candidates keep what they have `live`. Raises LabError when it is no
    candidate, or there is not so much to give.
    """
    tree = _tree(release, settings)
    if traffic == 100:
        return _config(release, changes.promote(tree, release, variant))
    weights = {
        name: live.get(name, each.traffic)
        for name, each in settings.variants.items()
        if each.role == "candidate"
    }
    tree = changes.weigh(tree, release, {**weights, variant: traffic})
    return _config(release, tree)


def short(reason: str) -> str:
    """A reason that the settings take: one line, not too long."""
    line = " ".join(reason.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…"


def _tree(release: str, settings: ReleaseConfig) -> dict[str, Any]:
    said = settings.model_dump(mode="json", exclude_defaults=True)
    return {"releases": {release: said}}


def _config(release: str, tree: Mapping[str, Any]) -> ReleaseConfig:
    return ReleaseConfig.model_validate_json(json.dumps(tree["releases"][release]))
