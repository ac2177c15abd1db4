"""Shadows that say something else than what they shadow. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

from labfactory.releases.decisions.case import Case
from labfactory.releases.decisions.kept import Kept
from labfactory.releases.decisions.observed import Agreement, Alarm
from stacks.schema import ReleaseConfig

MAY_DISAGREE = ("shadow", "candidate")
"""A candidate may have been a shadow before."""


def listen(
    kept: Mapping[str, Kept],
    settings: ReleaseConfig,
    seen: Mapping[str, Agreement],
) -> list[Alarm]:
    """Take in a look; return an alarm for each variant that disagrees too often.

    The test is a one-sample one, at `false_alarm` for each variant.
    """
    rule = settings.guard.agreement
    need = -log(settings.guard.false_alarm)
    alarms = []
    for name, each in kept.items():
        if rule is None or settings.variants[name].role not in MAY_DISAGREE:
            each.disagreement = {}
            continue
        share, may = f"{rule.at_least:g}", 1 - rule.at_least
        case = each.disagreement.get(share, Case())
        if found := seen.get(name):
            sample = found.compared, found.compared - found.agreed
            case.alone(sample, (0, 0), may, 1.0, need, sudden=False)
            each.disagreement = {share: case}
        if case.evidence >= need:
            n, k = case.since[:2]
            told = f"{name} disagrees on {k:,.0f} of {n:,.0f} requests, where "
            told += f"{100 * may:.3g} % may"
            alarms.append(Alarm("ShadowDisagrees", told, name))
    return alarms
