"""The shape of a stack file: every setting of a lab, typed and documented.

What no single section can know (a bucket that must exist elsewhere) is in `rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, StrictFloat, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from stacks import rules
from stacks.promises import (
    AgreementConfig,
    BackupsConfig,
    Capacity,
    CostsConfig,
    PolicyConfig,
)
from stacks.section import Section
from stacks.spelling import mistake
from stacks.values import (
    Artifact,
    Bucket,
    Buckets,
    Certificate,
    ClusterName,
    Context,
    Cookie,
    Cpu,
    Date,
    Digest,
    Endpoint,
    Expression,
    Gateway,
    HeaderLine,
    HeaderName,
    ImageReference,
    LabName,
    MatchValue,
    Name,
    ObjectAddress,
    Reason,
    Region,
    Registry,
    ReleaseName,
    Schedule,
    Size,
    StorageClass,
    Url,
    VariantName,
)
from stacks.watching import (
    GuardConfig,
    GuardRules,
    MonitoringConfig,
    RetrainConfig,
)

PROJECT = "labfactory"
"""Prefix of every key of ours in a stack file."""
SECRETS = (
    "seed",
    "s3-tracking-key-id",
    "s3-tracking-secret",
    "s3-serving-key-id",
    "s3-serving-secret",
    "s3-predictions-key-id",
    "s3-predictions-secret",
    "s3-batch-key-id",
    "s3-batch-secret",
    "s3-feedback-key-id",
    "s3-feedback-secret",
    "s3-backup-key-id",
    "s3-backup-secret",
    "s3-restore-key-id",
    "s3-restore-secret",
    "backup-store-key-id",
    "backup-store-secret",
)
"""Keys of a stack file that hold secrets, without the prefix."""
EXTERNAL_KEY = "external-"
"""Beginning of the secrets that hold keys of external endpoints: `external-NAME`."""
ALERTS = "alerts-"
"""Beginning of the secrets of those who hear of alerts: `alerts-NAME`."""
PULUMI_KEYS = (
    "config",
    "encryptedkey",
    "encryptionsalt",
    "environment",
    "secretsprovider",
)
"""Top-level keys of a Pulumi stack file."""


class EmbeddedCluster(Section):
    """A real single-node Kubernetes on this machine, made by `lab up`."""

    target: Literal["embedded"]
    name: ClusterName
    """Name of the cluster; labs may share one."""

    @property
    def context(self) -> str:
        """Context in the kubeconfig."""
        return f"labfactory-{self.name}"


class ExistingCluster(Section):
    """A cluster that somebody else made, reached by a kubeconfig context."""

    target: Literal["existing"]
    context: Context
    """Context in the kubeconfig."""
    registry: Registry | None = None
    """Registry that holds the lab's own images, and a mirror of the others."""
    images: Mapping[Name, ImageReference] = {}
    """Images to use instead of the lab's own, by name."""
    storage_class: StorageClass | None = None
    """Class of the lab's volumes; the cluster's default one unless said."""


class OwnPlatform(Section):
    """The lab brings KServe, Contour and their custom resources itself."""

    kind: Literal["own"]


class SharedPlatform(Section):
    """KServe and a gateway are there already, for several labs."""

    kind: Literal["shared"]
    gateway: Gateway
    """Gateway that the releases' routes attach to."""


class MinioStorage(Section):
    """An object store of the lab's own: MinIO with one volume."""

    kind: Literal["minio"]
    capacity: Size
    """Size of the volume."""
    buckets: Buckets
    """Buckets of the lab; one that is taken out of the list is kept."""


class S3Storage(Section):
    """An S3 endpoint that exists already; its keys are Pulumi config secrets."""

    kind: Literal["s3"]
    endpoint: Endpoint
    """Address of the S3 API."""
    region: Region
    """Region that requests are signed for; us-east-1 where there are none."""
    buckets: Buckets
    """Buckets of the lab; they exist already."""


class TrackingConfig(Section):
    """Experiment tracking and model registry: MLflow on PostgreSQL."""

    capacity: Size
    """Size of the database's volume."""
    bucket: Bucket
    """Bucket of the artifacts; one of `storage.buckets`."""


class Requests(Section):
    """What a predictor is promised."""

    cpu: Cpu = "100m"
    """Processor time that is reserved."""
    memory: Size = "512Mi"
    """Memory that is reserved."""


class Limits(Section):
    """What a predictor never gets more of."""

    cpu: Cpu = "2000m"
    """Processor time at most."""
    memory: Size = "2Gi"
    """Memory at most; a predictor that takes more is restarted."""


class ResourceSettings(Section):
    """Processor time and memory of each predictor."""

    requests: Requests = Requests()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _requests_are_within_limits(self) -> Self:
        for kind in ("cpu", "memory"):
            asked, most = getattr(self.requests, kind), getattr(self.limits, kind)
            if rules.amount(asked) > rules.amount(most):
                raise mistake(
                    f"asks for more {kind} than it allows (requests.{kind} is above "
                    f"limits.{kind}, which is {Limits().model_dump()[kind]} unless "
                    "said); raise the limit or lower the request"
                )
        return self


class MatchConfig(Section):
    """Requests that one variant answers, whatever the weights say."""

    header: HeaderName | None = None
    """Header that must have the value."""
    cookie: Cookie | None = None
    """Cookie that must have the value."""
    value: MatchValue
    """Value of the header or the cookie."""


class ExternalConfig(Section):
    """Somebody else's endpoint, called by the lab's model server."""

    url: Url
    """Address that each call is posted to; plain http only inside the cluster."""
    key: Name | None = None
    """The secret `labfactory:external-KEY` of this stack, sent with each call."""
    header: HeaderLine = "Authorization: Bearer {key}"
    """Header that carries the key."""
    call_per: Literal["request", "row"] = "request"
    """One call for all rows of a request, or one for each row."""
    request: Expression = "{instances: rows}"
    """JMESPath: from `rows` (a list of objects), or `row`, to the body of a call."""
    response: Expression = "predictions"
    """JMESPath: from an answer's body to the predictions, or to the row's one."""
    timeout_seconds: Annotated[StrictInt, Field(ge=1, le=60)] = 5
    """A call that takes longer has failed."""
    retries: Annotated[StrictInt, Field(ge=0, le=5)] = 1
    """How often a call that found nobody, or a busy endpoint, is made again."""
    cost_per_call: Annotated[StrictFloat, Field(ge=0, le=1000, allow_inf_nan=False)]
    """Price of one call, in the lab's currency; 0 when it costs nothing."""
    trust: Certificate | None = None
    """Certificate, as PEM text, of the authority that signed the endpoint's own."""


class VariantConfig(Section):
    """A version of a model, pinned by the digest of its files, or an endpoint."""

    version: Annotated[StrictInt, Field(ge=1)] | None = None
    """Version in the model registry."""
    artifact: Artifact | None = None
    """Folder of the model in one of `storage.buckets`."""
    digest: Digest | None = None
    """Digest of the artifact's files; a model that differs is not served."""
    external: ExternalConfig | None = None
    """Somebody else's endpoint, instead of version, artifact and digest."""
    role: Literal["stable", "candidate", "shadow", "previous", "rejected"]
    """`stable` answers unless told otherwise, a `candidate` may become stable, a
    `shadow` gets copies of requests, `previous` was stable and is kept to go back to,
    `rejected` was taken back."""
    traffic: Annotated[StrictInt, Field(ge=0, le=100)] = 0
    """Per cent of the requests."""
    mirror: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    """Per cent of the requests that a shadow gets copies of."""
    match: MatchConfig | None = None
    """Requests that a candidate answers whatever the weights say (A/B)."""
    accept_breaking: Reason | None = None
    """Why it may replace a variant whose contract it breaks."""
    because: Reason | None = None
    """Why it was rejected."""

    @property
    def pinned(self) -> Pinned:
        """The model; a variant that is no external endpoint has one."""
        assert self.version
        assert self.artifact
        assert self.digest
        return Pinned(self.version, self.artifact, self.digest)


class Pinned(NamedTuple):
    """One version of a model, and what its files must be."""

    version: int
    artifact: str
    digest: str


class BatchConfig(Section):
    """Predictions over files, at set times."""

    schedule: Schedule
    """When it runs, as five fields of cron, in UTC."""
    input: ObjectAddress
    """File, or folder of files, with rows: Parquet or CSV."""
    output: ObjectAddress
    """Folder for the predictions, in the bucket `predictions.bucket`; each run gets
    a folder of its own in it."""
    parallelism: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    """Workers that share the input."""


class ReleaseConfig(Section):
    """One served model: its name is the key, its variants are its versions."""

    template: Name
    """How the model is served: a file in `model_templates/`, without its suffix."""
    serve: Annotated[tuple[Literal["api", "batch"], ...], Field(min_length=1)] = (
        "api",
    )
    """Ways to get predictions: through the gateway, and over files."""
    sticky: HeaderName | None = None
    """Header with the bucket of the caller's user, 00 to 99, which the client makes:
    the same bucket gets the same variant, and keeps it while a candidate grows."""
    replicas: Annotated[StrictInt, Field(ge=1, le=100)] = 1
    """Predictors of each variant that run at the same time."""
    resources: ResourceSettings = ResourceSettings()
    """Processor time and memory of each predictor."""
    batch: BatchConfig | None = None
    """Batch runs at set times; `lab batch` starts others."""
    guard: GuardRules = GuardRules()
    """By which rules the lab's guard promotes, holds or takes back variants."""
    retrain: RetrainConfig | None = None
    """Training that the guard starts when the stable variant has decayed."""
    variants: Annotated[Mapping[VariantName, VariantConfig], Field(min_length=1)]
    """Versions of the model that are deployed, by name; at most six."""

    def stable(self) -> str:
        """Name of the stable variant."""
        return next(n for n, v in self.variants.items() if v.role == "stable")


class PredictionsConfig(Section):
    """Where predictions are kept: of shadows, of what they shadow, and of batches."""

    bucket: Bucket
    """One of `storage.buckets`, not the tracking server's."""


class LabConfig(Section):
    """Everything that one stack says about its lab."""

    name: LabName
    """Namespace of the lab, and part of its host names:
    `<release>.<name>.lab.internal`."""
    owner: Name
    """Team that the lab belongs to; a label on everything."""
    credentials_issued: Date
    """Day from which the lab's certificates count; a later day renews them."""
    cluster: Annotated[EmbeddedCluster | ExistingCluster, Field(discriminator="target")]
    """Where the lab runs."""
    platform: Annotated[OwnPlatform | SharedPlatform, Field(discriminator="kind")]
    """What the cluster has once for all its labs: KServe and the gateway."""
    storage: Annotated[MinioStorage | S3Storage, Field(discriminator="kind")]
    """Object storage."""
    tracking: TrackingConfig
    """Experiment tracking and model registry."""
    predictions: PredictionsConfig | None = None
    """Where predictions are kept; shadows, batches and labels need it."""
    monitoring: MonitoringConfig | None = None
    """Measurements and alerts."""
    guard: GuardConfig | None = None
    """The watcher of the releases; needs `monitoring`."""
    agreements: Mapping[Name, AgreementConfig] = {}
    """What was promised to whom, by name."""
    costs: CostsConfig = CostsConfig()
    """What things cost."""
    backups: BackupsConfig | None = None
    """Copies of everything that the lab could not make again, and rehearsals."""
    policies: Mapping[Name, PolicyConfig] = {}
    """Policy rules that are taken otherwise here than in general, by name."""
    releases: Mapping[ReleaseName, ReleaseConfig] = {}
    """Models that are served, by name."""

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        for _, text in rules.broken(self.model_dump(exclude_unset=True)):
            raise PydanticCustomError("rule", "{text}", {"text": text})
        return self

    @property
    def agreement(self) -> AgreementConfig | None:
        """What was promised about the lab as a whole."""
        found = self.agreements.values()
        return next((each for each in found if not each.covers), None)

    @property
    def capacity(self) -> Capacity | None:
        """What the lab may take of its cluster."""
        return self.agreement.capacity if self.agreement else None

    def agreement_of(self, release: str) -> tuple[str, AgreementConfig] | None:
        """Name and content of the agreement that a release is under."""
        whole = None
        for name, agreement in self.agreements.items():
            if not agreement.covers:
                whole = name, agreement
            elif release in agreement.covers:
                return name, agreement
        return whole

    @property
    def takes_feedback(self) -> bool:
        """Whether labels, or a shadow's answers, are joined with predictions."""
        rules = [release.guard for release in self.releases.values()]
        compared = any(each.quality or each.agreement for each in rules)
        return bool(self.guard and self.predictions and compared)
