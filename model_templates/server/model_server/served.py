"""What every server does, whoever predicts: read, answer, in both protocols."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import kserve

from . import answers, requests
from .contract import Contract
from .loose import Loose
from .rows import Rows


class Call:
    """One request on its way through the model."""

    __slots__ = ("asked", "body", "json_bytes", "predicted", "protocol", "rows")

    def __init__(
        self, protocol: str, body: bytes, json_bytes: int | None = None
    ) -> None:
        """Take the raw body; `json_bytes` is set where binary tensors follow JSON."""
        self.protocol = protocol
        self.body = body
        self.json_bytes = json_bytes
        self.asked = requests.Asked(None)
        self.predicted: Any = None
        self.rows = 0


class Served(kserve.Model):  # type: ignore[misc]
    """What answers under a release's name; who predicts is a subclass's to say."""

    takes: Contract | Loose | Rows
    """How input is checked, and what it becomes."""
    waits = False
    """Whether a prediction mostly waits, and is not worth it once nobody listens."""

    def __init__(self, name: str, served_by: str) -> None:
        """Answer as `name`; `served_by` goes into every answer."""
        super().__init__(name)
        self.served_by = served_by

    def preprocess(self, payload: Call, headers: Any = None) -> Call:
        """Read the body and check it."""
        if payload.protocol == "v1":
            payload.asked = requests.v1(payload.body, self.takes)
        else:
            payload.asked = requests.v2(payload.body, self.takes, payload.json_bytes)
        return payload

    def validate(self, payload: Call) -> Call:
        """Pass: `preprocess` has checked more than the SDK would."""
        return payload

    def postprocess(self, result: tuple[Call, Any], headers: Any = None) -> bytes:
        """Return the answer's body."""
        call, predicted = result
        call.predicted = predicted
        call.rows = answers.rows(predicted)
        if call.protocol == "v1":
            return answers.dumps(answers.v1(predicted, self.served_by))
        id_ = call.asked.id or uuid4().hex
        return answers.dumps(
            answers.v2(predicted, self.served_by, model=self.name, id_=id_)
        )
