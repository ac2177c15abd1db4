"""Releases: what an edit costs, what callers notice, and how quick the way back is."""

from __future__ import annotations

from collections.abc import Callable

from labfactory.bench import releases_plan, releases_shadow, releases_traffic
from labfactory.bench.figure import Figure
from labfactory.bench.ground import Ground
from labfactory.bench.releases_canary import Canary

PARTS: tuple[Callable[[Canary, int], list[Figure]], ...] = (
    releases_plan.objects,
    releases_plan.plan,
    releases_plan.preview,
    releases_traffic.weights,
    releases_traffic.split,
    releases_traffic.way_back,
    releases_shadow.shadow,
)
"""Each leaves route and settings as Pulumi knows them."""


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Measure everything about releases; leave the lab with one version of each."""
    canary = Canary(ground)
    found = [figure for part in PARTS for figure in part(canary, runs)]
    canary.apply(canary.alone)
    return found
