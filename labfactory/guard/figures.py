"""What the guard tells about itself: /metrics, and /healthz for the kubelet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

SILENT_SECONDS = 60.0
"""A guard that has not gone round for so long is stuck."""


class Figures:
    """Counts what the guard does."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin at zero."""
        self._clock = clock
        self._alive = clock()
        self.registry = CollectorRegistry()
        self.round = Gauge(
            "lab_guard_round_timestamp_seconds",
            "Unix time of the last round of decisions",
            registry=self.registry,
        )
        self.decisions = Counter(
            "lab_guard_decisions",
            "Decisions, one for each release and look",
            ("release", "act"),
            registry=self.registry,
        )
        self.holding = Gauge(
            "lab_guard_holding",
            "1 while a candidate that takes requests is held where it is",
            ("release",),
            registry=self.registry,
        )
        self.leader = Gauge(
            "lab_guard_leader", "1 for the guard that acts", registry=self.registry
        )
        self.odd = Gauge(
            "lab_guard_odd_samples",
            "Samples passed over: no number, infinite or negative",
            registry=self.registry,
        )

    def beat(self) -> None:
        """Say that the guard goes round."""
        self._alive = self._clock()

    def is_alive(self) -> bool:
        """Whether it has gone round lately."""
        return self._clock() - self._alive < SILENT_SECONDS

    @contextmanager
    def served(self, port: int, host: str = "") -> Iterator[int]:
        """Answer on `port` for as long as the block lasts; yields the port."""
        figures = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    body, status = generate_latest(figures.registry), 200
                elif self.path == "/healthz":
                    alive = figures.is_alive()
                    body, status = (b"ok\n", 200) if alive else (b"stuck\n", 503)
                else:
                    body, status = b"", 404
                self.send_response(status)
                self.send_header("content-type", CONTENT_TYPE_LATEST)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer((host, port), Handler) as server:
            server.daemon_threads = True
            Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield server.server_port
            finally:
                server.shutdown()
