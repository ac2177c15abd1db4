"""Which alarms the guard raises, and how loud they are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from labfactory.guard.known import GUARD, Known
from labfactory.guard.memory import Remembered
from labfactory.releases.decisions.observed import Alarm

PAGES = frozenset(
    {
        "GuardBlind",
        "GuardCannotAct",
        "NowhereToGoBack",
        "ReleaseFailing",
        "ReleaseTakenBack",
    }
)
"""Alarms that somebody has to hear of now; the others can wait for the morning."""


@dataclass(frozen=True)
class Raised:
    """One alarm about one release."""

    release: str
    alarm: Alarm
    evidence: Mapping[str, str] = field(default_factory=dict, compare=False)

    def labels(self, lab: str) -> dict[str, str]:
        """What tells it from other alarms."""
        found = {
            "alertname": self.alarm.name,
            "lab": lab,
            "release": self.release,
            "severity": "page" if self.alarm.name in PAGES else "ticket",
        }
        if self.alarm.variant:
            found["variant"] = self.alarm.variant
        return found


def of_releases(
    releases: Iterable[Known], memories: Mapping[str, Remembered]
) -> Iterator[Raised]:
    """The alarms of each release: the engine's, and what became of its decisions."""
    for known in releases:
        memory = memories.get(known.release, Remembered())
        for alarm in memory.alarms:
            yield Raised(known.release, alarm)
        yield from _of_verdicts(known)
        last = memory.retrained
        if last and last.failed:
            why = f"the training {last.job} has registered no new version"
            yield Raised(known.release, Alarm("RetrainingFailed", why))


def of_blindness(reasons: Mapping[str, str]) -> Iterator[Raised]:
    """An alarm for each release that can't be watched, and why."""
    for release, why in reasons.items():
        yield Raised(release, Alarm("GuardBlind", why))


def _of_verdicts(known: Known) -> Iterator[Raised]:
    """One for each variant that the guard took back, until the settings say so."""
    for verdict in known.verdicts:
        for variant in verdict.rejected if verdict.by == GUARD else ():
            summary = f"{variant} was taken back: {verdict.because}"
            alarm = Alarm("ReleaseTakenBack", summary, variant)
            yield Raised(known.release, alarm, verdict.evidence)
