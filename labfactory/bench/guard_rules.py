"""How often the guard is wrong, beside Flagger and Argo Rollouts: simulated.

The release, the noise and the rivals' settings are in `simulate_compare`; nothing of
the lab takes part. The floors are the rivals as their documents have them. Tuned to
these faults they make few mistakes too; how long they take is the floor of the delay.
"""

from __future__ import annotations

from collections.abc import Sequence

from labfactory.bench.figure import Aim, Figure
from labfactory.releases.simulation.simulate_compare import GUARD, RIVALS, Row, compare

HEALTHY = 10_000
REGRESSIONS = 4_000
SEED = 20_260_101
FEWER = 0.001
"""Per cent that counts as fewer; less than one rollout."""
MISSES = 0.01
"""Part of the regressions that a rule may miss to have its delay compared."""


def simulated(healthy: int = HEALTHY, regressions: int = REGRESSIONS) -> list[Figure]:
    """Roll out so many healthy and worse candidates by each rule.

    Takes a quarter of an hour on two cores; the rollouts are the same each time, so
    one run is all there is to know.
    """
    return figures(compare(healthy, SEED, regressions=regressions))


def figures(rows: Sequence[Row]) -> list[Figure]:
    """The figures of a comparison; one row is the guard's."""
    [guard] = (row for row in rows if row.rule == GUARD)
    others = [row for row in rows if row.rule != GUARD]
    rivals = [row for row in others if row.rule in RIVALS]
    false = min(100 * row.false for row in rivals)
    missed = min(100 * row.missed for row in rivals)
    return [
        Figure(
            f"false rollbacks of {guard.healthy:,} healthy rollouts, simulated",
            "the better rival",
            "%",
            Aim(0.1, of="value"),
            (100 * guard.false,),
            (false,),
            note=_each(others, [f"{100 * row.false:.2f} %" for row in others]),
        ),
        Figure(
            "false rollbacks more than the better rival's, simulated",
            "",
            "%",
            Aim(0, of="value"),
            (100 * guard.false - false,),
        ),
        Figure(
            f"missed of {guard.regressions:,} regressions, simulated",
            "the better rival",
            "%",
            Aim(1, of="value"),
            (100 * guard.missed,),
            (missed,),
            note="twice the errors, or a p95 that is 30 % higher; "
            + _each(others, [f"{100 * row.missed:.2f} %" for row in others]),
        ),
        Figure(
            "regressions missed less often than by the better rival, simulated",
            "",
            "%",
            Aim(FEWER, of="value", at_least=True),
            (missed - 100 * guard.missed,),
        ),
        *_delays(guard, [row for row in others if row.missed <= MISSES]),
    ]


def _delays(guard: Row, rivals: Sequence[Row]) -> list[Figure]:
    """How long a regression lasts; none where there is nothing to compare."""
    found = guard.delay(0.5)
    theirs = {row.rule: d for row in rivals if (d := row.delay(0.5)) is not None}
    if found is None or not theirs:
        return []
    told = "; ".join(f"{rule}: {delay:.0f} s" for rule, delay in theirs.items())
    return [
        Figure(
            "regression to rollback, median, simulated",
            "the quicker rule that misses no more than 1 %",
            "s",
            Aim(1),
            (found,),
            (min(theirs.values()),),
            note=f"95 % within {guard.delay(0.95):.0f} s; {told}",
        )
    ]


def _each(rows: Sequence[Row], told: Sequence[str]) -> str:
    return "; ".join(
        f"{row.rule}: {each}" for row, each in zip(rows, told, strict=True)
    )
