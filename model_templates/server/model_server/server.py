"""KServe's REST server around one model, with a short way for predictions.

Probes, metadata and metrics are the SDK's. Predictions go past FastAPI's and the SDK's
per-request work (dependency injection, timing log lines), which costs more than most
models; they still run through `kserve.Model`, which times each stage.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from http import HTTPStatus
from time import perf_counter
from typing import Any

import kserve
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from kserve.errors import ModelNotFound, ModelNotReady
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer, metrics_handler
from kserve.protocol.rest.v1_endpoints import register_v1_endpoints
from kserve.protocol.rest.v2_endpoints import register_v2_endpoints

from . import metrics
from .answers import dumps
from .bins import Bins
from .log import ID, PredictionLog, wanted
from .refusal import EndpointError, Reason, Refusal
from .served import Call, Served

log = logging.getLogger("model_server")
BINARY = b"inference-header-content-length"
MOST_BYTES = 64 * 2**20
"""A larger request could take the memory of everybody's predictions."""
TOO_LARGE = (
    f"the request is larger than {MOST_BYTES // 2**20} MiB; send fewer rows at a time"
)
CARD_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    ),
    "x-content-type-options": "nosniff",
}
"""A card repeats what others have written: it may not run or load anything."""


class Predictions:
    """The ASGI application: predictions of one model here, all else to `rest`."""

    def __init__(
        self,
        model: Served,
        rest: Callable[..., Awaitable[None]],
        log: PredictionLog | None = None,
        bins: Bins | None = None,
    ) -> None:
        """Answer for `model` under its name.

        `log` keeps what the route asks for, `bins` counts what was asked and answered.
        """
        self._model = model
        self._rest = rest
        self._log = log
        self._bins = bins
        self._protocols = {
            f"/v1/models/{model.name}:predict": "v1",
            f"/v2/models/{model.name}/infer": "v2",
        }
        labels = (model.name, model.served_by)
        self._rows = metrics.PREDICTIONS.labels(*labels)
        self._failures = metrics.FAILURES.labels(*labels)
        self._rejects = {r: metrics.REJECTS.labels(*labels, r.value) for r in Reason}
        self._seconds = {
            protocol: metrics.SECONDS.labels(*labels, protocol)
            for protocol in ("v1", "v2")
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        protocol = self._protocols.get(scope.get("path", ""))
        if protocol is None or scope["type"] != "http" or scope["method"] != "POST":
            await self._rest(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            if len(body) <= MOST_BYTES:  # the rest is read and dropped
                body += message.get("body", b"")
            more = message.get("more_body", False)
        answering = self.answer(protocol, bytes(body), scope["headers"])
        if self._model.waits:
            answered = await _while_listening(answering, receive)
            if answered is None:
                return
        else:
            answered = await answering
        status, answer = answered
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
            # What a label of this prediction is posted under.
            *(header for header in scope["headers"] if header[0] == ID),
        ]
        await send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )
        await send({"type": "http.response.body", "body": answer})

    async def answer(
        self, protocol: str, body: bytes, headers: list[tuple[bytes, bytes]]
    ) -> tuple[int, bytes]:
        """Return the status and the body of the answer; never raises."""
        started = perf_counter()
        call = Call(protocol, body)
        status, answer, error = await self._answer(call, headers)
        seconds = perf_counter() - started
        self._seconds[protocol].observe(seconds)
        if self._log and (id_ := wanted(headers)) is not None:
            self._log.add(
                id_,
                protocol,
                status,
                seconds,
                rows=call.rows,
                predicted=call.predicted,
                error=error,
                size=len(answer),
            )
        if self._bins and status == 200:
            # Once the answer is on its way: nobody waits for it.
            count = self._bins.count
            asyncio.get_running_loop().call_soon(count, call.asked.data, call.predicted)
        return status, answer

    async def _answer(
        self, call: Call, headers: list[tuple[bytes, bytes]]
    ) -> tuple[int, bytes, str | None]:
        """Return status, body and, where it is no prediction, what was wrong."""
        try:
            if len(call.body) > MOST_BYTES:
                raise Refusal(Reason.BODY, TOO_LARGE)
            if call.protocol == "v2":
                call.json_bytes = _binary(headers)
            answer, _ = await self._model(call)
            self._rows.inc(call.rows)
            return 200, answer, None
        except Refusal as refusal:
            self._rejects[refusal.kind].inc()
            status, text = 400, refusal.reason
        except EndpointError as error:
            self._failures.inc()
            status, text = error.status, str(error)
        except Exception as error:
            self._failures.inc()
            log.exception("%s: the model failed", self._model.name)
            status = 500
            text = f"the model failed ({type(error).__name__}); the pod's log says more"
        return status, dumps({"error": text}), text


async def _while_listening(
    answering: Coroutine[Any, Any, tuple[int, bytes]],
    receive: Callable[[], Coroutine[Any, Any, Any]],
) -> tuple[int, bytes] | None:
    """Await an answer; give it up, with None, when the caller goes away."""
    answer = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        answer.cancel()
        gone.cancel()


class LabServer(RESTServer):  # type: ignore[misc]
    """The SDK's server without what it does per request and nobody reads."""

    def __init__(
        self,
        model: Served,
        port: int,
        *,
        identity: Mapping[str, str],
        card: bytes | None = None,
        log: PredictionLog | None = None,
        bins: Bins | None = None,
    ) -> None:
        """Serve `model` on `port` of all addresses.

        `identity` is told with its readiness; `card` is a page of HTML about it.
        """
        repository = kserve.ModelRepository()
        repository.update(model)
        super().__init__(
            "kserve.model_server:app",
            DataPlane(model_registry=repository),
            ModelRepositoryExtension(model_registry=repository),
            port,
            event_loop="uvloop",
            # The gateway keeps idle connections for an hour: whoever closes first makes
            # the other's next request fail.
            timeout_keep_alive=3900,
        )
        self._model = model
        self._identity = identity
        self._card = card
        self._log = log
        self._bins = bins

    def create_application(self) -> None:
        """Put the SDK's application behind the short way."""
        app = FastAPI(title=self._model.name, docs_url=None, redoc_url=None)
        app.add_api_route("/", self.dataplane.live)
        app.add_api_route("/metrics", metrics_handler)
        # First come, first served: the SDK's own routes to unload the model come later.
        app.add_api_route("/v2/repository/{_:path}", _not_here, methods=["POST"])
        about = f"/v1/models/{self._model.name}"
        app.add_api_route(about, self._readiness)
        app.add_api_route(f"{about}/card", self._page, response_model=None)
        register_v1_endpoints(app, self.dataplane, None)
        register_v2_endpoints(app, self.dataplane, self.model_repository_extension)
        for error, status in (
            (ModelNotFound, HTTPStatus.NOT_FOUND),
            (ModelNotReady, HTTPStatus.SERVICE_UNAVAILABLE),
            (NotImplementedError, HTTPStatus.NOT_IMPLEMENTED),
        ):
            app.add_exception_handler(error, _said(status))
        self.config.app = Predictions(self._model, app, self._log, self._bins)
        self.config.access_log = False

    async def _readiness(self) -> dict[str, Any]:
        if not self._model.ready:
            raise ModelNotReady(self._model.name)
        return {
            "name": self._model.name,
            "ready": True,
            "served_by": self._model.served_by,
            **self._identity,
        }

    async def _page(self) -> Response:
        if self._card is None:
            text = (
                f"{self._model.served_by} has no card; `lab release` makes one from "
                "the run that trained the model"
            )
            return JSONResponse({"error": text}, HTTPStatus.NOT_FOUND)
        return HTMLResponse(self._card, headers=CARD_HEADERS)


async def _not_here() -> None:
    raise HTTPException(HTTPStatus.NOT_FOUND)


def _said(status: HTTPStatus) -> Callable[[Request, Exception], JSONResponse]:
    def handler(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=status)

    return handler


def _binary(headers: list[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name == BINARY:
            if not value.isdigit():
                text = f"{BINARY.decode()} must be a whole number"
                raise Refusal(Reason.BODY, text)
            return int(value)
    return None
