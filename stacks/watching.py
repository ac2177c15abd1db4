"""Settings of what watches a lab: monitoring, alerts, and the rules of the guard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt

from stacks.section import Section
from stacks.values import (
    AlertUrl,
    Channel,
    HostPort,
    MailAddress,
    Name,
    Size,
    Words,
)

Share = Annotated[StrictFloat, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[StrictFloat, Field(gt=0, le=600, allow_inf_nan=False)]


class WebhookReceiver(Section):
    """A server that gets alerts as Alertmanager's JSON."""

    kind: Literal["webhook"]
    url: AlertUrl | None = None
    """Address that alerts are posted to; the secret `labfactory:alerts-NAME` of this
    stack unless said."""


class SlackReceiver(Section):
    """A channel of Slack, or of what takes Slack's form; its address is the secret
    `labfactory:alerts-NAME` of this stack."""

    kind: Literal["slack"]
    channel: Channel
    """Channel that alerts are written to."""


class EmailReceiver(Section):
    """A mailbox."""

    kind: Literal["email"]
    to: MailAddress
    """Address that alerts are sent to."""
    sender: MailAddress
    """Address that they come from."""
    server: HostPort
    """Mail server, HOST:PORT; it has to offer TLS."""
    username: Words | None = None
    """Account at the mail server; its password is the secret
    `labfactory:alerts-NAME` of this stack."""


Receiver = Annotated[
    WebhookReceiver | SlackReceiver | EmailReceiver, Field(discriminator="kind")
]


class MonitoringConfig(Section):
    """Prometheus, Alertmanager, and who hears of alerts."""

    capacity: Size = "5Gi"
    """Size of the volume with the measurements; the oldest go when it fills."""
    retention_days: Annotated[StrictInt, Field(ge=1, le=400)] = 15
    """Days that measurements are kept at most."""
    interval_seconds: Annotated[StrictInt, Field(ge=1, le=60)] = 5
    """How often the gateway and the model servers are measured; the guard decides as
    often. Everything else is measured every 30 seconds."""
    dashboards: StrictBool = False
    """Whether there are dashboards for a Grafana that collects them by the label
    `grafana_dashboard`; the lab brings no Grafana."""
    receivers: Mapping[Name, Receiver] = {}
    """Who hears of alerts, by name; each of them hears of all."""


class GuardConfig(Section):
    """The watcher that promotes, holds or takes back releases by their rules."""

    actions_per_hour: Annotated[StrictInt, Field(ge=1, le=60)] = 6
    """Promotions and rollbacks within an hour at most, over all releases; after that
    it holds and raises an alert."""


class ErrorRule(Section):
    """Limits on answers with status 5xx, and on requests without an answer."""

    at_most: Share | None = 0.05
    """Share of the requests, whatever the stable variant does; `null` for no limit."""
    above_stable: StrictBool = True
    """Whether a share above the stable variant's is a fault."""


class LatencyRule(Section):
    """Limits on how long answers take."""

    quantile: Annotated[StrictFloat, Field(ge=0.5, le=0.99)] = 0.95
    """Quantile that the limits are about."""
    at_most: Seconds | None = None
    """Seconds, whatever the stable variant does."""
    above_stable: Annotated[StrictFloat, Field(ge=0, le=10)] | None = 0.1
    """Part by which it may be above the stable variant's: 0.1 is a tenth more."""


class RejectRule(Section):
    """Limits on requests that the model refuses (status 400)."""

    at_most: Share | None = None
    """Share of the requests, whatever the stable variant does."""
    above_stable: StrictBool = True
    """Whether a share above the stable variant's is a fault."""


class QualityRule(Section):
    """Limits on predictions that turned out wrong, by labels posted to the lab."""

    tolerance: Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)] | None = None
    """A prediction at most so far from its label is right; equal ones unless said."""
    at_least: Share | None = None
    """Share of right predictions, whatever the stable variant does."""
    above_stable: StrictBool = True
    """Whether a share of wrong ones above the stable variant's is a fault."""


class DriftRule(Section):
    """Limits on how far inputs and predictions are from the training data."""

    at_most: Annotated[StrictFloat, Field(gt=0, le=10)] = 0.25
    """Population stability index of a column, above which it has drifted, when a
    two-sample test agrees."""
    rows: Annotated[StrictInt, Field(ge=100)] = 1000
    """Rows that are needed before anything is said."""
    hours: Annotated[StrictInt, Field(ge=1, le=720)] = 24
    """How far back to look."""


class AgreementRule(Section):
    """Limits on how often a shadow says something else than what it shadows."""

    at_least: Share = 0.95
    """Share of the mirrored requests on which both must agree."""
    tolerance: Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)] | None = None
    """Predictions at most so far apart agree; equal ones unless said."""


class GuardRules(Section):
    """By which rules the guard promotes, holds or takes back variants."""

    mode: Literal["act", "advise", "off"] = "act"
    """`advise` raises alerts and changes nothing."""
    steps: tuple[Annotated[StrictInt, Field(ge=1, le=100)], ...] = ()
    """Per cent of the requests that a candidate is given one after the other, up to
    100; without any, promotion is up to people."""
    step_seconds: Annotated[StrictInt, Field(ge=1, le=604800)] = 600
    """Time for which a step has to be observed before the next one."""
    step_requests: Annotated[StrictInt, Field(ge=1, le=10_000_000)] = 500
    """Requests that the candidate has to answer in a step before the next one."""
    watch_seconds: Annotated[StrictInt, Field(ge=0, le=604800)] = 3600
    """Time for which a variant that has all requests is watched by the same rules,
    while the previous one is kept to go back to."""
    start_seconds: Annotated[StrictInt, Field(ge=10, le=3600)] = 180
    """Time within which a variant that gets requests has to be ready."""
    false_alarm: Annotated[StrictFloat, Field(ge=0.000001, le=0.1)] = 0.001
    """Chance that a rollout of a variant that is as good as the stable one is taken
    back, over the whole rollout and all rules together."""
    errors: ErrorRule = ErrorRule()
    """Answers with status 5xx, and requests without an answer."""
    latency: LatencyRule = LatencyRule()
    """How long answers take."""
    rejects: RejectRule = RejectRule()
    """Requests that the model refuses."""
    quality: QualityRule | None = None
    """Predictions that turned out wrong; needs labels (`lab feedback`)."""
    drift: DriftRule | None = None
    """Inputs and predictions that are far from the training data."""
    agreement: AgreementRule | None = None
    """Shadows that say something else."""


class RetrainConfig(Section):
    """A job that trains the model anew when the stable variant has decayed."""

    arguments: Annotated[tuple[Words, ...], Field(min_length=1)]
    """Arguments of the lab's training program (`python3 -m training`), which registers
    a version of the model named like the release."""
    at_most_every_hours: Annotated[StrictInt, Field(ge=1, le=8760)] = 24
    """Time between two of these jobs."""
