"""The engine, asked about one release at a time."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from labfactory.guard.journal import Journal
from labfactory.guard.known import Known
from labfactory.releases.decisions.observed import Decision, Observed, State
from model_templates.routes import service_name

Decide = Callable[..., tuple[Decision, State]]


@dataclass
class Look:
    """What was decided about one release in one round."""

    known: Known
    before: State
    seen: Observed
    decision: Decision
    state: State


class Judge:
    """Asks the engine, and keeps one release's trouble from the others."""

    def __init__(
        self, decide: Decide, journal: Journal, now: Callable[[], float]
    ) -> None:
        """`decide` is the engine; `now` is the Unix time."""
        self._decide = decide
        self._journal = journal
        self._now = now
        self.confused: dict[str, str] = {}
        """Why a release can't be judged, by release."""

    def look(
        self,
        known: Known,
        before: State,
        seen: Observed,
        ready: Mapping[str, bool],
        budget: int,
    ) -> Look | None:
        """Decide about a release; one that can't be judged is left as it is.

        `ready` is by service.
        """
        release = known.release
        readiness = {
            name: ready.get(service_name(release, name), False)
            for name in known.settings.variants
        }
        seen = replace(seen, ready=readiness)
        try:
            decision, state = self._asked(known, before, seen, budget)
        except Exception as error:
            # One release that is beyond the engine must not blind it for the others.
            why = f"it can't be judged ({type(error).__name__}: {error})"
            self.confused[release] = why
            said = traceback.format_exc()
            self._journal.trouble(f"release {release}", why, detail=said)
            return None
        self.confused.pop(release, None)
        self._journal.trouble(f"release {release}", None)
        return Look(known, before, seen, decision, state)

    def held(self, look: Look) -> tuple[Decision, State]:
        """The decision when nothing may be done: what was seen is counted all the
        same."""
        return self._asked(look.known, look.before, look.seen, 0)

    def keep_only(self, releases: Mapping[str, object]) -> None:
        """Forget releases that are gone."""
        for release in self.confused.keys() - releases.keys():
            del self.confused[release]

    def _asked(
        self, known: Known, before: State, seen: Observed, budget: int
    ) -> tuple[Decision, State]:
        return self._decide(
            known.release,
            known.settings,
            known.live,
            before,
            seen,
            now=self._now(),
            budget=max(0, budget),
        )
