"""Training anew when the stable model has decayed, and what came of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Self

import httpx

from labfactory.errors import LabError
from labfactory.guard.actions import iso
from labfactory.guard.cluster import Cluster
from labfactory.guard.memory import Retrained
from stacks.watching import RetrainConfig

SECONDS = 2.0
HOUR = 3600.0
LOOK_SECONDS = 30.0
"""Time between two looks at a training, or two tries to start one."""


class Registry:
    """The model registry of the lab; to be used in a `with` block."""

    def __init__(self, url: str) -> None:
        """Ask the tracking server at `url`."""
        self._client = httpx.Client(base_url=url, timeout=SECONDS, trust_env=False)

    def __enter__(self) -> Self:
        """Keep the connection for as long as the block lasts."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._client.close()

    def newest(self, model: str) -> int:
        """Newest version of a model, 0 when there is none. Raises LabError."""
        try:
            answer = self._client.get(
                "/api/2.0/mlflow/model-versions/search",
                params={
                    "filter": f"name='{model}'",
                    "order_by": "version_number DESC",
                    "max_results": 1,
                },
            )
            answer.raise_for_status()
            versions = answer.json().get("model_versions", [])
            return max((int(each["version"]) for each in versions), default=0)
        except (httpx.HTTPError, AttributeError, LookupError, TypeError, ValueError):
            raise LabError("the model registry does not answer") from None


class Retraining:
    """Starts trainings, and finds the versions that they register."""

    def __init__(
        self,
        cluster: Cluster,
        registry: Registry,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` is the Unix time in seconds."""
        self._cluster = cluster
        self._registry = registry
        self._now = now
        self._looked: dict[str, float] = {}

    def go_on(
        self,
        release: str,
        rule: RetrainConfig | None,
        last: Retrained | None,
        *,
        wanted: bool,
    ) -> Retrained | None:
        """Start a training that is `wanted` and due, or look for the end of the last.

        Returns what is to be remembered. Raises LabError; the next call tries again.
        """
        waiting = last is not None and not last.is_over
        if not waiting and not (wanted and rule):
            return last
        if abs(self._now() - self._looked.get(release, 0.0)) < LOOK_SECONDS:
            return last
        self._looked[release] = self._now()
        if last is not None and waiting:
            return self._ended(release, last)
        assert rule
        return self._begun(release, rule, last)

    def _begun(
        self, release: str, rule: RetrainConfig, last: Retrained | None
    ) -> Retrained | None:
        apart = rule.at_most_every_hours * HOUR
        for training in reversed(self._cluster.trainings(release)):
            if last and training.name == last.job:
                break
            if self._now() - training.started < apart:
                # A guard has started it that did not live to remember it.
                at = iso(training.started)
                return Retrained(training.name, at, training.before)
        started = datetime.fromisoformat(last.at).timestamp() if last else -math.inf
        if self._now() - started < apart:
            return last
        before = self._registry.newest(release)
        at = iso(self._now())
        job = self._cluster.train(release, datetime.fromisoformat(at), before=before)
        return Retrained(job, at, before)

    def _ended(self, release: str, last: Retrained) -> Retrained:
        found = [t for t in self._cluster.trainings(release) if t.name == last.job]
        outcome = found[0].outcome if found else "Failed"
        if outcome is None:
            return last
        newest = self._registry.newest(release)
        if outcome == "Complete" and newest > last.before:
            return replace(last, version=newest)
        return replace(last, failed=True)
