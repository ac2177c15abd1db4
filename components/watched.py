"""What there is to measure in a lab: the facts that scrapes and alerts follow from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from components import contour, credentials
from stacks import rules
from stacks.schema import (
    LabConfig,
    MinioStorage,
    ReleaseConfig,
    SharedPlatform,
)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """The parts that a lab has, as far as they are measured."""

    lab: str
    """Name of the lab, which is its namespace."""
    releases: Mapping[str, ReleaseConfig]
    gateway_namespace: str
    """Where Envoy's pods are."""
    store_bytes: float | None
    """Size of the volume of the lab's own store; None when the store is not its own."""
    database_bytes: float
    """Size of the database's volume."""
    guard: bool
    """Whether somebody watches the releases."""
    feedback: bool
    """Whether labels can be posted."""
    signed_kubelets: bool
    """Whether the cluster's authority has signed the kubelets' certificates."""
    credentials_end: int
    """Unix time at which the lab's certificates and tokens end."""


def watched(lab: LabConfig, *, signed_kubelets: bool = False) -> Watched:
    """What there is to measure in a lab with these settings, on such a cluster."""
    store, platform = lab.storage, lab.platform
    gateway = contour.NAMESPACE
    if isinstance(platform, SharedPlatform):
        gateway = platform.gateway.partition("/")[0]
    return Watched(
        lab=lab.name,
        releases=lab.releases,
        gateway_namespace=gateway,
        store_bytes=rules.amount(store.capacity)
        if isinstance(store, MinioStorage)
        else None,
        database_bytes=rules.amount(lab.tracking.capacity),
        guard=lab.guard is not None,
        feedback=lab.takes_feedback,
        signed_kubelets=signed_kubelets,
        credentials_end=credentials_end(lab.credentials_issued),
    )


def credentials_end(issued: date) -> int:
    """Unix time at which certificates and tokens that count from `issued` end."""
    start = datetime.combine(issued, time(), UTC)
    return int(start.timestamp()) + (credentials.CERTIFICATE_DAYS - 1) * 86400
