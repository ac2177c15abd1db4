"""What a stack file says about an endpoint that is not ours, ready for use."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import certifi
import httpx
import jmespath
from jmespath.exceptions import JMESPathError


class SettingsError(ValueError):
    """LAB_EXTERNAL can't be used: a sentence that says why."""


@dataclass(frozen=True)
class Settings:
    """An endpoint: where it is, what it is sent, how its answer is read."""

    url: httpx.URL
    headers: Mapping[str, str]
    per_row: bool
    request: Any
    response: Any
    timeout: float
    retries: int
    cost: float
    tls: ssl.SSLContext

    @classmethod
    def of(cls, text: str, key: str | None) -> Settings:
        """Read LAB_EXTERNAL and LAB_EXTERNAL_KEY; raises SettingsError."""
        try:
            raw = json.loads(text)
            return cls(
                url=httpx.URL(raw["url"]),
                headers={
                    "content-type": "application/json",
                    **_key_header(raw["header"], key),
                },
                per_row=raw["call_per"] == "row",
                request=_compiled("request", raw["request"]),
                response=_compiled("response", raw["response"]),
                timeout=float(raw["timeout_seconds"]),
                retries=int(raw["retries"]),
                cost=float(raw["cost_per_call"]),
                tls=_tls(raw.get("trust")),
            )
        except (KeyError, TypeError, ValueError, httpx.InvalidURL) as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(
                f"LAB_EXTERNAL can't be read ({type(error).__name__}); it is the JSON "
                "of a variant's `external` settings"
            ) from None


def _compiled(name: str, expression: str) -> Any:
    try:
        return jmespath.compile(expression)
    except JMESPathError as error:
        raise SettingsError(
            f"external.{name}: is not a JMESPath expression ({type(error).__name__}); "
            "https://jmespath.org/tutorial.html shows how they are written"
        ) from None


def _key_header(line: str, key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    name, _, text = line.partition(": ")
    value = text.replace("{key}", key.strip())
    if not value.isascii() or not value.isprintable():
        raise SettingsError(
            "external.key: has characters that a header can't carry; set the secret "
            "again, without line breaks"
        )
    return {name: value}


def _tls(trust: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    if trust:
        try:
            context.load_verify_locations(cadata=trust)
        except (ssl.SSLError, ValueError):
            raise SettingsError("external.trust: is no certificate in PEM") from None
    return context
