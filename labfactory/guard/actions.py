"""What the guard does to a release: one write of its route."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from labfactory.errors import LabError
from labfactory.guard import wanted
from labfactory.guard.known import GUARD, Known
from labfactory.guard.memory import Remembered
from labfactory.releases.decisions.observed import Decision
from labfactory.releases.routes import Progress, Routes, Verdict
from model_templates.routes import rules, service_name

HOUR = 3600.0


def iso(now: float) -> str:
    """A Unix time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")


def left(
    most: int,
    releases: Iterable[Known],
    memories: Mapping[str, Remembered],
    now: float,
) -> int:
    """How many of `most` actions within an hour are left, over all releases.

    Routes tell of actions too, whose guard did not live to remember them. An action
    in the future was made before the clock was put back, and counts.
    """
    acted = {
        (release, at) for release, memory in memories.items() for at in memory.acted
    } | {(known.release, at) for known in releases for at in known.acted()}
    recent = [at for _, at in acted if now - _unix(at, now) < HOUR]
    return most - len(recent)


def is_open(known: Known, decision: Decision) -> bool:
    """Whether a decision can still be carried out, and is not carried out yet."""
    if decision.variant is None or decision.variant not in known.settings.variants:
        return False
    variant = known.settings.variants[decision.variant]
    if decision.act == "roll_back":
        return variant.role != "rejected" and known.answers(decision.variant)
    return (
        decision.act == "promote"
        and variant.role == "candidate"
        and decision.traffic is not None
        and known.live.get(decision.variant, 0) < decision.traffic
    )


def carry_out(
    routes: Routes,
    known: Known,
    decision: Decision,
    ready: Mapping[str, bool],
    *,
    at: str,
) -> None:
    """Promote or roll back, as decided. Raises LabError when nothing has changed."""
    release, variant = known.release, decision.variant
    assert variant is not None
    because = wanted.short(decision.reason)
    if decision.act == "roll_back":
        after = wanted.taken_back(release, known.settings, variant, because)
        good = after.stable()
        if not ready.get(service_name(release, good)):
            raise LabError(
                f"release {release!r}: {variant} can't be taken back, because {good} "
                "is not ready"
            )
        verdict = Verdict(
            release=release,
            rejected=(variant,),
            because=because,
            by=GUARD,
            at=at,
            evidence=dict(decision.evidence),
        )
        routes.turn(release, rules(release, after), verdict)
        return
    assert decision.traffic is not None
    after = wanted.given(release, known.settings, known.live, variant, decision.traffic)
    step = Progress(variant, decision.traffic, at, because)
    routes.advance(release, rules(release, after), step)


def _unix(at: str, otherwise: float) -> float:
    """A time of an action; one that can't be read counts as recent."""
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        return otherwise
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
