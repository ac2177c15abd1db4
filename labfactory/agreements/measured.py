"""What is measured of a lab's agreements: asked of everybody who knows a part of it.

Whoever does not answer is told with the reason; what nobody knows is never called kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from labfactory.agreements.promised import SHARES
from labfactory.errors import LabError
from stacks.schema import LabConfig

if TYPE_CHECKING:
    from labfactory.backups.history import Drill

ASKED = "release:asked:rate5m"
FAILED = "release:failed:rate5m"
"""Series that Prometheus records for agreements."""
SECONDS = 10.0
"""How long an answer may take; a window is long."""
QUOTA = "agreement"
"""Name of the lab's ResourceQuota."""
COUNTED = {
    "cpu": "requests.cpu",
    "memory": "requests.memory",
    "storage": "requests.storage",
    "pods": "pods",
}
"""What the quota counts, by clause of the capacity."""

Costs = Callable[[], Mapping[str, float]]
"""Cost of a month by agreement, as the lab is now; raises LabError."""


@dataclass(frozen=True)
class Used:
    """What is taken of one limit of the quota."""

    amount: str
    """As Kubernetes writes it."""
    is_within: bool


@dataclass(frozen=True)
class Measured:
    """What is known; what is not there is unknown, and `why` says why."""

    failed: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Share that failed over the window, by release and objective."""
    made: Mapping[str, datetime] = field(default_factory=dict)
    """When the model of the stable variant was registered, by release."""
    drills: tuple[Drill, ...] = ()
    """The newest last."""
    used: Mapping[str, Used] = field(default_factory=dict)
    """By clause of the capacity."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """Cost of a month, by agreement."""
    why: Mapping[str, str] = field(default_factory=dict)
    """Why a part is unknown, as a sentence without a full stop, by `failed`, `made`,
    `drills`, `used`, `costs`, or by `made/RELEASE`."""


def measured(
    lab: LabConfig, outputs: Mapping[str, Any], *, costs: Costs | None = None
) -> Measured:
    """Ask for what the agreements of `lab` promise; `outputs` are the stack's."""
    why: dict[str, str] = {}
    agreements = lab.agreements.values()

    def asked(part: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except LabError as error:
            why[part] = str(error)
            return None

    parts: dict[str, Callable[[], Any]] = {}
    if any(getattr(each.objectives, name) for each in agreements for name in SHARES):
        parts["failed"] = partial(_failed, lab, outputs.get("monitoring_url"))
    if any(each.objectives.freshness_days for each in agreements):
        parts["made"] = partial(_made, lab, outputs.get("tracking_url"), why)
    if any(each.recovery for each in agreements):
        parts["drills"] = partial(_drills, lab)
    if any(each.capacity for each in agreements):
        parts["used"] = partial(_used, lab)
    if any(each.cost for each in agreements):
        parts["costs"] = costs or _nobody
    found = {part: asked(part, ask) for part, ask in parts.items()}
    return Measured(
        **{part: each for part, each in found.items() if each is not None}, why=why
    )


def days_kept(lab: LabConfig, window_days: int) -> int:
    """Days of a window for which there can be measurements."""
    kept = lab.monitoring.retention_days if lab.monitoring else window_days
    return min(window_days, kept)


def _failed(lab: LabConfig, url: str | None) -> dict[tuple[str, str], float]:
    """Share that failed over each release's window; nothing where nobody asked."""
    from labfactory.guard.prometheus import Blind, Prometheus

    if lab.monitoring is None:
        raise LabError("the lab has no monitoring; add `monitoring: {}` to it")
    if url is None:
        raise LabError("the lab does not say where its Prometheus is; `lab up` it")
    windows = {
        name: days_kept(lab, found[1].objectives.window_days)
        for name in lab.releases
        if (found := lab.agreement_of(name))
    }
    shares = {}
    try:
        with Prometheus(url, seconds=SECONDS) as prometheus:
            for days in sorted(set(windows.values())):
                for each in prometheus.ask(_share_over(days)):
                    release = each.labels.get("release", "")
                    if windows.get(release) == days:
                        key = release, each.labels.get("objective", "")
                        shares[key] = each.samples[-1][1]
    except Blind as blind:
        raise LabError(str(blind)) from None
    return shares


def _share_over(days: int) -> str:
    return f"sum_over_time({FAILED}[{days}d]) / (sum_over_time({ASKED}[{days}d]) > 0)"


def _made(lab: LabConfig, url: str | None, why: dict[str, str]) -> dict[str, datetime]:
    """When each stable model was registered; adds to `why` what can't be known."""
    from labfactory.releases.models.server import Server

    if url is None:
        raise LabError("the lab does not say where its registry is; `lab up` it")
    server = Server(url)
    made = {}
    for name, release in lab.releases.items():
        stable = release.variants[release.stable()]
        if stable.version is None:
            why[f"made/{name}"] = "its stable variant is somebody else's endpoint"
            continue
        try:
            found = server.ask(
                "model-versions/get", name=name, version=str(stable.version)
            )
            at = int(found["model_version"]["creation_timestamp"]) / 1000
        except LabError as error:
            why[f"made/{name}"] = str(error)
        except (KeyError, ValueError):
            why[f"made/{name}"] = "the registry does not say when it was made"
        else:
            made[name] = datetime.fromtimestamp(at, UTC)
    return made


def _drills(lab: LabConfig) -> tuple[Drill, ...]:
    from labfactory.backups import history
    from labfactory.backups.cluster import Cluster

    namespace = history.drill_namespace(lab.name)
    with Cluster(lab.cluster.context) as cluster:
        found = history.entries(cluster, namespace, history.DRILLS)
    return tuple(map(history.Drill.read, found))


def _used(lab: LabConfig) -> dict[str, Used]:
    """What is taken of the quota, and how many releases there are."""
    import httpx2
    from lightkube.resources.core_v1 import ResourceQuota

    from labfactory import environment

    context = lab.cluster.context
    cluster = environment.cluster(context, lab.name)
    try:
        status = cluster.get(ResourceQuota, QUOTA).status
    except httpx2.HTTPError as error:
        raise LabError(
            f"cluster {context!r}, namespace {lab.name!r}: the ResourceQuota {QUOTA} "
            f"can't be read ({type(error).__name__})"
        ) from None
    finally:
        cluster.close()
    return quota(status.used or {}, status.hard or {})


def quota(used: Mapping[str, str], hard: Mapping[str, str]) -> dict[str, Used]:
    """What is taken of each limit of a ResourceQuota that has one. Pure."""
    from lightkube.utils.quantity import parse_quantity

    found = {}
    for clause, key in COUNTED.items():
        amount, most = (parse_quantity(each.get(key)) for each in (used, hard))
        if amount is not None and most is not None:
            found[clause] = Used(used[key], amount <= most)
    return found


def _nobody() -> Mapping[str, float]:
    raise LabError("nobody was asked; `lab costs` shows them")
