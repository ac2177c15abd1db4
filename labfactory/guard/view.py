"""The releases of the lab as the cluster last showed them."""

from __future__ import annotations

from collections.abc import Mapping

from labfactory.guard import known
from labfactory.guard.known import Known
from labfactory.releases.routes import Routes


class View:
    """Remembers routes, and reads only those that have changed."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.releases: dict[str, Known] = {}
        """Those that say their settings."""
        self.unread: dict[str, str] = {}
        """Why a release's route can't be understood, by release."""
        self.ready: Mapping[str, bool] = {}
        """Whether each variant's service can answer, by its name."""
        self.is_fresh = False
        """Whether the cluster has shown it just now."""
        self._versions: dict[str, str] = {}

    def refresh(self, routes: Routes) -> None:
        """Look at the cluster; raises LabError, and stays as it was, without one."""
        live = routes.live()
        self.ready = routes.ready()
        for release, route in live.items():
            version = route["metadata"]["resourceVersion"]
            if self._versions.get(release) == version:
                continue
            self.releases.pop(release, None)
            self.unread.pop(release, None)
            try:
                found = known.read(release, route)
            except (KeyError, TypeError, ValueError) as error:
                self.unread[release] = (
                    f"its route is of another version of the lab, or was edited "
                    f"({type(error).__name__}); `lab up` writes it anew"
                )
            else:
                if found:
                    self.releases[release] = found
            self._versions[release] = version
        for kept in (self.releases, self.unread, self._versions):
            for release in kept.keys() - live.keys():
                del kept[release]
