"""Prometheus' HTTP API, asked for raw samples; whatever it answers, never a traceback.

It does not try again: whoever asks will ask again within seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import httpx

SECONDS = 2.0
"""How long one answer may take in all."""


class Blind(Exception):
    """There are no measurements; the message says why, without a full stop."""


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one series: Unix times in seconds, and values."""

    labels: Mapping[str, str]
    samples: Sequence[tuple[float, float]]

    @property
    def name(self) -> str:
        """Name of the metric."""
        return self.labels.get("__name__", "")


class Prometheus:
    """One Prometheus; to be used in a `with` block."""

    def __init__(self, url: str, *, seconds: float = SECONDS) -> None:
        """Ask the server at `url`, and wait for at most `seconds`."""
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._seconds = seconds
        self._client = httpx.Client(timeout=seconds, trust_env=False)

    def __enter__(self) -> Self:
        """Keep the connection for as long as the block lasts."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._client.close()

    def ask(self, query: str) -> list[Series]:
        """The series that `query` selects, a range selector or an expression.

        Raises Blind.
        """
        try:
            return [_series(each) for each in self._result(query)]
        except httpx.TimeoutException:
            raise self._slow() from None
        except httpx.HTTPError as error:
            raise Blind(f"Prometheus is away ({type(error).__name__})") from None
        except (LookupError, RecursionError, TypeError, ValueError):
            raise Blind("Prometheus answers with something else") from None

    def _result(self, query: str) -> list[Mapping[str, object]]:
        asked = {"query": query, "timeout": f"{self._seconds:g}s"}
        with self._client.stream("POST", self._url, data=asked) as answer:
            content = self._read(answer)
        if answer.status_code != 200:
            raise Blind(f"Prometheus answers with status {answer.status_code}")
        found = json.loads(content)["data"]["result"]
        if not isinstance(found, list):
            raise TypeError
        return found

    def _read(self, answer: httpx.Response) -> bytes:
        """The body; httpx's own limit is for each part of it, ours for the whole."""
        deadline = time.monotonic() + self._seconds
        parts = []
        for part in answer.iter_bytes():
            parts.append(part)
            if time.monotonic() > deadline:
                raise self._slow()
        return b"".join(parts)

    def _slow(self) -> Blind:
        return Blind(f"Prometheus takes more than {self._seconds:g} s to answer")


def _series(found: Mapping[str, object]) -> Series:
    """One series of a matrix, or of a vector, which has one sample of each."""
    samples = found["values"] if "values" in found else [found["value"]]
    labels = found["metric"]
    if not isinstance(samples, list) or not isinstance(labels, dict):
        raise TypeError
    return Series(labels, [(float(at), float(value)) for at, value in samples])
