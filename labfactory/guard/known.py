"""What the guard knows of one release by its live route. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labfactory.guard import wanted
from labfactory.releases import traffic
from labfactory.releases.routes import PROGRESS, Progress, Verdict, verdicts_on
from model_templates.routes import settings_of
from stacks.schema import ReleaseConfig

GUARD = "guard"
"""Who has taken a variant back, in a verdict of the guard's."""


@dataclass(frozen=True)
class Known:
    """One release: what the settings say, and what its route does."""

    release: str
    route: Mapping[str, Any]
    settings: ReleaseConfig
    """Those that the route was made from, with its verdicts applied."""
    live: Mapping[str, int]
    """Per cent of the requests by variant."""
    verdicts: tuple[Verdict, ...]
    progress: Progress | None

    @property
    def may_act(self) -> bool:
        """Whether the rules let the guard do anything but tell."""
        return self.settings.guard.mode == "act"

    def answers(self, variant: str) -> bool:
        """Whether callers get answers of a variant."""
        return traffic.read(self.release, self.route).answers(variant)

    def acted(self) -> set[str]:
        """Times at which the guard has changed the route, as it says itself."""
        times = {each.at for each in self.verdicts if each.by == GUARD}
        return times | ({self.progress.at} if self.progress else set())

    def is_changing(self) -> bool:
        """Whether there is anything to promote or to take back."""
        return any(
            each.role == "previous"
            or (each.role == "candidate" and (self.live.get(name) or each.match))
            for name, each in self.settings.variants.items()
        )

    def phase(self) -> str:
        """Where the release is on its way, in a word or two."""
        candidates = {
            self.live.get(name, 0)
            for name, each in self.settings.variants.items()
            if each.role == "candidate"
        }
        if candidates & {*range(1, 100)}:
            return "rollout"
        if self.verdicts:
            return "taken back"
        return "watch" if 100 in candidates else "steady"

    def is_held(self) -> bool:
        """Whether a candidate has some of the requests, and might get more."""
        return self.phase() == "rollout"


def read(release: str, route: Mapping[str, Any]) -> Known | None:
    """What a live route says; None when it does not say its settings.

    Raises KeyError, TypeError or ValueError when they are of another version of the
    lab.
    """
    settings = settings_of(route)
    if settings is None:
        return None
    verdicts = tuple(verdicts_on({release: route}))
    text = (route["metadata"].get("annotations") or {}).get(PROGRESS)
    return Known(
        release=release,
        route=route,
        settings=wanted.judged(release, settings, verdicts),
        live=traffic.read(release, route).weights,
        verdicts=verdicts,
        progress=Progress.read(text) if text else None,
    )
