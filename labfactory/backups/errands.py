"""What the keeper can be sent for: the Jobs of it, and which of them run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from labfactory.backups import history
from labfactory.errors import LabError

REPOSITORY = "keeper-repository"
"""Secret with the address of the second store, its keys and restic's password."""
ENDED = ("Complete", "Failed")


@dataclass(frozen=True)
class Errand:
    """What the keeper can be sent for."""

    verb: str
    """Name of the CronJob that it is made from."""
    what: str
    """What a person calls it."""
    way_out: str
    """What to do when it has failed; `{lab}` is the lab."""
    results: str | None = None
    """Where in its ConfigMap the keeper writes how it went."""

    @property
    def job(self) -> str:
        """Name of the Job that is started by hand."""
        return f"{self.verb}-now"


BACKUP = Errand(
    "backup",
    "a backup",
    "what was kept before is still there; mend the cause and run "
    "`lab backup now {lab}` again",
    history.BACKUPS,
)
DRILL = Errand(
    "drill",
    "a drill",
    "the lab itself is as it was; `lab backup check {lab}` looks at the backups, "
    "`lab drill now {lab}` tries again",
    history.DRILLS,
)
CHECK = Errand(
    "check",
    "a check of the backups",
    "take a new backup with `lab backup now {lab}`, and prove with `lab drill now "
    "{lab}` that it can be restored",
)
RESTORE = Errand(
    "restore",
    "a restore",
    "no backup is touched by it; mend the cause and run the same command again, with "
    "`--over {lab}` where it had begun to write",
)


@dataclass(frozen=True)
class Order:
    """One errand in one lab, and what is special about it this time."""

    errand: Errand
    lab: str
    namespace: str
    title: str
    estimate: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    repository: str = REPOSITORY
    """Secret to use instead of the lab's own repository."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Annotations of the Job."""

    @property
    def follow(self) -> str:
        """The command that shows what it does."""
        return f"`kubectl -n {self.namespace} logs -f job/{self.errand.job}`"


def manifest(schedule: Mapping[str, Any], order: Order) -> dict[str, Any]:
    """The Job of an order, made from a CronJob. Pure."""
    template = deepcopy(dict(schedule["spec"]["jobTemplate"]))
    metadata = template.get("metadata") or {}
    annotations = {
        **(metadata.get("annotations") or {}),
        "cronjob.kubernetes.io/instantiate": "manual",
        **order.notes,
    }
    pod = template["spec"]["template"]["spec"]
    for container in (*(pod.get("initContainers") or ()), *pod["containers"]):
        _use_repository(container, order.repository)
    main = pod["containers"][0]
    kept = [e for e in main.get("env") or () if e["name"] not in order.environment]
    added = [{"name": k, "value": v} for k, v in order.environment.items()]
    main["env"] = [*kept, *added]
    # The next one by hand replaces it; until then it says how it went.
    template["spec"].pop("ttlSecondsAfterFinished", None)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": order.errand.job,
            "labels": dict(metadata.get("labels") or {}),
            "annotations": annotations,
            "ownerReferences": _owner(schedule),
        },
        "spec": template["spec"],
    }


def _owner(schedule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The CronJob: one that is made by hand counts as its last success too."""
    metadata = schedule["metadata"]
    return [
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "name": metadata["name"],
            "uid": metadata["uid"],
            "controller": True,
        }
    ]


def running(
    jobs: Iterable[Mapping[str, Any]], errand: Errand
) -> Mapping[str, Any] | None:
    """A Job of this errand that has not ended, whoever started it. Pure."""
    for job in jobs:
        metadata = job["metadata"]
        owners = {each["name"] for each in metadata.get("ownerReferences") or ()}
        is_one = errand.verb in owners or metadata["name"] == errand.job
        if is_one and outcome(job) is None:
            return job
    return None


def is_of(order: Order, job: Mapping[str, Any]) -> bool:
    """Whether a Job was started by this very order, earlier. Pure."""
    annotations = job["metadata"].get("annotations") or {}
    return bool(order.notes) and order.notes.items() <= annotations.items()


def outcome(job: Mapping[str, Any]) -> str | None:
    """`Complete` or `Failed` when a Job has ended, else None. Pure."""
    for each in (job.get("status") or {}).get("conditions") or ():
        if each["status"] == "True" and each["type"] in ENDED:
            return str(each["type"])
    return None


def newest(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The last result that was not there before. Pure."""
    added = [each for each in after if each not in before]
    return dict(added[-1]) if added else None


def why(entry: Mapping[str, Any]) -> str:
    """What a result that is not well says of itself. Pure."""
    problems = [*map(str, entry.get("problems") or ())]
    return "; ".join(problems) or str(entry.get("error") or "it does not say why")


def must_be_free(
    jobs: Iterable[Mapping[str, Any]], errand: Errand, order: Order
) -> None:
    """Raise LabError while a Job of this errand runs that is of another order."""
    job = running(jobs, errand)
    if job and not is_of(order, job):
        busy = job["metadata"]["name"]
        raise LabError(
            f"lab {order.lab!r}: {errand.what} is running already (job {busy!r}); wait "
            f"for its end, `kubectl -n {order.namespace} logs -f job/{busy}` shows it"
        )


def _use_repository(container: dict[str, Any], secret: str) -> None:
    """Read from another Secret what is read from the lab's own repository."""
    for each in container.get("envFrom") or ():
        reference = each.get("secretRef") or {}
        if reference.get("name") == REPOSITORY:
            reference["name"] = secret
    for each in container.get("env") or ():
        reference = (each.get("valueFrom") or {}).get("secretKeyRef") or {}
        if reference.get("name") == REPOSITORY:
            reference["name"] = secret
