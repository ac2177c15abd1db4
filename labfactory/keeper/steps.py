"""Say what is being done, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Steps:
    """The steps of one verb, and the seconds that each took."""

    def __init__(self) -> None:
        """Nothing was done yet."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step; it is said when it is done."""
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)
        print(f"{name}: {self.seconds[name]:.1f} s", flush=True)
