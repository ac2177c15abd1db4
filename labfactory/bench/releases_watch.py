"""Ask a release all the time, and remember who answered what and when.

Unlike a measured load, this one goes on after a failure: failures are what it counts.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import NormalDist
from typing import NamedTuple

from labfactory.bench.load import END, Connection, Target
from labfactory.errors import LabError

OK = 200
PAUSE = 0.05
"""Seconds until somebody who was not let in tries again."""
CERTAINTY = 0.99
QUIET = 0.5
"""Seconds without an answer after which a variant counts as silent."""


class Answer(NamedTuple):
    """What a caller got."""

    at: float
    """Moment of `time.perf_counter`."""
    status: int
    """Status of HTTP; 0 when there was no answer."""
    served_by: str
    """The InferenceService; empty when it failed."""


class Watcher(Connection):
    """A connection that remembers each answer."""

    def __init__(
        self,
        request: bytes,
        every: float,
        answers: list[Answer],
        stop: threading.Event,
    ) -> None:
        """Send `request` until `stop` is set; put what comes back into `answers`."""
        super().__init__(request, every)
        self.answers, self.stop = answers, stop

    def answered(self, now: float) -> bool:
        """Remember an answer; go on unless the server wants the connection closed."""
        head, _, body = self.answer.partition(END)
        status = int(head.split(b" ", 2)[1])
        served_by = json.loads(body)["served_by"] if status == OK else ""
        self.answers.append(Answer(now, status, served_by))
        return not self.stop.is_set() and b"\r\nconnection: close" not in head.lower()

    def lost(self, error: Exception | None) -> None:
        """Whoever waits for an answer then has got none."""
        if self.asking:
            self.answers.append(Answer(time.perf_counter(), 0, ""))


@contextmanager
def watched(
    target: Target, *, connections: int, every: float = 0
) -> Iterator[list[Answer]]:
    """Ask over `connections` meanwhile; the answers appear in the list as they come.

    With `every`, a connection sends no more than one request in so many seconds. One
    that is closed is opened again.
    """
    answers: list[Answer] = []
    stop = threading.Event()

    async def ask() -> None:
        await asyncio.gather(
            *(_keep_asking(target, every, answers, stop) for _ in range(connections))
        )

    with ThreadPoolExecutor(max_workers=1) as pool:
        asking = pool.submit(asyncio.run, ask())
        try:
            yield answers
        finally:
            stop.set()
            asking.result()


async def _keep_asking(
    target: Target, every: float, answers: list[Answer], stop: threading.Event
) -> None:
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        try:
            _, watcher = await loop.create_connection(
                lambda: Watcher(target.request(), every, answers, stop),
                target.address,
                target.port,
            )
        except OSError:
            answers.append(Answer(time.perf_counter(), 0, ""))
            await asyncio.sleep(PAUSE)
            continue
        await watcher.done


def failed(answers: Iterable[Answer]) -> int:
    """How many requests were not answered with a prediction."""
    return sum(answer.status != OK for answer in answers)


def share(answers: Iterable[Answer], served_by: str) -> float:
    """Part of the predictions, 0 to 1, that were of `served_by`; there must be some."""
    predicted = [answer.served_by for answer in answers if answer.status == OK]
    return predicted.count(served_by) / len(predicted)


def bound(part: float, count: int) -> float:
    """How far from `part`, 0 to 1, a fair share of `count` requests stays.

    99 times of 100, by the normal distribution that a binomial one nears.
    """
    deviations = NormalDist().inv_cdf((1 + CERTAINTY) / 2)
    return float(deviations * (part * (1 - part) / count) ** 0.5)


def silenced(answers: Sequence[Answer], served_by: str, since: float) -> float:
    """Seconds from `since` to the last answer of `served_by`.

    Raises LabError when it had stopped before, or does not stop at all.
    """
    last = max((a.at for a in answers if a.served_by == served_by), default=since)
    if last <= since:
        raise LabError(
            f"lab bench: {served_by} answered nobody when it was to be taken back; "
            "see whether its share of the route is what the settings say"
        )
    if max(answer.at for answer in answers) - last < QUIET:
        raise LabError(
            f"lab bench: {served_by} was taken back and answers still; "
            "see whether the gateway has followed its route"
        )
    return last - since
