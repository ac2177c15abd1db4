"""The guard's own alarms, posted to Alertmanager: they need no Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx

from labfactory.guard.alarms import Raised

SECONDS = 2.0
"""How long Alertmanager may take to answer."""
AGAIN_SECONDS = 60.0
RETRY_SECONDS = 10.0
LASTS = timedelta(minutes=3)
"""An alarm that is not posted again for so long is over."""


class Alerts:
    """Says which alarms hold, for as long as they do; to be used in a `with` block."""

    def __init__(
        self, url: str, lab: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Post to the Alertmanager at `url` what is wrong in `lab`."""
        self._url = f"{url.rstrip('/')}/api/v2/alerts"
        self._lab = lab
        self._clock = clock
        self._client = httpx.Client(timeout=SECONDS, trust_env=False)
        self._posted: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
        self._at = self._tried = 0.0
        self._trouble: str | None = None

    def __enter__(self) -> Self:
        """Keep the connection for as long as the block lasts."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._client.close()

    def say(self, raised: Collection[Raised]) -> str | None:
        """Post what holds, when that is due, and the end of what does no more.

        Returns why it could not, as a sentence; it is tried again with the next call
        after a few seconds.
        """
        now = self._clock()
        alarms = {self._key(each): self._body(each) for each in raised}
        same = alarms.keys() == self._posted.keys()
        if same and not (alarms and now - self._at >= AGAIN_SECONDS):
            self._trouble = None
        elif self._trouble is None or now - self._tried >= RETRY_SECONDS:
            over = [body for key, body in self._posted.items() if key not in alarms]
            self._tried = now
            self._trouble = self._post([*alarms.values(), *map(_ended, over)])
            if self._trouble is None:
                self._posted, self._at = alarms, now
        return self._trouble

    def _post(self, alerts: list[dict[str, Any]]) -> str | None:
        try:
            # What it answers does not matter, and may take for ever to arrive.
            with self._client.stream("POST", self._url, json=alerts) as answer:
                if answer.is_success:
                    return None
                return f"Alertmanager answers with status {answer.status_code}"
        except httpx.HTTPError as error:
            return f"Alertmanager is away ({type(error).__name__})"

    def _key(self, raised: Raised) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(raised.labels(self._lab).items()))

    def _body(self, raised: Raised) -> dict[str, Any]:
        told = "; ".join(f"{name}: {text}" for name, text in raised.evidence.items())
        return {
            "labels": raised.labels(self._lab),
            "annotations": {
                "summary": f"release {raised.release}: {raised.alarm.summary}",
                **({"description": told} if told else {}),
            },
            "endsAt": (datetime.now(UTC) + LASTS).isoformat(timespec="seconds"),
        }


def _ended(body: Mapping[str, Any]) -> dict[str, Any]:
    return {**body, "endsAt": datetime.now(UTC).isoformat(timespec="seconds")}
