"""`lab restore`: bring a lab back from a backup, into itself or into another one.

Every step looks first at what is done already, so that the same command finishes a
restore that was interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labfactory import labs
from labfactory.backups import begun, carried_back, quiet
from labfactory.backups.begun import Begun
from labfactory.backups.errands import (
    BACKUP,
    RESTORE,
    Order,
    is_of,
    must_be_free,
    outcome,
    running,
)
from labfactory.backups.history import KEEPER, said
from labfactory.backups.jobs import carried_out, with_backups
from labfactory.backups.restored import Restored, left_to_do, restored, table
from labfactory.backups.source import found_in, must_be_in_reach
from labfactory.errors import LabError
from labfactory.progress import Progress
from labfactory.settings.new import new_seed
from labfactory.stack import Stack
from stacks.schema import LabConfig

if TYPE_CHECKING:
    from labfactory.backups.cluster import Cluster

RESTORED = "restored.json"
"""Where in its ConfigMap the keeper writes what it has restored."""


def restore(
    source: str,
    *,
    to: str,
    at: datetime | None = None,
    over: str | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Bring the lab `to` to the state that `source` had, and print what came back.

    `at` is a time, in UTC unless it says otherwise; without one the newest backup is
    taken. `over` names a living lab that may be replaced. Raises LabError; the same
    command then goes on where it was.
    """
    from labfactory.backups.cluster import Cluster

    progress = progress or Progress()
    now = datetime.now(UTC)
    target = Stack(to)
    settings = with_backups(target.settings, to)
    found = begun.begin(source, to, at=checked(to, at, over, now), over=over, now=now)
    labs.prepare(settings, progress)
    target.ensure(new_seed)
    with Cluster(settings.cluster.context) as cluster:
        if source != to:
            repository_of(source, settings, cluster)  # before anything is changed
        here = cluster.has_namespace(settings.name)
        if here and settings.releases and not (found.over or found.resumed):
            found = begun.confirmed(found, typed(to))
        if found.resumed:
            progress.say(f"  goes on with the restore that was begun at {found.begun}")
        begun.keep(found)
        if not here or not target.outputs():
            stand_up_empty(target, cluster, progress)
        answer = data(found, settings, cluster, progress)
    if told := carried_back.put_back(target, answer.get("releases") or {}, source):
        progress.say(f"  {told}")
    labs.stand_up(to, progress=progress, rescue=True)
    begun.finish(found)
    done = restored(found, answer, target.settings, datetime.now(UTC))
    show(done, target.settings)
    return done


def checked(
    to: str, at: datetime | None, over: str | None, now: datetime
) -> datetime | None:
    """Return the time to go back to, with its zone. Pure.

    Raises LabError when it is still to come, or `over` is not the name of the target.
    """
    if over is not None and over != to:
        raise LabError(
            f"--over {over}: is not the lab that is restored into; write --over {to} "
            f"if everything in lab {to!r} may be replaced"
        )
    if at is None:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if at > now:
        raise LabError(
            f"--at: {said(at)} is still to come (it is {said(now)}); times without a "
            "zone are in UTC"
        )
    return at


def typed(to: str) -> str:
    """The name of the living lab `to`, as a person types it; raises LabError."""
    alive = f"lab {to!r}: is alive, and a restore replaces everything in it"
    if not sys.stdin.isatty():
        raise LabError(f"{alive}; add `--over {to}` if that is meant")
    import typer

    if typer.prompt(f"{alive}. Type its name to go on") != to:
        raise LabError(f"lab {to!r}: is another name than that; nothing was changed")
    return to


def repository_of(
    source: str, settings: LabConfig, cluster: Cluster
) -> tuple[str, Mapping[str, str]]:
    """The namespace of the lab `source`, and the Secret with its repository.

    `settings` and `cluster` are the target's. Raises LabError.
    """
    from labfactory.backups.cluster import Cluster

    there = settings.cluster.context
    stack = Stack(source)
    if not stack.file.exists():
        return source, found_in(cluster, source)
    theirs = stack.settings
    here = theirs.cluster.context
    if here == there:
        return theirs.name, found_in(cluster, theirs.name)
    with Cluster(here) as other:
        repository = found_in(other, theirs.name)
    must_be_in_reach(repository, source, here, there)
    return theirs.name, repository


def stand_up_empty(target: Stack, cluster: Cluster, progress: Progress) -> None:
    """Bring the lab up without releases: there are no models yet. Raises LabError."""
    if carried_back.take_out(target):
        kept = carried_back.aside(target).name
        progress.say(f"  its releases wait for their models; until then in {kept}")
    labs.stand_up(target.name, progress=progress, rescue=True)
    name = target.settings.name
    if not cluster.has_namespace(name):
        raise LabError(
            f"lab {target.name!r}: Pulumi takes it for up, but namespace {name} is "
            f"gone; `pulumi refresh --stack {target.name}`, then run the same command "
            "again"
        )


def data(
    found: Begun, settings: LabConfig, cluster: Cluster, progress: Progress
) -> Mapping[str, Any]:
    """Have the data restored unless it is; return what the keeper says of it.

    Nothing writes into the lab meanwhile. Raises LabError.
    """
    source, repository = repository_of(found.source, settings, cluster)
    order = order_of(found, settings.name)
    must_be_free(cluster.jobs(settings.name), RESTORE, order)
    try:
        if not is_done(order, cluster):
            quiet.open_way(cluster, source, settings.name, repository, settings.owner)
            quiet.silence(cluster, settings.name)
            must_be_free(cluster.jobs(settings.name), BACKUP, order)
            carried_out(order, cluster, settings, progress)
    finally:
        _go_on(source, settings.name, cluster, progress)
    text = (cluster.config_map(settings.name, KEEPER) or {}).get(RESTORED)
    if not text:
        raise LabError(
            f"lab {found.to!r}: the restore is done, but the keeper does not say what "
            f"came back; {order.follow} shows what it said"
        )
    answer: dict[str, Any] = json.loads(text)
    return answer


def _go_on(source: str, lab: str, cluster: Cluster, progress: Progress) -> None:
    """Let a lab work again, unless its data is still being restored."""
    try:
        # MLflow would make its tables in a database that is being restored.
        if running(cluster.jobs(lab), RESTORE):
            progress.say(
                "  the lab rests until its data is back; run the same command again: "
                "it waits for that, and finishes"
            )
            return
        quiet.wake(cluster, lab)
        quiet.close_way(cluster, source, lab)
    except LabError as error:  # why it came to this must be told, too
        progress.say(f"  {error}\n  run the same command again: the lab still rests")


def order_of(found: Begun, namespace: str) -> Order:
    """The Job that restores the data into a namespace. Pure."""
    wanted = {"AT": found.at}
    if found.asked is None:
        # Not an older one, silently, where the newest of that time is damaged.
        wanted["NEWEST"] = "1"
    return Order(
        RESTORE,
        found.to,
        namespace,
        f"restore lab {found.source!r} into {found.to!r}, and prove it",
        environment={**wanted, "OVER": namespace} if found.over else wanted,
        repository=quiet.WAY_IN,
        notes=found.notes,
    )


def is_done(order: Order, cluster: Cluster) -> bool:
    """Whether the Job of this very order is there, and has ended well."""
    return any(
        job["metadata"]["name"] == order.errand.job
        and is_of(order, job)
        and outcome(job) == "Complete"
        for job in cluster.jobs(order.namespace)
    )


def show(done: Restored, settings: LabConfig) -> None:
    """Print what came back, and what is left to do."""
    from rich.console import Console

    Console().print(table(done, settings))
    print("Left to do:")
    for line in left_to_do(done, settings):
        print(f"  - {line}")
