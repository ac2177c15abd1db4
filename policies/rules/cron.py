"""How often something comes that a cron schedule names. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta

YEAR = date(2027, 1, 1)
"""The year that is counted through: an ordinary one."""
DAYS = 365
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
"""Least and most of minute, hour, day, month and weekday; Sunday is 0 and 7."""


def runs(schedule: str) -> float:
    """How often five fields of cron come in a month, the twelfth part of a year.

    Raises ValueError for what is no such schedule.
    """
    fields = schedule.split()
    if len(fields) != len(BOUNDS):
        raise ValueError(f"{schedule!r} is no schedule of five fields")
    minutes, hours, days, months, weekdays = (
        _field(text, *bounds) for text, bounds in zip(fields, BOUNDS, strict=True)
    )
    weekdays = {day % 7 for day in weekdays}
    # Cron's own rule: with a day and a weekday, either will do.
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    found = 0
    for number in range(DAYS):
        day = YEAR + timedelta(number)
        hits = day.day in days, day.isoweekday() % 7 in weekdays
        found += day.month in months and (any(hits) if either else all(hits))
    return found * len(minutes) * len(hours) / 12


def _field(text: str, least: int, most: int) -> Collection[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        start = least if first == "*" else int(first)
        end = int(last or (most if first == "*" or step else start))
        if not least <= start <= end <= most or step == "0":
            raise ValueError(f"{text!r} is no field of a schedule")
        found.update(range(start, end + 1, int(step or 1)))
    return found
