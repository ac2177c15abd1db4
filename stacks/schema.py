"""The shape of a stack file: every setting of a lab, typed and documented.

What no single section can know (a bucket that must exist elsewhere) is in `rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from stacks import rules
from stacks.spelling import mistake
from stacks.values import (
    Artifact,
    Bucket,
    Buckets,
    ClusterName,
    Context,
    Cpu,
    Date,
    Digest,
    Endpoint,
    Gateway,
    ImageReference,
    LabName,
    Name,
    Region,
    Registry,
    ReleaseName,
    Size,
    StorageClass,
    VariantName,
)

PROJECT = "labfactory"
"""Prefix of every key of ours in a stack file."""
SECRETS = (
    "seed",
    "s3-tracking-key-id",
    "s3-tracking-secret",
    "s3-serving-key-id",
    "s3-serving-secret",
)
"""Keys of a stack file that hold secrets, without the prefix."""
PULUMI_KEYS = (
    "config",
    "encryptedkey",
    "encryptionsalt",
    "environment",
    "secretsprovider",
)
"""Top-level keys of a Pulumi stack file."""


class Section(BaseModel):
    """Base of every section: frozen, closed, and silent about rejected values."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


class EmbeddedCluster(Section):
    """A real single-node Kubernetes on this machine, made by `lab up`."""

    target: Literal["embedded"]
    name: ClusterName
    """Name of the cluster; labs may share one."""


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


class VariantConfig(Section):
    """One version of a model, pinned by the digest of its files."""

    version: Annotated[StrictInt, Field(ge=1)]
    """Version in the model registry."""
    artifact: Artifact
    """Folder of the model in one of `storage.buckets`."""
    digest: Digest
    """Digest of the artifact's files; a model that differs is not served."""
    role: Literal["stable"]
    """`stable` answers; other roles do not exist yet."""
    traffic: Annotated[StrictInt, Field(ge=0, le=100)]
    """Per cent of the requests."""


class ReleaseConfig(Section):
    """One served model: its name is the key, its variants are its versions."""

    template: Name
    """How the model is served: a file in `model_templates/`, without its suffix."""
    replicas: Annotated[StrictInt, Field(ge=1, le=100)] = 1
    """Predictors that run at the same time."""
    resources: ResourceSettings = ResourceSettings()
    """Processor time and memory of each predictor."""
    variants: Annotated[Mapping[VariantName, VariantConfig], Field(min_length=1)]
    """Versions of the model that are deployed, by name; now exactly one."""


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
    releases: Mapping[ReleaseName, ReleaseConfig] = {}
    """Models that are served, by name."""

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        for _, text in rules.broken(self.model_dump()):
            raise PydanticCustomError("rule", "{text}", {"text": text})
        return self
