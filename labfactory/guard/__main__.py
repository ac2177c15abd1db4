"""Watch the releases of a lab from a pod in its namespace, until SIGTERM."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from functools import partial
from threading import Event

from labfactory.guard.alerts import Alerts
from labfactory.guard.cluster import Cluster, connect
from labfactory.guard.figures import Figures
from labfactory.guard.lease import Leadership
from labfactory.guard.reader import Reader
from labfactory.guard.retraining import Registry, Retraining
from labfactory.guard.watcher import Parts, Watcher
from labfactory.releases.decisions.guard import decide

PORT = 8080


def main() -> None:
    """Read the environment, and watch."""
    said = os.environ
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    interval = float(said["INTERVAL_SECONDS"])
    figures = Figures()
    with ExitStack() as open_:
        client = open_.enter_context(connect(said["NAMESPACE"]))
        cluster = Cluster(client)
        registry = open_.enter_context(Registry(said["TRACKING_URL"]))
        parts = Parts(
            reader=open_.enter_context(
                Reader(said["PROMETHEUS_URL"], interval=interval)
            ),
            cluster=cluster,
            leadership=Leadership(client, said["POD_NAME"]),
            alerts=open_.enter_context(Alerts(said["ALERTMANAGER_URL"], said["LAB"])),
            retraining=Retraining(cluster, registry),
            figures=figures,
            decide=decide,
        )
        open_.enter_context(figures.served(PORT))
        Watcher(
            parts,
            interval=interval,
            actions_per_hour=int(said["ACTIONS_PER_HOUR"]),
            log=partial(print, flush=True),
        ).run(stop)


if __name__ == "__main__":
    main()
