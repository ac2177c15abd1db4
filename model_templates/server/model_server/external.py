"""Somebody else's endpoint behind our protocols: same answers, metrics and log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from .endpoint import Endpoint
from .endpoint_settings import Settings
from .refusal import EndpointError, Reason, Refusal
from .rows import Rows
from .served import Call, Served

log = logging.getLogger("model_server")
AT_ONCE = 8
"""Calls that one request makes at the same time, where each row is a call."""


class ExternalModel(Served):
    """An endpoint that is called for each prediction; ready without asking it."""

    waits = True

    def __init__(self, name: str, served_by: str, settings: Settings) -> None:
        """Serve what the endpoint of `settings` says as `name`."""
        super().__init__(name, served_by)
        self.takes = Rows()
        self.endpoint = Endpoint(settings, (name, served_by))
        self._per_row = settings.per_row
        self._failing = False
        self.ready = True

    async def predict(self, payload: Call, headers: Any = None) -> tuple[Call, Any]:
        """Ask the endpoint; raises EndpointError when it has no prediction for all."""
        rows, params, _ = payload.asked
        if params:
            raise Refusal(Reason.BODY, "this model takes no params")
        try:
            if self._per_row:
                found = await self._row_by_row(rows)
            else:
                found = await self.endpoint.call({"rows": rows}, len(rows))
        except EndpointError as error:
            if not self._failing:
                log.warning("%s: %s", self.served_by, error)
            self._failing = True
            raise
        if self._failing:
            log.warning("%s: %s answers again", self.served_by, self.endpoint.host)
        self._failing = False
        return payload, found

    async def _row_by_row(self, rows: list[Any]) -> list[Any]:
        """Call once for each row; the first failure ends the other calls."""
        found: list[Any] = [None] * len(rows)

        async def work(left: Iterator[tuple[int, Any]]) -> None:
            for number, row in left:
                found[number] = await self.endpoint.call({"row": row}, None)

        left = iter(enumerate(rows))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(rows))):
                    group.create_task(work(left))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return found
