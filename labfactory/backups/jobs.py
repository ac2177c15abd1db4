"""Start one of the keeper's Jobs now, hear it to its end, and read how it went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labfactory.backups import history, record
from labfactory.backups.errands import (
    BACKUP,
    CHECK,
    DRILL,
    Order,
    manifest,
    must_be_free,
    newest,
    why,
)
from labfactory.backups.history import Backup, Drill
from labfactory.errors import LabError
from labfactory.progress import Progress
from labfactory.stack import Stack
from stacks.schema import LabConfig

if TYPE_CHECKING:
    from labfactory.backups.cluster import Cluster


def back_up(lab: str, *, progress: Progress | None = None) -> Backup:
    """Take a backup now; return it. Raises LabError with what the keeper said."""
    from labfactory.backups.cluster import Cluster

    progress = progress or Progress()
    stack = Stack(lab)
    settings = with_backups(stack.settings, lab)
    with progress.step("keep settings and Pulumi state with the lab") as step:
        if warning := record.keep(stack):
            step.note = warning
    order = Order(
        BACKUP,
        lab,
        settings.name,
        f"back up lab {lab!r}",
        estimate=30,
        # What has decayed in the second store is replaced: nothing else would.
        environment={"MEND": "1"},
    )
    with Cluster(settings.cluster.context) as cluster:
        return Backup.read(carried_out(order, cluster, settings, progress) or {})


def rehearse(lab: str, *, progress: Progress | None = None) -> Drill:
    """Restore the newest backup into the empty namespace now; return what was proved.

    Raises LabError with what was not equal, or what the keeper said.
    """
    from labfactory.backups.cluster import Cluster

    settings = with_backups(Stack(lab).settings, lab)
    namespace = history.drill_namespace(settings.name)
    order = Order(DRILL, lab, namespace, f"drill of lab {lab!r}", estimate=90)
    with Cluster(settings.cluster.context) as cluster:
        done = carried_out(order, cluster, settings, progress or Progress())
    return Drill.read(done or {})


def check(lab: str, *, progress: Progress | None = None) -> None:
    """Read every byte of every backup; raises LabError when one has changed."""
    from labfactory.backups.cluster import Cluster

    settings = with_backups(Stack(lab).settings, lab)
    title = f"read all backups of lab {lab!r}"
    order = Order(CHECK, lab, settings.name, title, estimate=60)
    with Cluster(settings.cluster.context) as cluster:
        carried_out(order, cluster, settings, progress or Progress())


def carried_out(
    order: Order, cluster: Cluster, settings: LabConfig, progress: Progress
) -> dict[str, Any] | None:
    """Start the order's Job and follow it; return what the keeper wrote of it.

    None for an errand that writes nothing. One that is interrupted goes on in the
    cluster. Raises LabError.
    """
    errand, results = order.errand, order.errand.results
    before = _written(order, cluster)
    must_be_free(cluster.jobs(order.namespace), errand, order)
    failed: LabError | None = None
    try:
        with progress.step(order.title, estimate=order.estimate) as step:
            _start_and_follow(order, cluster, settings, progress, step)
    except LabError as error:
        failed = error
    except KeyboardInterrupt:
        progress.say(f"{errand.what} goes on in the cluster; {order.follow} shows it")
        raise
    entry = newest(before, _written(order, cluster))
    way_out = errand.way_out.format(lab=order.lab)
    if entry and not entry.get("ok"):
        raise LabError(
            f"lab {order.lab!r}: {errand.what} failed: {why(entry)}; {way_out}"
        )
    if failed:
        raise LabError(f"{failed}\n{way_out}") from None
    if results and entry is None:
        raise LabError(
            f"lab {order.lab!r}: {errand.what} is done, but {results} does not say how "
            f"it went; {order.follow} shows what it said"
        )
    return entry


def with_backups(settings: LabConfig, lab: str) -> LabConfig:
    """The settings; raises LabError when the lab has no backups."""
    if settings.backups is None:
        raise LabError(
            f"lab {lab!r}: has no `backups` in its settings; write where copies go, "
            f"`backups: {{store: …, staging: …}}`, and run `lab up {lab}`"
        )
    return settings


def _written(order: Order, cluster: Cluster) -> list[dict[str, Any]]:
    if order.errand.results is None:
        return []
    return history.entries(cluster, order.namespace, order.errand.results)


def _start_and_follow(
    order: Order,
    cluster: Cluster,
    settings: LabConfig,
    progress: Progress,
    step: Any,
) -> None:
    from labfactory.jobs import Jobs
    from labfactory.releases.batch import Heard

    schedule = cluster.cron_job(order.namespace, order.errand.verb)
    if schedule is None:
        raise LabError(
            f"lab {order.lab!r}: has nothing that could make {order.errand.what} yet; "
            f"`lab up {order.lab}` brings it"
        )
    jobs = Jobs(settings.cluster.context, order.namespace)
    jobs.start(manifest(schedule, order), again=True)
    jobs.follow(order.errand.job, step, heard=Heard(progress))
