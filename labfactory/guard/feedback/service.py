"""`POST /v1/feedback/<release>`: take labels, and say what became of each.

An answer of 200 means that the labels it took are in the store. Labels that come twice
count once, so whoever got no answer sends the same again.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable

from anyio import CapacityLimiter, to_thread
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from labfactory.guard.feedback.follow import Follower, Release
from labfactory.guard.feedback.metrics import Tallies
from labfactory.guard.feedback.posted import Unreadable, read
from labfactory.guard.feedback.store import StoreError

log = logging.getLogger("feedback")
MOST_BYTES = 8 * 2**20
AT_ONCE = 4
"""Requests whose labels are in memory as objects at the same time."""


class Service:
    """The endpoints, over what `follower` knows."""

    def __init__(
        self, follower: Follower, token: str, alive: Callable[[], bool]
    ) -> None:
        """Take labels from whoever has `token`, while `alive` says yes to probes."""
        self._follower = follower
        self._expected = f"Bearer {token}".encode()
        self._alive = alive
        self._limiter = CapacityLimiter(AT_ONCE)
        self._registry = CollectorRegistry()
        self._registry.register(Tallies(follower))
        ProcessCollector(registry=self._registry)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/feedback/{release}", self.post, methods=["POST"]),
                Route("/metrics", self.metrics),
                Route("/healthz", self.health),
            ]
        )

    async def health(self, _: Request) -> Response:
        """Answer probes."""
        if self._alive():
            return PlainTextResponse("ok")
        return PlainTextResponse("nobody follows the predictions", 500)

    async def metrics(self, _: Request) -> Response:
        """Answer Prometheus."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def post(self, request: Request) -> Response:
        """Take labels for one release."""
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, self._expected):
            return _error(
                401,
                "the token is missing or wrong; send `Authorization: Bearer TOKEN` "
                "with the key `token` of the lab's Secret `feedback`",
                {"www-authenticate": "Bearer"},
            )
        release = self._release(request.path_params["release"])
        if isinstance(release, Response):
            return release
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        if body is None:
            return _error(
                413,
                f"the request is larger than {MOST_BYTES // 2**20} MiB; send fewer "
                "labels at a time",
            )
        return await to_thread.run_sync(
            self._take, release, body, limiter=self._limiter
        )

    def _release(self, name: str) -> Release | Response:
        releases = self._follower.releases
        if releases is None:
            return _error(503, "the lab's releases are not known yet; try again")
        found = releases.get(name)
        if found is None or found.joined.rules.quality is None:
            there = sorted(n for n, r in releases.items() if r.joined.rules.quality)
            return _error(
                404,
                f"release {name[:40]!r}: takes no labels (those that do: "
                f"{', '.join(there) or 'none'}); name one of these, or give it "
                "`guard: {quality: {}}` in the lab's settings",
            )
        if not found.ready:
            return _error(
                503, "the labels that came earlier are being read back; try again"
            )
        return found

    def _take(self, release: Release, body: bytes) -> Response:
        try:
            labels, refused = read(body)
        except Unreadable as error:
            return _error(400, str(error))
        joined, tally = release.joined, release.joined.tally
        # Whoever checks the same labels meanwhile would take them too.
        with joined.posting:
            verdict = joined.check(labels)
            if verdict.taken:
                try:
                    release.keep(
                        verdict.taken, self._follower.key(), self._follower.clock()
                    )
                except StoreError as error:
                    log.warning("%s: labels can't be kept (%s)", release.name, error)
                    return _error(
                        503,
                        f"the store does not keep the labels ({error}), so none was "
                        "taken; send the same again later",
                    )
            refused = sorted([*refused, *verdict.refused])
            tally.duplicate += verdict.duplicates
            tally.refused.update(each.kind for each in refused)
        return JSONResponse(
            {
                "taken": len(verdict.taken),
                "duplicates": verdict.duplicates,
                "unknown": verdict.unknown,
                "refused": [each.told() for each in refused],
            }
        )


async def _body(request: Request) -> bytes | None:
    """The body; None when it is too large, in which case the rest is dropped."""
    found = bytearray()
    async for chunk in request.stream():
        if len(found) <= MOST_BYTES:
            found += chunk
    return bytes(found) if len(found) <= MOST_BYTES else None


def _error(
    status: int, sentence: str, headers: dict[str, str] | None = None
) -> Response:
    return JSONResponse({"error": sentence}, status, headers)
