"""What watches a lab, asked from outside: the guard's memory, alerts, measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

from labfactory.errors import LabError
from labfactory.guard.memory import Remembered, config_map_name
from stacks.schema import LabConfig

SECONDS = 3
"""How long an answer may take; a screen must not wait for what is away."""
TRIES = 5
GATEWAY = "envoy_cluster_upstream_rq"
MODEL = "lab_model_request_seconds_bucket"
BY = "sum by (release, variant)"
REQUESTS = f"{BY} (rate({GATEWAY}_completed[1m]))"
QUERIES = {
    "requests": REQUESTS,
    "errors": (
        f'({BY} (rate({GATEWAY}_xx{{envoy_response_code_class="5"}}[1m])) '
        f"or 0 * {REQUESTS}) / ({REQUESTS} > 0)"
    ),
    "p95": (
        "histogram_quantile(0.95, sum by (release, variant, le) "
        f"(rate({MODEL}[1m]))) > 0"
        " or histogram_quantile(0.95, sum by (release, variant, le) "
        f"(rate({GATEWAY}_time_bucket[1m]))) / 1000 > 0"
    ),
}
"""What is asked of Prometheus about each variant, over the last minute."""


@dataclass(frozen=True)
class Health:
    """What was measured of one variant over the last minute; None where nothing was."""

    requests: float | None = None
    """Requests a second."""
    errors: float | None = None
    """Share that ended with status 5xx."""
    p95: float | None = None
    """Seconds within which 95 of 100 answers came."""


UNMEASURED = Health()


@dataclass(frozen=True)
class Alert:
    """An alert that fires."""

    name: str
    labels: Mapping[str, str]
    summary: str
    since: str
    """Time, as ISO 8601."""


@dataclass(frozen=True)
class Seen:
    """Everything that watches a lab, asked once."""

    memories: Mapping[str, Remembered] = field(default_factory=dict)
    """The guard's, by release."""
    health: Mapping[tuple[str, str], Health] = field(default_factory=dict)
    """By release and variant."""
    alerts: tuple[Alert, ...] = ()
    away: tuple[str, ...] = ()
    """Who could not be asked: sentences."""


UNSEEN = Seen()


class Memories:
    """The guard's memory of each release, in the lab's cluster; for a `with` block."""

    def __init__(self, context: str, namespace: str) -> None:
        """Talk to the kubeconfig's cluster `context` about the lab in `namespace`."""
        from labfactory import environment

        self._where = f"cluster {context!r}, namespace {namespace!r}"
        self._cluster = environment.cluster(context, namespace)

    def __enter__(self) -> Self:
        """Keep the connection for as long as the block lasts."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._cluster.close()

    def read(self) -> tuple[dict[str, Remembered], list[str]]:
        """What the guard remembers by release, and what can't be read, as sentences.

        Raises LabError when the cluster does not answer.
        """
        from labfactory.guard.cluster import Cluster

        return Cluster(self._cluster).memories()

    def take(self, release: str, job: str, at: str) -> None:
        """Note that what the training `job` made is in the settings.

        Raises LabError when the guard writes at the same time, again and again.
        """
        import httpx2
        from lightkube.resources.core_v1 import ConfigMap

        for _ in range(TRIES):
            try:
                found = self._cluster.get(ConfigMap, config_map_name(release))
                memory = Remembered.read(found.data["state"])
                if memory.retrained is None or memory.retrained.job != job:
                    return  # the guard has begun another one
                taken = replace(memory.retrained, taken_at=at)
                found.data["state"] = replace(memory, retrained=taken).written()
                # It has the version that was read: what the guard has written since
                # then is never overwritten.
                self._cluster.replace(found)
            except httpx2.HTTPStatusError as error:
                if error.response.status_code != 409:
                    raise self._refused(release, error) from None
            except httpx2.HTTPError as error:
                raise self._refused(release, error) from None
            else:
                return
        raise LabError(
            f"{self._where}: the guard writes what it remembers of {release} at the "
            "same time, again and again; run the command again"
        )

    def _refused(self, release: str, error: Exception) -> LabError:
        return LabError(
            f"{self._where}: the ConfigMap {config_map_name(release)} can't be changed "
            f"({type(error).__name__}); may you change it there?"
        )


def look(settings: LabConfig, outputs: Mapping[str, Any]) -> Seen:
    """Ask all that the settings have; who does not answer is told, never an error.

    `outputs` are the stack's: `monitoring_url` and `alerts_url`.
    """
    away = []

    def asked(ask: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return ask()
        except LabError as error:
            away.append(str(error))
            return otherwise

    memories: Any = {}
    measured: Any = {}
    firing: Any = ()
    if settings.guard:
        memories, broken = asked(partial(_memories, settings), ({}, ()))
        away += broken
    if url := outputs.get("monitoring_url"):
        measured = asked(partial(health, url), {})
    if url := outputs.get("alerts_url"):
        firing = asked(partial(alerts, url), ())
    return Seen(memories, measured, firing, tuple(away))


def _memories(settings: LabConfig) -> tuple[dict[str, Remembered], list[str]]:
    with Memories(settings.cluster.context, settings.name) as memories:
        return memories.read()


def alerts(url: str) -> tuple[Alert, ...]:
    """The alerts that fire now, oldest first, by Alertmanager at `url`.

    The one that always fires, to show that alerts arrive, is left out. Raises
    LabError when it does not answer.
    """
    found = _asked(
        f"{url}/api/v2/alerts", "Alertmanager", silenced="false", inhibited="false"
    )
    firing = [
        Alert(
            name=each["labels"].get("alertname", ""),
            labels=each["labels"],
            summary=each["annotations"].get("summary", ""),
            since=each["startsAt"],
        )
        for each in found
        if each["labels"].get("severity") != "none"
    ]
    return tuple(sorted(firing, key=lambda alert: (alert.since, alert.name)))


def health(url: str) -> dict[tuple[str, str], Health]:
    """What Prometheus at `url` measures, by release and variant.

    Raises LabError when it does not answer.
    """
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, query in QUERIES.items():
        answer = _asked(f"{url}/api/v1/query", "Prometheus", query=query)
        for each in answer["data"]["result"]:
            labels = each["metric"]
            key = labels.get("release", ""), labels.get("variant", "")
            found.setdefault(key, {})[name] = float(each["value"][1])
    return {key: Health(**values) for key, values in found.items()}


def _asked(url: str, who: str, **parameters: str) -> Any:
    import httpx

    try:
        with httpx.Client(timeout=SECONDS, trust_env=False) as client:
            answer = client.get(url, params=parameters)
            answer.raise_for_status()
            return answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise LabError(f"{who} does not answer ({type(error).__name__})") from None
