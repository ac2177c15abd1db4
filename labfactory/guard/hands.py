"""Carries decisions out, as often as the settings allow, and tries rollbacks again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from labfactory.errors import LabError
from labfactory.guard import actions
from labfactory.guard.cluster import Cluster
from labfactory.guard.journal import Journal
from labfactory.guard.judge import Judge, Look
from labfactory.guard.known import Known
from labfactory.guard.lease import Leadership
from labfactory.guard.memories import Memories
from labfactory.guard.view import View
from labfactory.releases.decisions.observed import Alarm, Decision


class Hands:
    """Acts for one watcher."""

    def __init__(
        self,
        cluster: Cluster,
        leadership: Leadership,
        *,
        view: View,
        memories: Memories,
        judge: Judge,
        journal: Journal,
        most: int,
        now: Callable[[], float],
    ) -> None:
        """Act at most `most` times an hour, over all releases."""
        self._cluster = cluster
        self._leadership = leadership
        self._view = view
        self._memories = memories
        self._judge = judge
        self._journal = journal
        self._most = most
        self._now = now
        self.undone: dict[str, Decision] = {}
        """Rollbacks that could not be carried out yet, by release."""

    def left(self) -> int:
        """How many actions are left this hour."""
        releases = self._view.releases.values()
        return actions.left(self._most, releases, self._memories.of, self._now())

    def act(self, look: Look) -> None:
        """Carry a decision out; one that can't be becomes to hold, and is told."""
        known, wanted, release = look.known, look.decision, look.known.release
        if not known.may_act or not actions.is_open(known, wanted):
            return
        if self.left() < 1:
            look.decision, look.state = self._judge.held(look)
            return
        why = self._carry_out(known, wanted)
        if why is None:
            self.undone.pop(release, None)
            return
        # What was seen is remembered, and not that anything was done.
        _, look.state = self._judge.held(look)
        alarms = wanted.alarms
        if wanted.act == "roll_back":
            self.undone[release] = wanted
            alarms = (*alarms, Alarm("GuardCannotAct", why, wanted.variant))
        said = f"it would {wanted.act.replace('_', ' ')}: {wanted.reason}; but {why}"
        look.decision = replace(
            wanted, act="hold", traffic=None, reason=said, alarms=alarms
        )

    def do_undone(self) -> list[tuple[Known, Decision]]:
        """Take back what could not be taken back before; return what was."""
        done = []
        for release, decision in list(self.undone.items()):
            known = self._view.releases.get(release)
            if not known or not known.may_act or not actions.is_open(known, decision):
                del self.undone[release]
            elif self.left() > 0 and self._carry_out(known, decision) is None:
                del self.undone[release]
                done.append((known, decision))
        return done

    def _carry_out(self, known: Known, decision: Decision) -> str | None:
        """Change a route; return why it could not be, as a sentence."""
        routes, release = self._cluster.routes, known.release
        at = actions.iso(self._now())
        why = None
        try:
            self._must_be_able()
            actions.carry_out(routes, known, decision, self._view.ready, at=at)
        except (LabError, ValueError) as error:
            why = str(error)
        else:
            self._memories.of[release] = self._memories.get(release).acting(at)
        self._journal.trouble(f"{decision.act} of {release}", why)
        return why

    def _must_be_able(self) -> None:
        """Raise LabError unless the routes are known, and it is ours to change them."""
        if not self._view.is_fresh:
            raise LabError("the cluster does not answer")
        if not self._leadership.held():
            raise LabError("the lease could not be renewed")
