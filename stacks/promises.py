"""Settings of what a lab promises: agreements, prices, backups, and policies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt

from stacks.section import Section
from stacks.values import (
    AnswerTime,
    Bucket,
    Cpu,
    Currency,
    Date,
    Endpoint,
    Money,
    Name,
    Price,
    Reason,
    Region,
    ReleaseName,
    Size,
    Words,
)

Objective = Annotated[StrictFloat, Field(ge=0.5, le=0.99999)]
"""A share that is promised: one of 1 leaves no room for a single failure."""


class LatencyObjective(Section):
    """How many answers come within which time."""

    share: Objective = 0.95
    """Share of the answers."""
    seconds: AnswerTime
    """Time within which they come; one of the bounds that the gateway counts by."""


class Objectives(Section):
    """What those who use the releases can count on."""

    window_days: Annotated[StrictInt, Field(ge=1, le=90)] = 28
    """Days over which shares are counted."""
    availability: Objective | None = None
    """Share of the requests that get an answer other than 5xx."""
    latency: LatencyObjective | None = None
    """How many answers come within which time."""
    freshness_days: Annotated[StrictInt, Field(ge=1, le=3650)] | None = None
    """Days after which the stable variant's model has to be a newer one."""
    quality: Objective | None = None
    """Share of right predictions, by labels posted to the lab."""


class BudgetOverride(Section):
    """Leave to spend more for a while."""

    monthly: Money
    """Cost of a month that is allowed instead."""
    by: Words
    """Who gives the leave."""
    because: Reason
    """Why."""
    until: Date
    """Last day on which it holds."""


class CostClause(Section):
    """What may be spent."""

    monthly: Money
    """Cost of a month of 730 hours at most, in the currency of `costs`."""
    warn_at: Annotated[StrictFloat, Field(gt=0, le=1)] = 0.8
    """Part of it from which on what was spent, or is forecast, raises an alert."""
    override: BudgetOverride | None = None
    """Leave to spend more for a while."""


class Deadlines(Section):
    """Days by which something has to be done; alerts begin two weeks before."""

    retrain_by: Date | None = None
    """Day by which a newer model has to be released."""
    review_by: Date | None = None
    """Day by which owner and consumers look at the agreement again."""
    retire_by: Date | None = None
    """Day by which what is covered is taken out of the lab."""


class Capacity(Section):
    """What the lab may take of the cluster: its ResourceQuota and LimitRange."""

    cpu: Cpu | None = None
    """Processor time that all pods together may reserve."""
    memory: Size | None = None
    """Memory that all pods together may reserve."""
    storage: Size | None = None
    """Volumes together."""
    pods: Annotated[StrictInt, Field(ge=1, le=5000)] | None = None
    """Pods at the same time."""
    releases: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    """Releases in the lab."""


class Recovery(Section):
    """What a disaster may cost; backups and drills follow from it."""

    rpo_minutes: Annotated[StrictInt, Field(ge=10, le=10080)]
    """Work of so many minutes may be lost at most; a backup every five minutes is the
    most often that there can be."""
    rto_minutes: Annotated[StrictInt, Field(ge=5, le=10080)]
    """After so many minutes the lab has to be back."""


class AgreementConfig(Section):
    """What was promised to whom; alerts, quotas, budgets and backups follow from it."""

    covers: tuple[ReleaseName, ...] = ()
    """Releases that it is about; without any it is about the lab as a whole, and about
    each release that no other agreement names."""
    owner: Name | None = None
    """Team that keeps the promise; the lab's owner unless said."""
    consumers: tuple[Words, ...] = ()
    """To whom it was promised."""
    objectives: Objectives = Objectives()
    """What those who use the releases can count on."""
    cost: CostClause | None = None
    """What may be spent."""
    deadlines: Deadlines = Deadlines()
    """Days by which something has to be done."""
    capacity: Capacity | None = None
    """What the lab may take of the cluster; for an agreement that covers the lab."""
    recovery: Recovery | None = None
    """What a disaster may cost; for an agreement that covers the lab."""
    guard_may_trade: StrictBool = True
    """Whether the guard may spend what failures are left on candidates: it gives none
    more requests once they are used up. Without it no candidate gets any."""


class Prices(Section):
    """Own rates, instead of those of the price book."""

    cpu_hour: Price | None = None
    """A reserved core for an hour."""
    gib_hour: Price | None = None
    """A reserved GiB of memory for an hour."""
    gib_month: Price | None = None
    """A GiB of volume for a month."""
    gpu_hour: Price | None = None
    """A reserved GPU for an hour."""


class CostsConfig(Section):
    """What things cost: a price book, and rates that are different here."""

    book: Name = "on-prem"
    """Price book: a file in `policies/prices/`, without its suffix."""
    currency: Currency = "EUR"
    """Currency of every sum; the book has to be in it."""
    prices: Prices = Prices()
    """Own rates, instead of those of the price book."""
    max_age_days: Annotated[StrictInt, Field(ge=1, le=3650)] = 365
    """Days after which a price book is called old."""


class OwnBackupStore(Section):
    """A second MinIO, in a namespace of its own that outlives the lab."""

    kind: Literal["minio"]
    capacity: Size
    """Size of its volume."""


class S3BackupStore(Section):
    """A bucket elsewhere; its keys are Pulumi config secrets."""

    kind: Literal["s3"]
    endpoint: Endpoint
    """Address of the S3 API."""
    region: Region
    """Region that requests are signed for; us-east-1 where there are none."""
    bucket: Bucket
    """Bucket, which exists already and holds nothing else."""


class Retention(Section):
    """How many backups are kept, besides the newest."""

    hourly: Annotated[StrictInt, Field(ge=0, le=720)] = 24
    """Last ones of an hour."""
    daily: Annotated[StrictInt, Field(ge=0, le=366)] = 14
    """Last ones of a day."""
    weekly: Annotated[StrictInt, Field(ge=0, le=260)] = 8
    """Last ones of a week."""
    monthly: Annotated[StrictInt, Field(ge=0, le=120)] = 12
    """Last ones of a month."""


class DrillConfig(Section):
    """A rehearsed restore into an empty namespace, with proof."""

    every_days: Annotated[StrictInt, Field(ge=1, le=31)] = 7
    """Days between two drills; one that is half as late again is an alert."""
    stops_releases: StrictBool = False
    """Whether releases wait while the last drill has failed or is too old."""


class BackupsConfig(Section):
    """Copies of everything that the lab could not make again, and rehearsals."""

    store: Annotated[OwnBackupStore | S3BackupStore, Field(discriminator="kind")]
    """Where copies are kept: a second store."""
    staging: Size
    """Size of the volume on which a copy is put together; as large as what the lab's
    own buckets hold."""
    keep: Retention = Retention()
    """How many backups are kept."""
    drill: DrillConfig = DrillConfig()
    """The rehearsal."""


INTERVALS = (5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1440)
"""Minutes between two backups: what divides an hour or a day."""


def backup_minutes(recovery: Recovery | None) -> int:
    """Minutes between two backups: with the time that one takes, less than the RPO."""
    allowed = recovery.rpo_minutes * 0.8 if recovery else INTERVALS[-1]
    return max((each for each in INTERVALS if each <= allowed), default=INTERVALS[0])


def backup_schedule(minutes: int) -> str:
    """The interval of `backup_minutes` as five fields of cron, in UTC."""
    if minutes < 60:
        return f"*/{minutes} * * * *"
    hours = minutes // 60
    return "0 2 * * *" if hours == 24 else f"0 */{hours} * * *"


class PolicyConfig(Section):
    """How one policy rule is taken in this lab."""

    level: Literal["mandatory", "advisory", "off"]
    """Whether a breach refuses, warns, or is not looked for."""
    because: Reason
    """Why here other than in general."""
