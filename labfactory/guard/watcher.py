"""The loop around the engine: look, decide, act, remember.

Every decision is the engine's. What is here sees to it that one guard acts at a time,
that no release waits for another's trouble, and that nothing is lost between two steps:
the route is written first and says itself what was done, so a guard that dies there
finds it out from the route.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from threading import Event

import httpx2

from labfactory.errors import LabError
from labfactory.guard import actions
from labfactory.guard.alarms import Raised, of_blindness, of_releases
from labfactory.guard.alerts import Alerts
from labfactory.guard.cluster import Cluster
from labfactory.guard.figures import Figures
from labfactory.guard.hands import Hands
from labfactory.guard.journal import Journal
from labfactory.guard.judge import Decide, Judge, Look
from labfactory.guard.known import Known
from labfactory.guard.lease import Leadership
from labfactory.guard.memories import Memories
from labfactory.guard.patience import Patience
from labfactory.guard.reader import Reader
from labfactory.guard.retraining import Retraining
from labfactory.guard.view import View
from labfactory.releases.decisions.guard import NOTHING_NEW
from labfactory.releases.decisions.observed import Decision, State

LATE_INTERVALS = 3.5
"""After so long without a new measurement the engine hears that there is none."""


@dataclass(frozen=True)
class Parts:
    """What the watcher works with."""

    reader: Reader
    cluster: Cluster
    leadership: Leadership
    alerts: Alerts
    retraining: Retraining
    figures: Figures
    decide: Decide


class Watcher:
    """Watches the releases of one lab."""

    def __init__(
        self,
        parts: Parts,
        *,
        interval: float,
        actions_per_hour: int,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        log: Callable[[str], None] = print,
    ) -> None:
        """Decide every `interval` seconds; `now` is the Unix time."""
        self._parts = parts
        self._interval = interval
        self._pause = min(1.0, max(0.5, interval / 5))
        self._clock, self._now = clock, now
        self._journal = Journal(log, now)
        self._patience = Patience(self._journal, clock)
        self._judge = Judge(parts.decide, self._journal, now)
        self._memories = Memories(parts.cluster, clock)
        self._view = View()
        self._term = 0
        self._poll_at = self._round_at = float("-inf")
        self._hands = Hands(
            parts.cluster,
            parts.leadership,
            view=self._view,
            memories=self._memories,
            judge=self._judge,
            journal=self._journal,
            most=actions_per_hour,
            now=now,
        )

    def run(self, stop: Event) -> None:
        """Watch until `stop` is set, then let another guard do it."""
        while not stop.is_set():
            try:
                self.tick()
            except Exception:
                # Told, and tried again; the kubelet restarts a guard whose every
                # try ends here.
                self._journal.say("error", traceback=traceback.format_exc())
            stop.wait(self._pause)
        try:
            self._parts.leadership.release()
        except httpx2.HTTPError as error:
            self._journal.say("lease is not given back", reason=type(error).__name__)

    def tick(self) -> None:
        """Do what is due."""
        parts, now = self._parts, self._clock()
        if self._leads():
            new = False
            if now >= self._poll_at:
                new = parts.reader.poll()
                self._poll_at = now + (self._interval if new else 0) - self._pause
            late = now - self._round_at >= LATE_INTERVALS * self._interval
            if new or late:
                self._round_at = now
                self.round()
            elif self._hands.undone:
                self._look_around()
            self._journal.trouble("alerts", parts.alerts.say(self._raised()))
        parts.figures.leader.set(parts.leadership.held())
        parts.figures.odd.set(parts.reader.odd)
        parts.figures.beat()

    def round(self) -> None:
        """Look at all releases, decide about each, and act: rollbacks first."""
        parts, view = self._parts, self._view
        self._look_around()
        releases = view.releases
        changing = {name for name, each in releases.items() if each.is_changing()}
        seen = parts.reader.take(
            {name: known.settings for name, known in releases.items()}, changing
        )
        self._journal.trouble("measurements", parts.reader.trouble)
        budget = self._hands.left()
        looks = []
        # The first measurement only says from where the next ones count.
        told = bool(parts.reader.trouble) or parts.reader.has_begun
        for release, known in releases.items() if told else ():
            before = self._memories.get(release).state
            look = self._judge.look(known, before, seen[release], view.ready, budget)
            looks += [look] if look else []
        looks.sort(key=lambda look: look.decision.act != "roll_back")
        for look in looks:
            self._hands.act(look)
        for look in looks:
            self._remember(look)
        parts.figures.round.set(self._now())

    def _leads(self) -> bool:
        """Whether this guard is the one that watches; a new one reads the memories."""
        leadership = self._parts.leadership
        try:
            if leadership.tick():
                self._journal.trouble("lease", None)
        except httpx2.HTTPError as error:
            why = f"it can't be renewed ({type(error).__name__})"
            self._journal.trouble("lease", why)
        if leadership.is_lost():
            if self._term:
                self._journal.say("stands by", reason="another guard holds the lease")
            self._term = 0
            return False
        if self._term != leadership.term:
            self._parts.reader.forget()
            self._hands.undone.clear()
            if not self._patience.ask("memories", self._load):
                return False
            self._term = leadership.term
            self._journal.say("leads", term=self._term)
        return True

    def _load(self) -> None:
        for sentence in self._memories.load():
            self._journal.say("memory is lost", reason=sentence)

    def _look_around(self) -> None:
        """Look at the cluster, and do what could not be done before."""
        view, routes = self._view, self._parts.cluster.routes
        while True:
            view.is_fresh = self._patience.ask("routes", lambda: view.refresh(routes))
            if not view.is_fresh:
                return
            self._forget_gone()
            done = self._hands.do_undone()
            if not done:
                return
            for known, decision in done:
                state = self._memories.get(known.release).state
                self._note(known, decision, state)

    def _remember(self, look: Look) -> None:
        known, decision, release = look.known, look.decision, look.known.release
        self._note(known, decision, look.state)
        figures = self._parts.figures
        figures.decisions.labels(release, decision.act).inc()
        held = known.is_held() and decision.act == "hold"
        figures.holding.labels(release).set(held)

    def _note(self, known: Known, decision: Decision, state: State) -> None:
        """Remember a decision and what it rests on, and write that when it is due."""
        release = known.release
        before = self._memories.get(release)
        if decision.reason == NOTHING_NEW and before.decisions:
            return  # what was decided last holds
        at = actions.iso(self._now())
        memory = before.having(decision, state, phase=known.phase(), at=at)
        new = memory.decisions[-1]
        if not before.decisions or not new.is_like(before.decisions[-1]):
            self._journal.say("decision", release=release, **asdict(new))
        self._memories.of[release] = memory
        if self._parts.leadership.held():
            self._retrain(known, decision)
            self._patience.ask("memories", lambda: self._memories.save(known))

    def _retrain(self, known: Known, decision: Decision) -> None:
        release = known.release
        memory = self._memories.get(release)
        try:
            retrained = self._parts.retraining.go_on(
                release,
                known.settings.retrain,
                memory.retrained,
                wanted=decision.retrain and known.may_act,
            )
        except LabError as error:
            self._journal.trouble(f"training of {release}", str(error))
            return
        self._journal.trouble(f"training of {release}", None)
        if retrained and retrained != memory.retrained:
            self._memories.of[release] = replace(memory, retrained=retrained)
            self._journal.say("training", release=release, **asdict(retrained))

    def _raised(self) -> list[Raised]:
        view, memories = self._view, self._memories.of
        return [
            *of_releases(view.releases.values(), memories),
            *of_blindness({**view.unread, **self._judge.confused}),
        ]

    def _forget_gone(self) -> None:
        there = {**self._view.releases, **self._view.unread}
        for release in self._memories.keep_only(there):
            self._parts.figures.holding.remove(release)
        self._judge.keep_only(there)
