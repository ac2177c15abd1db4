"""The log of predictions: answers that the route asks to keep, in the object store.

Whoever answers only appends to a buffer. A thread of its own writes what is in it as
`logs/<release>/<variant>/<day>/<hour>/<pod>-<start>-<n>.jsonl.gz`. What the buffer has
no room for, because the store is away or slow, is dropped and counted.
"""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import Any, NamedTuple

from . import answers, metrics
from .refusal import first_line

log = logging.getLogger("model_server")
Put = Callable[[str, bytes], None]
"""Writes an object: its key and its content."""

EVERY = 2.0
"""Seconds between two objects, unless there are many entries."""
MANY = 2_000
"""Entries that are written at once."""
MOST = 20_000
"""Entries that wait at most."""
MOST_BYTES = 32 * 2**20
"""Bytes of answers that wait at most."""
MOST_ROWS = 1_000
MOST_ENTRY_BYTES = 2**20
"""An entry keeps the predictions of no more rows, and no more bytes of them."""
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between tries to reach a store that is away; the last one goes on."""
NAMES = ("ENDPOINT", "REGION", "BUCKET", "KEY_ID", "SECRET")
WANTED, ID = b"x-lab-log", b"x-request-id"


class Entry(NamedTuple):
    """One answer; `predicted` holds the first rows where there were too many."""

    id: bytes
    time: float
    protocol: str
    status: int
    seconds: float
    rows: int
    predicted: Any
    error: str | None
    size: int
    truncated: bool

    def line(self) -> bytes:
        """Return the entry as a line of JSON."""
        predictions = answers.predictions(self.predicted)
        if not isinstance(predictions, list | None):
            predictions = [predictions]  # one value, or named tensors
        record = {
            "id": self.id.decode("latin-1")[:200],
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(),
            "protocol": self.protocol,
            "status": self.status,
            "seconds": self.seconds,
            "rows": self.rows,
            "predictions": predictions,
            "error": self.error,
        }
        if self.truncated:
            record["truncated"] = True
        return answers.dumps(record) + b"\n"


def wanted(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """Return the request's id when its answer is to be logged, else None."""
    keep, id_ = False, b""
    for name, value in headers:
        if name == WANTED:
            keep = value == b"1"
        elif name == ID:
            id_ = value
    return id_ if keep else None


class PredictionLog:
    """A buffer that the event loop fills and a thread empties."""

    def __init__(self, opened: Callable[[], Put], release: str, served_by: str) -> None:
        """Write for the variant `served_by` of `release`; the thread calls `opened`."""
        self._opened = opened
        self._prefix = f"logs/{release}/{served_by.removeprefix(f'{release}-')}"
        self._name = f"{socket.gethostname()}-{time.time_ns() // 1_000_000}"
        self._served_by = served_by
        self._written = 0
        self._away = False
        self._put: Put | None = None
        self._dropped = metrics.LOG_DROPPED.labels(release, served_by)
        self._entries: deque[Entry] = deque()
        # Each number is written by one thread alone, so that nobody waits for a lock.
        self._came = self._came_bytes = self._went = self._went_bytes = 0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    @classmethod
    def of(
        cls, environment: Mapping[str, str], release: str, served_by: str
    ) -> PredictionLog | None:
        """Return the log that `PREDICTIONS_*` describe, None when they don't."""
        found = {name: environment.get(f"PREDICTIONS_{name}", "") for name in NAMES}
        if not any(found.values()):
            return None
        if missing := [name for name, value in found.items() if not value]:
            log.warning(
                "no predictions are logged: PREDICTIONS_%s is not set",
                ", PREDICTIONS_".join(missing),
            )
            return None
        return cls(lambda: _store(found), release, served_by)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def add(
        self,
        id_: bytes,
        protocol: str,
        status: int,
        seconds: float,
        *,
        rows: int = 0,
        predicted: Any = None,
        error: str | None = None,
        size: int = 0,
    ) -> None:
        """Keep an answer of `size` bytes, or drop it when there is no room; no wait."""
        truncated = rows > MOST_ROWS or size > MOST_ENTRY_BYTES
        if truncated:
            kept = min(MOST_ROWS, rows * MOST_ENTRY_BYTES // max(size, 1))
            predicted = answers.head(predicted, kept)
            size = size * kept // max(rows, 1)
        waiting = self._came - self._went
        if waiting >= MOST or self._came_bytes - self._went_bytes + size > MOST_BYTES:
            self._dropped.inc()
            return
        self._came += 1
        self._came_bytes += size
        self._entries.append(
            Entry(
                id_,
                time.time(),
                protocol,
                status,
                seconds,
                rows,
                predicted,
                error,
                size,
                truncated,
            )
        )
        if waiting == MANY:
            self._wake.set()

    def close(self, patience: float = 8.0) -> None:
        """Write what is there, in `patience` seconds at most."""
        self._stop.set()
        self._wake.set()
        self._thread.join(patience)
        if lost := self._came - self._went:
            self._dropped.inc(lost)
            log.warning("%s: %d answers were not logged", self._served_by, lost)

    def _run(self) -> None:
        last = False
        while not last:
            self._wake.wait(EVERY)
            self._wake.clear()
            last = self._stop.is_set()
            while self._entries and self._write(self._taken()):
                pass

    def _taken(self) -> list[Entry]:
        return [self._entries.popleft() for _ in range(min(MANY, len(self._entries)))]

    def _write(self, entries: list[Entry]) -> bool:
        """Try until the store has the entries; False when the server stops first."""
        body, day = self._packed(entries), datetime.now(UTC)
        key = f"{self._prefix}/{day:%Y-%m-%d/%H}/{self._name}-{self._written}.jsonl.gz"
        for pause in chain(PAUSES, repeat(PAUSES[-1])):
            stopping = self._stop.is_set()
            if self._reached(key, body):
                self._written += 1
                self._went += len(entries)
                self._went_bytes += sum(entry.size for entry in entries)
                return True
            if stopping:
                break
            self._stop.wait(pause)
        return False

    def _packed(self, entries: list[Entry]) -> bytes:
        lines = []
        for entry in entries:
            try:
                lines.append(entry.line())
            except Exception as error:
                self._dropped.inc()
                log.warning("an answer was not logged: %s", first_line(error))
        return gzip.compress(b"".join(lines), 6)

    def _reached(self, key: str, body: bytes) -> bool:
        try:
            self._put = self._put or self._opened()
            self._put(key, body)
        except Exception as error:
            if not self._away:
                log.warning(
                    "%s: the store of predictions fails (%s); answers are kept for a "
                    "while, then dropped",
                    self._served_by,
                    type(error).__name__,
                )
            self._away = True
            return False
        if self._away:
            log.warning("%s: the store of predictions is back", self._served_by)
        self._away = False
        return True


def _store(settings: Mapping[str, str]) -> Put:
    # Half a second and 20 MB that a server without a log need not spend.
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=settings["ENDPOINT"],
        region_name=settings["REGION"],
        aws_access_key_id=settings["KEY_ID"],
        aws_secret_access_key=settings["SECRET"],
        config=Config(
            connect_timeout=2,
            read_timeout=5,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
        ),
    )

    def put(key: str, body: bytes) -> None:
        client.put_object(Bucket=settings["BUCKET"], Key=key, Body=body)

    return put
