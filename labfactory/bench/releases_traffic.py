"""A route that changes under load: failed requests, the split, and the way back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME, until
from labfactory.bench.release import MODEL
from labfactory.bench.releases_canary import (
    ANSWERS_NEW,
    ANSWERS_OLD,
    NEW,
    Canary,
    lab,
    weighted,
)
from labfactory.bench.releases_watch import (
    OK,
    Answer,
    bound,
    failed,
    share,
    silenced,
    watched,
)
from labfactory.errors import LabError
from labfactory.releases import changes

CONNECTIONS = 6
CHANGES, REQUESTS = 40, 40_000
SECOND = 1.0
LONGEST = 900.0
"""Seconds in which the requests must have been answered."""
PERCENT, SAMPLE = 37, 10_000
SETTLE = 2.0
"""Seconds in which the gateway follows a route in any case."""
HALF = 50
SLOWLY = 0.01
"""Seconds between a connection's requests while commands are timed beside them."""
REASON = "the bench takes it back"
ROLLBACK = ("rollback", MODEL, "--because", REASON, "--lab", NAME)


def weights(canary: Canary, runs: int) -> list[Figure]:
    """Patch the route every second under load; once, whatever `runs` says."""
    canary.apply(canary.candidate(HALF))
    canary.await_answer(ANSWERS_NEW)
    release = canary.ground.stack.settings.releases[MODEL]
    title = f"{CHANGES} weight changes and {REQUESTS:,} requests"
    changed, deadline = 0, time.perf_counter() + LONGEST
    with (
        canary.ground.progress.step(title, estimate=80),
        watched(canary.target, connections=CONNECTIONS) as answers,
    ):
        while changed < CHANGES or len(answers) < REQUESTS:
            began = time.perf_counter()
            if began > deadline:
                raise LabError(
                    f"lab bench: {len(answers)} answers in {LONGEST:.0f} s are too "
                    "few; see what the gateway and the models are busy with"
                )
            changed += 1
            canary.turn(weighted(release, percent_of(changed)))
            time.sleep(max(0, began + SECOND - time.perf_counter()))
    canary.turn(release)
    return [failures(answers, changed)]


def percent_of(number: int) -> int:
    """The weight of a change: each from 0 to 100 once, far from the one before."""
    return 37 * number % 101


def failures(answers: Sequence[Answer], changed: int) -> Figure:
    """The figure of the requests that failed; raises LabError when nothing changed."""
    found = {answer.served_by for answer in answers if answer.status == OK}
    if not {ANSWERS_OLD, ANSWERS_NEW} <= found:
        raise LabError(
            f"lab bench: of two variants only {', '.join(sorted(found)) or 'none'} "
            "answered; see whether the gateway follows its route"
        )
    return Figure(
        "failed requests while weights change",
        "",
        "requests",
        Aim(0, of="value"),
        (failed(answers),),
        note=f"{len(answers):,} requests, {changed} changes",
    )


def split(canary: Canary, runs: int) -> list[Figure]:
    """Count who answers at a fixed weight."""
    canary.apply(canary.candidate(PERCENT))
    canary.await_answer(ANSWERS_NEW)
    time.sleep(SETTLE)
    samples = []
    for _ in range(runs):
        with (
            canary.ground.progress.step(f"{SAMPLE:,} requests", estimate=15),
            watched(canary.target, connections=CONNECTIONS) as answers,
        ):
            until(f"{SAMPLE} answers", partial(_enough, answers))
        samples.append(answers)
    return [deviation(samples)]


def _enough(answers: Sequence[Answer]) -> bool:
    return len(answers) >= SAMPLE


def deviation(samples: Sequence[Sequence[Answer]]) -> Figure:
    """The figure of the split, in units of how far chance alone leads."""
    shares = [share(answers, ANSWERS_NEW) for answers in samples]
    allowed = [
        bound(PERCENT / 100, len(answers) - failed(answers)) for answers in samples
    ]
    percents = ", ".join(f"{100 * each:.1f}" for each in shares)
    return Figure(
        f"measured split from a weight of {PERCENT} %, by the 99 % binomial bound",
        "",
        "of the bound",
        Aim(1, of="value"),
        tuple(
            abs(found - PERCENT / 100) / most
            for found, most in zip(shares, allowed, strict=True)
        ),
        note=f"{percents} % of {min(map(len, samples)):,} requests each",
    )


def way_back(canary: Canary, runs: int) -> list[Figure]:
    """Take a candidate back by `lab rollback` and by `kubectl patch`, in turns.

    Both times the route ends with the same rules.
    """
    values, floors, answers = [], [], []
    for _ in range(runs):
        canary.apply(canary.candidate(HALF))
        seconds, seen = _last_answer(canary, partial(lab, *ROLLBACK))
        values.append(seconds)
        answers += seen
        canary.apply(canary.candidate(HALF))
        release = canary.ground.stack.settings.releases[MODEL]
        good = canary.as_after(
            lambda tree: changes.roll_back(tree, MODEL, because=REASON, variant=NEW)
        )
        seconds, seen = _last_answer(canary, partial(canary.turn, good))
        floors.append(seconds)
        answers += seen
        canary.turn(release)
    name = "`lab rollback` to the last answer of the bad variant"
    floor = "a bare `kubectl patch` of the route"
    note = f"{failed(answers)} of {len(answers):,} requests failed meanwhile"
    ratio = Figure(name, floor, "s", Aim(1.5), tuple(values), tuple(floors), note)
    limit = Aim(2, of="value")
    seconds_too = f"{name}, in seconds"
    return [
        ratio,
        Figure(seconds_too, floor, "s", limit, tuple(values), tuple(floors)),
    ]


def _last_answer(
    canary: Canary, take_back: Callable[[], None]
) -> tuple[float, list[Answer]]:
    """Seconds until the candidate is silent, and all answers meanwhile.

    The load is light: what is timed is the way back, and not a full processor.
    """
    canary.await_answer(ANSWERS_NEW)
    with watched(canary.target, connections=2, every=SLOWLY) as answers:
        time.sleep(SECOND)
        began = time.perf_counter()
        take_back()
        time.sleep(SETTLE)
    return silenced(answers, ANSWERS_NEW, began), answers
