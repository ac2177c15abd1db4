"""The keeper: pods that copy the lab, look at the copies, and bring them back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components import objects, postgres
from components.guard import KEPT_SECONDS, NEVER
from components.pods import (
    LAB_USER,
    SCRATCH,
    env,
    field,
    pod,
    resources,
    scratch,
    secret_key,
    volume_claim,
)
from components.storage import Keys, S3Access
from stacks.promises import Retention

NAME = "keeper"
SELECTOR = {"app": NAME}
RESTORER = "keeper-restore"
"""Account of a restore: what copies the lab every day must not make objects in it."""
REPOSITORY = "keeper-repository"
"""Secret with the address of the copies, the keys to it and restic's password."""
CLAIM = "keeper-staging"
"""Volume on which a copy is put together."""
STAGING = "/staging"
RECORD = "lab-record"
"""Secret with the settings and Pulumi's state, written by whoever runs `lab up`."""
RECORDED = "/run/record"
LONG = 86_400
"""Seconds after which a restore, or a look at all copies, hangs."""
READ = {
    "": ("configmaps", "persistentvolumeclaims", "services"),
    "apps": ("deployments", "statefulsets"),
    "batch": ("cronjobs", "jobs"),
    "gateway.networking.k8s.io": ("httproutes",),
    "serving.kserve.io": ("inferenceservices",),
}
"""Kinds of which those that no program declares are copied, by API group; releases and
their variants are found among them too."""
MADE_ANEW = {
    **READ,
    "": ("configmaps", "services"),
    "batch": ("cronjobs",),
}
"""Those of them that a restore makes: no Job runs again, no volume comes back empty."""


def repository(
    address: str,
    region: str,
    password: pulumi.Output[str],
    keys: pulumi.Output[Keys],
) -> dict[str, Any]:
    """The Secret that opens the copies, in the words of restic."""
    return objects.secret(
        REPOSITORY,
        {
            "RESTIC_REPOSITORY": address,
            "RESTIC_PASSWORD": password,
            "AWS_ACCESS_KEY_ID": keys.apply(lambda found: found.key_id),
            "AWS_SECRET_ACCESS_KEY": keys.apply(lambda found: found.secret),
            "AWS_DEFAULT_REGION": region,
        },
    )


def access(namespace: Any, *, reads: bool) -> list[dict[str, Any]]:
    """Who the keeper is to the cluster: it writes results, and may read what it copies.

    It sees no Secret.
    """
    return _account(NAME, namespace, "get list" if reads else "", READ)


def restoring(namespace: Any) -> list[dict[str, Any]]:
    """Who a restore is to the cluster: it makes anew what no program declares."""
    return _account(RESTORER, namespace, "create", MADE_ANEW)


def _account(
    name: str, namespace: Any, verbs: str, kinds: Mapping[str, tuple[str, ...]]
) -> list[dict[str, Any]]:
    results = objects.may("", ["configmaps"], ["get", "patch"])
    rules = [{**results, "resourceNames": [NAME]}]
    if verbs:
        rules += [objects.may(group, kinds[group], verbs.split()) for group in kinds]
    return [
        objects.service_account(name),
        objects.role(name, rules),
        objects.role_binding(name, namespace),
    ]


def results() -> dict[str, Any]:
    """The ConfigMap that the keeper writes results to: what is in it is its own."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}}


def staging(capacity: str, storage_class: str | None) -> dict[str, Any]:
    """The claim of the volume on which copies are put together."""
    return volume_claim(CLAIM, capacity, storage_class)


def backup(
    image: str,
    *,
    told: Mapping[str, Any],
    keep: Retention,
    claim: Any,
    schedule: str,
    minutes: int,
) -> dict[str, Any]:
    """The CronJob that makes a copy every so many `minutes`, as `schedule` says."""
    container = {
        **errand("backup", image, {**told, "KEEP": keep.model_dump_json()}),
        "resources": resources(cpu="100m", memory="256Mi", most_cpu="2", most="1Gi"),
    }
    # A volume may bring a folder of its own, which only root can read.
    container["volumeMounts"] = [
        {"name": SCRATCH, "mountPath": "/tmp"},
        {"name": "staging", "mountPath": STAGING, "subPath": "backup"},
        {"name": "record", "mountPath": RECORDED, "readOnly": True},
    ]
    volumes = [
        {"name": "staging", "persistentVolumeClaim": {"claimName": claim}},
        {"name": "record", "secret": {"secretName": RECORD, "optional": True}},
    ]
    return cron_job(
        "backup",
        keeper_pod(container, volumes=volumes),
        # One that was missed is made up for until the next one is due.
        schedule=schedule,
        missed_seconds=minutes * 60,
        # The first one has everything to copy, and the next goes on where one ended.
        longest_seconds=max(minutes * 60, 3600),
        retries=2,
    )


def restore(image: str, *, told: Mapping[str, Any], size: str) -> dict[str, Any]:
    """The CronJob that `lab restore` makes Jobs from; it never starts by itself."""
    container = {
        **errand("restore", image, told),
        "resources": resources(cpu="100m", memory="512Mi", most_cpu="2", most="3Gi"),
    }
    # Not the backups' volume: a restore must not wait for one, nor spoil it.
    volumes = [{"name": "staging", "emptyDir": {"sizeLimit": size}}]
    spec = keeper_pod(container, volumes=volumes, serviceAccountName=RESTORER)
    # What one has begun is no empty lab to the next: a person looks first.
    return cron_job("restore", spec, longest_seconds=LONG, retries=0)


def check(image: str, *, told: Mapping[str, Any], size: str) -> dict[str, Any]:
    """The CronJob that `lab backup check` makes Jobs from; it reads every copy."""
    container = {
        **errand("check", image, told),
        "resources": resources(cpu="100m", memory="256Mi", most_cpu="2", most="1Gi"),
    }
    volumes = [{"name": "staging", "emptyDir": {"sizeLimit": size}}]
    spec = keeper_pod(container, volumes=volumes)
    return cron_job("check", spec, longest_seconds=LONG, retries=0)


def errand(verb: str, image: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The container of one of the keeper's verbs; it works on the volume `staging`."""
    return {
        "name": NAME,
        "image": image,
        "command": ["python3", "-m", "labfactory.keeper"],
        "args": [verb],
        "env": env(
            HOME="/tmp",
            NAMESPACE=field("metadata.namespace"),
            STAGING=STAGING,
            RECORD=RECORDED,
            **told,
        ),
        "envFrom": [{"secretRef": {"name": REPOSITORY}}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": SCRATCH, "mountPath": "/tmp"},
            {"name": "staging", "mountPath": STAGING},
        ],
    }


def told_of_store(access: S3Access) -> dict[str, Any]:
    """What a container is told of the lab's store."""
    return {
        "STORE_ENDPOINT": access.endpoint,
        "STORE_REGION": access.region,
        "STORE_KEY_ID": secret_key(access.secret, "AWS_ACCESS_KEY_ID"),
        "STORE_SECRET": secret_key(access.secret, "AWS_SECRET_ACCESS_KEY"),
    }


def told_of_database(
    role: str, password: Mapping[str, Any], host: str = postgres.NAME
) -> dict[str, Any]:
    """What a container is told of a database; Kubernetes puts the password in."""
    address = f"{host}:{postgres.PORT}/{postgres.DATABASE}"
    return {
        "DATABASE_PASSWORD": password,
        "DATABASE_URI": f"postgresql+psycopg2://{role}:$(DATABASE_PASSWORD)@{address}",
    }


def keeper_pod(container: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod of the keeper, with room for the models that it tries."""
    fields = {
        "restartPolicy": "Never",
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        **spec,
        "volumes": [scratch("8Gi"), *spec["volumes"]],
    }
    return pod(LAB_USER, [container], **fields)


def cron_job(
    verb: str,
    spec: Mapping[str, Any],
    *,
    longest_seconds: int,
    retries: int,
    schedule: str | None = None,
    missed_seconds: int | None = None,
) -> dict[str, Any]:
    """A CronJob of one pod; without a schedule it starts only when somebody asks."""
    labels = {**SELECTOR, "labfactory.io/keeper": verb}
    # Nothing says that one with a schedule goes on: a restore lets it rest meanwhile.
    timing: dict[str, Any] = {"schedule": NEVER, "suspend": True}
    if schedule is not None:
        timing = {"schedule": schedule, "startingDeadlineSeconds": missed_seconds}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": verb, "labels": labels},
        "spec": {
            **timing,
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "metadata": {"labels": labels},
                "spec": {
                    "backoffLimit": retries,
                    "activeDeadlineSeconds": longest_seconds,
                    "ttlSecondsAfterFinished": KEPT_SECONDS,
                    "template": {"metadata": {"labels": labels}, "spec": spec},
                },
            },
        },
    }
