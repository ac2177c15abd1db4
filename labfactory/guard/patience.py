"""Asking a cluster that may be away, less and less often."""

from __future__ import annotations

from collections.abc import Callable

import httpx2

from labfactory.errors import LabError
from labfactory.guard.journal import Journal

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 10.0


class Patience:
    """Asks, and after a failure waits for a while before it asks again."""

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        """`clock` is in seconds."""
        self._journal = journal
        self._clock = clock
        self._waits: dict[str, tuple[float, float]] = {}

    def ask(self, about: str, call: Callable[[], None]) -> bool:
        """Do a `call` unless the last one about the same failed just now.

        Returns whether it was done.
        """
        until, seconds = self._waits.get(about, (float("-inf"), 0.0))
        if self._clock() < until:
            return False
        try:
            call()
        except (LabError, httpx2.HTTPError) as error:
            seconds = min(LONGEST_SECONDS, 2 * seconds or FIRST_SECONDS)
            self._waits[about] = self._clock() + seconds, seconds
            self._journal.trouble(about, str(error) or type(error).__name__)
            return False
        self._waits.pop(about, None)
        self._journal.trouble(about, None)
        return True
