"""The guard's log: one line of JSON for each thing that happened."""

from __future__ import annotations

import json
from collections.abc import Callable

from labfactory.guard.actions import iso


class Journal:
    """Tells what happened, and of each trouble when it begins and when it is over."""

    def __init__(self, write: Callable[[str], None], now: Callable[[], float]) -> None:
        """`write` takes a line; `now` is the Unix time."""
        self._write = write
        self._now = now
        self._troubles: dict[str, str] = {}

    def say(self, event: str, **facts: object) -> None:
        """Write one line."""
        at = iso(self._now())
        self._write(json.dumps({"at": at, "event": event, **facts}, default=str))

    def trouble(self, about: str, why: str | None, **facts: object) -> None:
        """Tell why something does not work; with None it works."""
        if self._troubles.get(about) == why:
            return
        if why is None:
            del self._troubles[about]
            self.say("trouble is over", about=about)
        else:
            self._troubles[about] = why
            self.say("trouble", about=about, reason=why, **facts)
