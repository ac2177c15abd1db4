"""Run the service that takes labels: `python3 -m labfactory.guard.feedback`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping
from threading import Event, Thread

import uvicorn

from labfactory.guard.feedback.follow import Follower
from labfactory.guard.feedback.service import Service
from labfactory.guard.feedback.store import NAMES, Store
from labfactory.releases.routes import Routes, connect_in_pod
from model_templates.routes import settings_of
from stacks.schema import ReleaseConfig

PORT = 8080
NEEDED = ("FEEDBACK_TOKEN", "NAMESPACE", *(f"PREDICTIONS_{name}" for name in NAMES))
log = logging.getLogger("feedback")


def main() -> int:
    """Serve until SIGTERM; return the exit code."""
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    if missing := [name for name in NEEDED if not os.environ.get(name)]:
        print(f"feedback: set {', '.join(missing)}", file=sys.stderr)
        return 2
    routes = connect_in_pod(os.environ["NAMESPACE"])
    follower = Follower(Store(os.environ), lambda: live(routes))
    stop = Event()
    thread = Thread(target=follower.run, args=(stop,), name="follow", daemon=True)
    thread.start()
    service = Service(follower, os.environ["FEEDBACK_TOKEN"], thread.is_alive)
    # Once it has stopped, uvicorn raises the signal again, for whoever was there first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        uvicorn.run(
            service.app(),
            host="0.0.0.0",
            port=PORT,
            log_level="warning",
            access_log=False,
            # The gateway keeps idle connections for an hour: whoever closes first makes
            # the other's next request fail.
            timeout_keep_alive=3900,
            timeout_graceful_shutdown=20,
        )
    finally:
        stop.set()
    return 0


def live(routes: Routes) -> Mapping[str, ReleaseConfig]:
    """Return the settings that each live route was made from; raises LabError."""
    found = {}
    for release, route in routes.live().items():
        try:
            settings = settings_of(route)
        except ValueError:
            log.warning("%s: its settings are of another version of the lab", release)
            continue
        if settings:
            found[release] = settings
    return found


if __name__ == "__main__":
    sys.exit(main())
