"""Ask an HTTP server as fast as it answers, over connections that stay open.

Written on asyncio's protocols: a client library would need more processor time than
the servers it should measure.
"""

from __future__ import annotations

import asyncio
import gc
import json
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
    def per_second(self) -> float:
        """Requests that were answered per second."""
        return len(self.latencies) / self.seconds


class Caller(asyncio.Protocol):
    """One connection: sends a request as soon as the one before is answered."""

    def __init__(self, request: bytes, until: float, load: Load) -> None:
        """Send `request` until that moment of `time.perf_counter`."""
        self.request, self.until, self.load = request, until, load
        self.done = asyncio.get_running_loop().create_future()
        self.answer = bytearray()
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Count an answer that is complete, and ask again."""
        self.answer += data
        if not complete(self.answer):
            return
        now = time.perf_counter()
        if not self.answer.startswith(b"HTTP/1.1 200"):
            self.load.failure = self.answer[:300].decode(errors="replace")
            self.transport.close()
        elif now > self.until:
            self.transport.close()
        else:
            self.load.latencies.append(now - self.sent)
            self.answer.clear()
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """Finish; a server that hangs up early is a failure."""
        if time.perf_counter() < self.until and not self.load.failure:
            self.load.failure = f"the connection was closed ({error})"
        self.done.set_result(None)

    def _send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)


def complete(answer: bytes | bytearray) -> bool:
    """Whether all bytes of an HTTP answer are there; it says its length."""
    end = answer.find(END)
    if end < 0:
        return False
    head = bytes(answer[:end]).lower()
    _, said, rest = head.partition(LENGTH)
    length = int(rest.partition(b"\r\n")[0]) if said else 0
    return len(answer) >= end + len(END) + length


def put_under_load(target: Target, *, connections: int, seconds: float) -> Load:
    """Keep `connections` requests under way for so long; raises LabError."""
    load = Load(seconds)

    async def call() -> None:
        loop = asyncio.get_running_loop()
        until = time.perf_counter() + seconds
        callers = []
        for _ in range(connections):
            _, caller = await loop.create_connection(
                lambda: Caller(target.request(), until, load),
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
