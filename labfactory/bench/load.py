"""Ask an HTTP server as fast as it answers, over connections that stay open.

Written on asyncio's protocols: a client library would need more processor time than
the servers it should measure.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from labfactory.errors import LabError

END = b"\r\n\r\n"
LENGTH = b"content-length:"


@dataclass(frozen=True)
class Target:
    """A server, and what is sent to it."""

    address: str
    port: int
    path: str
    host: str
    rows: list[Any]

    def request(self) -> bytes:
        """The bytes of one request."""
        body = json.dumps({"instances": self.rows}).encode()
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body


@dataclass
class Load:
    """How a server bore a load."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    """Seconds of each request."""
    failure: str = ""
    """The first answer that was none, if any."""

    @property
    def p50_ms(self) -> float:
        """Median latency in milliseconds."""
        return median(self.latencies) * 1000

    @property
    def p99_ms(self) -> float:
        """The latency in milliseconds that 99 of 100 requests do not exceed."""
        place = math.ceil(0.99 * len(self.latencies)) - 1
        return sorted(self.latencies)[place] * 1000

    @property
    def per_second(self) -> float:
        """Requests that were answered per second."""
        return len(self.latencies) / self.seconds


class Connection(asyncio.Protocol):
    """Sends a request when the one before is answered."""

    def __init__(self, request: bytes, every: float = 0) -> None:
        """Send `request` again and again, with `every` seconds between at least."""
        self.request, self.every = request, every
        self.done = asyncio.get_running_loop().create_future()
        self.answer = bytearray()
        self.sent = 0.0
        self.asking = False
        """Whether an answer is due."""

    def answered(self, now: float) -> bool:
        """Take the whole answer of that moment; return whether to ask again."""
        raise NotImplementedError

    def lost(self, error: Exception | None) -> None:
        """Take note that the connection is closed."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take an answer that is complete, and ask again."""
        self.answer += data
        if not complete(self.answer):
            return
        again = self.answered(time.perf_counter())
        self.asking = False
        if not again:
            self.transport.close()
            return
        self.answer.clear()
        pause = self.sent + self.every - time.perf_counter()
        if pause > 0:
            asyncio.get_running_loop().call_later(pause, self._send)
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """Finish."""
        self.lost(error)
        self.done.set_result(None)

    def _send(self) -> None:
        if self.transport.is_closing():
            return
        self.asking = True
        self.sent = time.perf_counter()
        self.transport.write(self.request)


class Caller(Connection):
    """A connection that measures, until something fails."""

    def __init__(self, request: bytes, until: float, load: Load, every: float) -> None:
        """Send `request` until that moment of `time.perf_counter`."""
        super().__init__(request, every)
        self.until, self.load = until, load

    def answered(self, now: float) -> bool:
        """Count an answer; one that is no prediction is a failure."""
        if not self.answer.startswith(b"HTTP/1.1 200"):
            self.load.failure = self.answer[:300].decode(errors="replace")
            return False
        if now > self.until:
            return False
        self.load.latencies.append(now - self.sent)
        return True

    def lost(self, error: Exception | None) -> None:
        """A server that hangs up early is a failure."""
        if time.perf_counter() < self.until and not self.load.failure:
            self.load.failure = f"the connection was closed ({error})"


def complete(answer: bytes | bytearray) -> bool:
    """Whether all bytes of an HTTP answer are there; it says its length."""
    end = answer.find(END)
    if end < 0:
        return False
    head = bytes(answer[:end]).lower()
    _, said, rest = head.partition(LENGTH)
    length = int(rest.partition(b"\r\n")[0]) if said else 0
    return len(answer) >= end + len(END) + length


def put_under_load(
    target: Target, *, connections: int, seconds: float, every: float = 0
) -> Load:
    """Keep `connections` requests under way for so long; raises LabError.

    With `every`, a connection sends no more than one request in so many seconds.
    """
    load = Load(seconds)

    async def call() -> None:
        loop = asyncio.get_running_loop()
        until = time.perf_counter() + seconds
        callers = []
        for _ in range(connections):
            _, caller = await loop.create_connection(
                lambda: Caller(target.request(), until, load, every),
                target.address,
                target.port,
            )
            callers.append(caller)
        await asyncio.gather(*(caller.done for caller in callers))

    gc.disable()  # a pause of the client would be counted as one of the server
    try:
        asyncio.run(call())
    except OSError as error:
        load.failure = str(error)
    finally:
        gc.enable()
    if load.failure or not load.latencies:
        raise LabError(
            f"lab bench: {target.host}{target.path} does not bear the load: "
            f"{load.failure or 'no answer'}"
        )
    return load
