"""What there is to measure in a lab: the facts that scrapes and alerts follow from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time

import pulumi

from components import contour, credentials
from policies.rules.prices import BookError, rates, read_book
from stacks import rules
from stacks.promises import AgreementConfig, OwnBackupStore
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
    others: tuple[str, ...] = ()
    """Namespaces of the lab besides its own."""
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
    promises: LabConfig | None = None
    """Settings that the alerts about promises follow from; None where nothing is
    promised."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Prices, by name."""
    agreements: Mapping[str, AgreementConfig] = field(default_factory=dict)
    """What was promised, by name."""
    under: Mapping[str, AgreementConfig] = field(default_factory=dict)
    """The agreement of each release that has one."""


def watched(lab: LabConfig, *, signed_kubelets: bool = False) -> Watched:
    """What there is to measure in a lab with these settings, on such a cluster."""
    store, platform = lab.storage, lab.platform
    gateway = contour.NAMESPACE
    if isinstance(platform, SharedPlatform):
        gateway = platform.gateway.partition("/")[0]
    return Watched(
        lab=lab.name,
        releases=lab.releases,
        others=_others(lab),
        gateway_namespace=gateway,
        store_bytes=rules.amount(store.capacity)
        if isinstance(store, MinioStorage)
        else None,
        database_bytes=rules.amount(lab.tracking.capacity),
        guard=lab.guard is not None,
        feedback=lab.takes_feedback,
        signed_kubelets=signed_kubelets,
        credentials_end=credentials_end(lab.credentials_issued),
        promises=lab,
        rates=prices(lab),
        agreements=lab.agreements,
        under={
            release: found[1]
            for release in lab.releases
            if (found := lab.agreement_of(release))
        },
    )


def credentials_end(issued: date) -> int:
    """Unix time at which certificates and tokens that count from `issued` end."""
    start = datetime.combine(issued, time(), UTC)
    return int(start.timestamp()) + (credentials.CERTIFICATE_DAYS - 1) * 86400


def prices(lab: LabConfig) -> Mapping[str, float]:
    """What reserved things cost in this lab; raises pulumi.RunError."""
    try:
        book = read_book(lab.costs.book)
        return rates(book, lab.costs.prices.model_dump())
    except BookError as error:
        raise pulumi.RunError(f"costs.book: {error}") from None


def _others(lab: LabConfig) -> tuple[str, ...]:
    if lab.backups is None:
        return ()
    own = isinstance(lab.backups.store, OwnBackupStore)
    return f"{lab.name}-drill", *([f"{lab.name}-backups"] if own else [])
