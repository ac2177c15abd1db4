"""The lab's own models behind the protocols."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.exceptions import MlflowException

from .contract import Contract
from .loose import Loose
from .refusal import Reason, Refusal, first_line
from .served import Call, Served

log = logging.getLogger("model_server")
MANY_CELLS = 20_000
"""From here on a prediction leaves the event loop, so that probes are answered."""


class LabModel(Served):
    """Any MLflow model, through pyfunc."""

    def __init__(self, name: str, served_by: str, pyfunc: Any) -> None:
        """Serve `pyfunc` as `name`; `served_by` goes into every answer."""
        super().__init__(name, served_by)
        self.contract = Contract.of(pyfunc.metadata.get_input_schema())
        self.takes = self.contract or Loose(pyfunc.metadata.get_input_schema())
        self.params = pyfunc.metadata.get_params_schema()
        self._pyfunc = pyfunc
        self._direct = direct(pyfunc) if self.contract else None
        self.ready = True

    def warm_up(self, folder: str) -> None:
        """Predict the example that was saved with the model, where there is one.

        The first prediction imports and compiles things; no caller should wait for it.
        """
        example = Path(folder) / "serving_input_example.json"
        if example.is_file():
            try:
                asyncio.run(self(Call("v1", example.read_bytes())))
            except Exception as error:
                log.info("the saved example was not predicted: %s", first_line(error))

    async def predict(self, payload: Call, headers: Any = None) -> tuple[Call, Any]:
        """Run the model."""
        _, params, _ = payload.asked
        if params and not self.params:
            raise Refusal(Reason.BODY, "this model takes no params")
        data = payload.asked.data
        if getattr(data, "size", 0) >= MANY_CELLS:
            result = await asyncio.to_thread(self.run, data, params)
        else:
            result = self.run(data, params)
        return payload, result

    def run(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Return the model's own answer for `data`.

        What the contract has checked goes to the model directly; for all else MLflow
        checks the call, and what it does not take is a Refusal.
        """
        if self._direct and not params:
            return self._direct(data)
        try:
            return self._pyfunc.predict(data, params=params)
        except MlflowException as error:
            raise Refusal(Reason.MODEL, first_line(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            if self.contract:
                raise
            raise Refusal(
                Reason.MODEL, f"the model does not take this: {first_line(error)}"
            ) from error

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the columns, for the v2 protocol's metadata."""
        if not self.contract:
            return []
        return [
            {"name": c.name, "datatype": V2_TYPES[c.type], "shape": [-1]}
            for c in self.contract.columns
        ]


V2_TYPES = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "boolean": "BOOL",
    "string": "BYTES",
    "datetime": "BYTES",
    "binary": "BYTES",
}


def load(folder: str) -> Any:
    """Return the MLflow model in `folder`; whatever MLflow raises goes through."""
    return mlflow.pyfunc.load_model(folder, suppress_warnings=True)


def logged(pyfunc: Any) -> datetime | None:
    """Return when the model was logged; None when the model does not say."""
    try:
        return datetime.fromisoformat(pyfunc.metadata.utc_time_created).replace(
            tzinfo=UTC
        )
    except (TypeError, ValueError):
        return None


def direct(pyfunc: Any) -> Callable[[Any], Any] | None:
    """Return the model's predict function without MLflow's check of every call.

    None where MLflow does more around the call than to check the columns (type hints,
    parameters, dependencies of other services): then only `pyfunc.predict` is right.
    """
    metadata = pyfunc.metadata
    more = (
        metadata._is_signature_from_type_hint()
        or metadata._is_type_hint_from_example()
        or metadata.get_params_schema() is not None
        or (metadata.metadata or {}).get("dependencies_schemas")
    )
    if more:
        return None
    flavor = metadata.flavors["python_function"]
    predict = getattr(pyfunc._model_impl, flavor.get("predict_fn", "predict"), None)
    if predict is None:
        return None
    parameter = inspect.signature(predict).parameters.get("params")
    if parameter and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
        return lambda data: predict(data, params=None)
    return predict  # type: ignore[no-any-return]
