"""One call of an endpoint that is not ours: posted, tried again, read, understood.

What goes wrong is a sentence that names the endpoint's host, and neither what it
answered nor the key.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson
from jmespath.exceptions import JMESPathError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from . import metrics
from .answers import dumps
from .endpoint_settings import Settings
from .refusal import EndpointError, Reason, Refusal, kind

MOST_BYTES = 8 * 2**20
"""A larger answer is not read to its end."""
MANY_BYTES = 2**16
MANY_ROWS = 500
"""From here on JSON is made and read beside the event loop: probes are answered."""
CONNECT = 3.0
"""Seconds until an endpoint that can't be reached is tried again."""
BUSY = frozenset({429, 502, 503, 504})
OUTCOMES = ("answered", "busy", "refused", "unreachable", "rubbish", "timeout")
_SOON = wait_random_exponential(multiplier=0.2, max=2)


class Unreached(EndpointError):
    """The endpoint was not found or is busy; `after` is when it wants to be asked."""

    def __init__(self, text: str, after: float | None = None) -> None:
        """Wait `after` seconds, or as long as seems right, before the next try."""
        super().__init__(text)
        self.after = after


class Endpoint:
    """The endpoint, and the connections to it that are kept."""

    def __init__(self, settings: Settings, labels: tuple[str, str]) -> None:
        """Count calls under `labels`."""
        self._settings = settings
        self.host = settings.url.netloc.decode()
        self._client = httpx.AsyncClient(
            headers=dict(settings.headers),
            verify=settings.tls,
            timeout=httpx.Timeout(None, connect=CONNECT),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            # A redirect would take rows and key to whoever it names.
            follow_redirects=False,
            trust_env=False,
        )
        self._calls = {
            outcome: metrics.EXTERNAL_CALLS.labels(*labels, outcome)
            for outcome in OUTCOMES
        }
        self._cost = metrics.EXTERNAL_COST.labels(*labels)
        self._again = AsyncRetrying(
            retry=retry_if_exception_type(Unreached),
            wait=_wait,
            stop=stop_after_attempt(settings.retries + 1)
            | stop_before_delay(settings.timeout),
            reraise=True,
        )

    async def call(self, asked: Mapping[str, Any], rows: int | None) -> Any:
        """Return the predictions for `asked`: `rows` of them, or one when it is None.

        `asked` is what the expression `request` sees. Raises EndpointError, and Refusal
        when the expression makes nothing of what the caller sent.
        """
        if rows and rows > MANY_ROWS:
            body = await asyncio.to_thread(self._body, asked)
        else:
            body = self._body(asked)
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await self._again.copy()(self._try, body, rows)
        except TimeoutError:
            self._calls["timeout"].inc()
            raise EndpointError(
                f"{self.host} did not answer within {self._settings.timeout:g} s", 504
            ) from None

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._client.aclose()

    def _body(self, asked: Mapping[str, Any]) -> bytes:
        try:
            body = self._settings.request.search(asked)
        except JMESPathError:
            body = None
        if body is None:
            raise Refusal(
                Reason.MODEL,
                f"the expression `request`, which makes the call of {self.host}, makes "
                "nothing of these rows; are all its columns there, in their types?",
            )
        return dumps(body)

    async def _try(self, body: bytes, rows: int | None) -> Any:
        """Make the call once, count it, and return what it means."""
        try:
            status, after, answer = await self._post(body)
        except httpx.RequestError as error:
            self._calls["unreachable"].inc()
            raise self._unreached(error) from None
        if status in BUSY:
            self._calls["busy"].inc()
            raise Unreached(f"{self.host} is busy (status {status})", after)
        if not 200 <= status < 300:
            self._calls["refused"].inc()
            raise EndpointError(f"{self.host} {_refused(status)}")
        self._cost.inc(self._settings.cost)
        try:
            found = await self._understood(answer, rows)
        except EndpointError:
            self._calls["rubbish"].inc()
            raise
        self._calls["answered"].inc()
        return found

    def _unreached(self, error: httpx.RequestError) -> EndpointError:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return EndpointError(
                f"{self.host} shows a certificate that is not trusted; "
                "`external.trust` takes the one of the authority that signed it"
            )
        said = f"{self.host} can't be reached ({type(error).__name__})"
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unreached(said)
        return EndpointError(said)

    async def _post(self, body: bytes) -> tuple[int, float | None, bytes | None]:
        """Return status, Retry-After and body; no body when it is too large."""
        url = self._settings.url
        async with self._client.stream("POST", url, content=body) as answer:
            after = _seconds(answer.headers.get("retry-after"))
            if not answer.is_success:
                return answer.status_code, after, b""
            content = bytearray()
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > MOST_BYTES:
                    return answer.status_code, after, None
            return answer.status_code, after, bytes(content)

    async def _understood(self, answer: bytes | None, rows: int | None) -> Any:
        if answer is None:
            raise EndpointError(
                f"{self.host} answered with more than {MOST_BYTES // 2**20} MiB"
            )
        if len(answer) > MANY_BYTES:
            return await asyncio.to_thread(self._mapped, answer, rows)
        return self._mapped(answer, rows)

    def _mapped(self, answer: bytes, rows: int | None) -> Any:
        try:
            found = self._settings.response.search(orjson.loads(answer))
        except orjson.JSONDecodeError:
            raise EndpointError(
                f"{self.host} answered with something that is not JSON"
            ) from None
        except JMESPathError:
            found = None
        if found is None:
            raise EndpointError(
                f"{self.host} answered without what the expression `response` looks for"
            )
        if rows is None:
            found_rows = [found]
        elif not isinstance(found, list):
            raise EndpointError(
                f"{self.host} answered with {kind(found)} where the expression "
                "`response` should find a list of predictions"
            )
        else:
            found_rows = found
        if rows not in (None, len(found_rows)):
            raise EndpointError(
                f"{self.host} answered with {len(found_rows)} predictions for {rows} "
                "rows"
            )
        if not all(map(_is_prediction, found_rows)):
            raise EndpointError(
                f"{self.host} answered with a prediction that is null or no finite "
                "number"
            )
        return found


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Unreached) and error.after is not None:
        return error.after
    return _SOON(state)


def _refused(status: int) -> str:
    if 300 <= status < 400:
        return f"sends callers elsewhere (status {status}), which is not followed"
    if status in (401, 403):
        return f"refuses the key (status {status})"
    return f"refuses the call (status {status})"


def _seconds(after: str | None) -> float | None:
    """Seconds that a Retry-After header stands for; None when it says nothing."""
    if after is None:
        return None
    if after.isdecimal():
        return float(after)
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except (ArithmeticError, TypeError, ValueError):
        return None


def _is_prediction(value: Any) -> bool:
    return value is not None and _is_finite(value)


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(map(_is_finite, value))
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return True
