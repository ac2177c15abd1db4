"""`lab new`: write the settings of a new lab, from flags or from a few questions."""

from __future__ import annotations

import datetime
import json
import re
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter, ValidationError

from labfactory.errors import LabError
from stacks import load, schema, values
from stacks.editor import HEADER


@dataclass(frozen=True)
class Wishes:
    """What differs from lab to lab; None is what nobody has said yet."""

    owner: str | None
    target: str | None
    """`embedded` or `existing`."""
    context: str | None
    """kubeconfig context of a cluster that exists."""
    registry: str | None
    gateway: str | None
    """NAMESPACE/NAME of a shared platform's gateway; None: a platform of its own."""
    endpoint: str | None
    """S3 endpoint that exists; None: MinIO."""
    region: str
    capacity: str
    """Size of MinIO's volume, and of those of its backups."""


def new(
    name: str,
    *,
    owner: str | None = None,
    target: str | None = None,
    context: str | None = None,
    registry: str | None = None,
    gateway: str | None = None,
    endpoint: str | None = None,
    region: str = "us-east-1",
    capacity: str = "20Gi",
    ask: bool | None = None,
    folder: Path = load.STACKS,
    today: datetime.date | None = None,
) -> Path:
    """Write `Pulumi.NAME.yaml` and return its path.

    With `ask` (unless said: at a terminal, when the owner or the target is not said)
    questions bring what was not said; without it, that is the usual.
    The file holds no secret: what makes the stack gives it `new_seed()` with
    `pulumi config set --secret labfactory:seed`. Raises LabError when the file is
    there, and stacks.load.SettingsError when an answer cannot be a setting.
    """
    try:
        TypeAdapter(values.LabName).validate_python(name)
    except ValidationError as error:
        raise LabError(f"lab new: the name {_reason(error)}") from None
    path = folder / f"Pulumi.{name}.yaml"
    if path.exists():
        raise _there(path)
    if target is None and context is not None:
        target = "existing"
    wishes = Wishes(
        owner, target, context, registry, gateway, endpoint, region, capacity
    )
    if ask is None:
        ask = sys.stdin.isatty() and None in (owner, target)
    wishes = checked(questions(wishes) if ask else wishes)
    content = settings(name, wishes, today or datetime.date.today())
    load.parse_file(content.encode(), source=f"lab new {name}")
    try:
        with path.open("x") as file:
            file.write(content)
    except FileExistsError:
        raise _there(path) from None
    return path


def checked(wishes: Wishes) -> Wishes:
    """`wishes`, or a LabError that says everything that does not fit together."""
    problems = []
    if wishes.owner is None:
        problems.append("the lab has no owner; name a team with --owner")
    if wishes.target not in (None, "embedded", "existing"):
        problems.append("the target is not known; say embedded or existing")
    if wishes.target == "existing" and wishes.context is None:
        problems.append("the target `existing` needs --context; name a context")
    if wishes.target in (None, "embedded"):
        for flag in ("context", "registry", "gateway"):
            if getattr(wishes, flag) is not None:
                problems.append(
                    f"--{flag} is for the target `existing` only; leave it out, or say "
                    "--target existing"
                )
    if problems:
        raise LabError("\n".join(f"lab new: {problem}" for problem in problems))
    return wishes


def _there(path: Path) -> LabError:
    return LabError(
        f"{load.named(path)}: exists already; edit it, or choose another name"
    )


def new_seed() -> str:
    """A fresh secret for `labfactory:seed`: 32 random bytes as url-safe text."""
    return secrets.token_urlsafe(32)


def questions(wishes: Wishes) -> Wishes:
    """Ask for what is not said; Enter takes what is in brackets."""
    owner, target = wishes.owner, wishes.target
    if owner is None:
        owner = _ask("Team that the lab belongs to", values.Name)
    if target is None:
        here = "Run it on this machine, in a Kubernetes that `lab up` makes?"
        target = "embedded" if typer.confirm(here, default=True) else "existing"
    wishes = replace(wishes, owner=owner, target=target)
    if target == "existing":
        wishes = _questions_about_the_cluster(wishes)
    if wishes.endpoint is not None:
        return wishes
    if typer.confirm("Keep objects in the lab itself, in MinIO?", default=True):
        size = _ask("Size of its volume", values.Size, wishes.capacity)
        return replace(wishes, capacity=size)
    return replace(
        wishes,
        endpoint=_ask("S3 endpoint, https://HOST", values.Endpoint),
        region=_ask("Its region", values.Region, wishes.region),
    )


def _questions_about_the_cluster(wishes: Wishes) -> Wishes:
    context, registry, gateway = wishes.context, wishes.registry, wishes.gateway
    if context is None:
        context = _ask("Context in your kubeconfig", values.Context)
    if registry is None and typer.confirm(
        "Is there a registry that the cluster can pull from?", default=True
    ):
        registry = _ask("Its address, HOST/PATH", values.Registry)
    if gateway is None and typer.confirm(
        "Does the cluster have KServe and a gateway already?", default=False
    ):
        gateway = _ask("Its gateway, NAMESPACE/NAME", values.Gateway)
    return replace(wishes, context=context, registry=registry, gateway=gateway)


def settings(name: str, wishes: Wishes, today: datetime.date) -> str:
    """The text of a new lab's stack file.

    Without blank lines: Pulumi takes them out when it writes a secret into the file.
    """
    if wishes.context is None:
        cluster = f"{{target: embedded, name: {_text(name)}}}"
    else:
        registry = f", registry: {_text(wishes.registry)}" if wishes.registry else ""
        cluster = f"{{target: existing, context: {_text(wishes.context)}{registry}}}"
    if wishes.gateway is None:
        platform = "{kind: own}"
    else:
        platform = f"{{kind: shared, gateway: {_text(wishes.gateway)}}}"
    if wishes.endpoint is None:
        storage = f"kind: minio\n      capacity: {_text(wishes.capacity)}"
        buckets, off = "mlflow, datasets, predictions", ""
    else:
        storage = (
            f"kind: s3\n      endpoint: {_text(wishes.endpoint)}\n"
            f"      region: {_text(wishes.region)}"
        )
        # Nobody has said that there is a third bucket, nor given keys for backups.
        buckets, off = "mlflow, datasets", "# "
    return f"""\
{HEADER}
config:
  {schema.PROJECT}:lab:
    # Namespace of the lab, and part of its host names: RELEASE.{name}.lab.internal.
    name: {_text(name)}
    # The team that the lab belongs to: a label on everything.
    owner: {_text(wishes.owner or "")}
    # The lab's certificates count from this day; a later day renews them.
    credentials_issued: "{today.isoformat()}"
    # Where the lab runs.
    cluster: {cluster}
    # KServe and its gateway: the lab's own, or those that the cluster has.
    platform: {platform}
    # Object storage, and the buckets in it.
    storage:
      {storage}
      buckets: [{buckets}]
    # MLflow: the volume of its database, and the bucket of its artifacts.
    tracking: {{capacity: 5Gi, bucket: mlflow}}
    # Where predictions of shadows and batches are kept: one of the buckets above.
    {off}predictions: {{bucket: predictions}}
    # Measurements and alerts; `receivers` says who hears of them.
    monitoring: {{capacity: 5Gi}}
    # Takes a bad release back, and promotes a good one that has `guard: {{steps: …}}`.
    guard: {{actions_per_hour: 6}}
    # Copies in a second store, and rehearsals that prove them. Elsewhere:
    #   store: {{kind: s3, endpoint: "https://…", region: …, bucket: …}}
    {off}backups:
    {off}  store: {{kind: minio, capacity: {_text(wishes.capacity)}}}
    {off}  staging: {_text(wishes.capacity)}
    # What is promised: alerts, quotas, budgets and backups follow from it.
    agreements:
      standard:
        objectives: {{availability: 0.99}}
        {off}recovery: {{rpo_minutes: 1440, rto_minutes: 60}}
        # What a month may cost, in the currency of `costs`:
        # cost: {{monthly: 500}}
    # Models that are served, by name.
    releases: {{}}
"""


def _ask(question: str, kind: Any, default: str | None = None) -> str:
    answer: str = typer.prompt(question, default=default, value_proc=_checked(kind))
    return answer


def _checked(kind: Any) -> Callable[[str], str]:
    """Refuse an answer while the person is still there to give another one."""

    def check(answer: str) -> str:
        try:
            return str(TypeAdapter(kind).validate_python(answer.strip()))
        except ValidationError as error:
            raise typer.BadParameter(_reason(error)) from None

    return check


def _reason(error: ValidationError) -> str:
    return str(error.errors(include_url=False, include_input=False)[0]["msg"])


def _text(value: str) -> str:
    """`value` in double quotes unless YAML reads it as a text anyway."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9/-]*|[0-9]+[A-Z]i", value)
    words = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
    return value if plain and value.lower() not in words else json.dumps(value)
