"""Where the backups of a lab are, and what opens them, also when the lab is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from labfactory.backups.errands import REPOSITORY
from labfactory.errors import LabError

if TYPE_CHECKING:
    from labfactory.backups.cluster import Cluster

NEEDED = (
    "RESTIC_REPOSITORY",
    "RESTIC_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)


def namespaces(lab: str) -> tuple[str, ...]:
    """Namespaces that may have the Secret; the last one outlives the lab. Pure."""
    return lab, f"{lab}-drill", f"{lab}-backups"


def found_in(cluster: Cluster, lab: str) -> dict[str, str]:
    """The Secret with the repository of `lab`'s backups.

    Raises LabError when no namespace has it, or it lacks a key.
    """
    for namespace in namespaces(lab):
        found = cluster.secret(namespace, REPOSITORY)
        if found is None:
            continue
        if missing := [key for key in NEEDED if not found.get(key)]:
            raise LabError(
                f"Secret {REPOSITORY} in {namespace}: lacks {', '.join(missing)}; "
                f"`lab up {lab}` writes it anew"
            )
        return found
    raise LabError(
        f"lab {lab!r}: nothing in the cluster says where its backups are (no Secret "
        f"{REPOSITORY} in {', '.join(namespaces(lab))}); with its settings file, "
        f"`lab restore {lab} --to {lab}` makes the lab again and restores into it"
    )


def inside(address: str) -> bool:
    """Whether a repository is at an address that only pods of its cluster know. Pure.

    `s3:http://minio.demo-backups.svc:9000/backups/demo` is one.
    """
    host = urlsplit(address.removeprefix("s3:")).hostname or ""
    return host.endswith(("-backups", "-backups.svc", ".svc.cluster.local"))


def must_be_in_reach(
    repository: Mapping[str, str], lab: str, here: str, there: str
) -> None:
    """Raise LabError when a restore in cluster `there` can't reach the backups. Pure.

    `here` is the kubeconfig context of the lab whose backups they are.
    """
    if here != there and inside(repository["RESTIC_REPOSITORY"]):
        raise LabError(
            f"lab {lab!r}: its backups are in a store inside of cluster {here!r}, "
            f"which nothing in cluster {there!r} can reach; restore into a lab of the "
            "same cluster, or keep backups in a store that both reach (`backups.store: "
            "{kind: s3, …}`)"
        )
