"""The memories of all releases, and when each has to be written."""

from __future__ import annotations

from collections.abc import Callable, Collection
from zlib import crc32

from labfactory.guard.cluster import Cluster
from labfactory.guard.known import Known
from labfactory.guard.memory import Remembered

SAVE_SECONDS = 60.0
"""A memory that tells nothing new is written so often."""
IDLE_SECONDS = 600.0
"""The same where nothing can be promoted or taken back."""


class Memories:
    """What is remembered by release, here and in the cluster."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float]) -> None:
        """Keep it in `cluster`; `clock` is in seconds."""
        self._cluster = cluster
        self._clock = clock
        self._saved: dict[str, tuple[Remembered, float]] = {}
        self.of: dict[str, Remembered] = {}

    def load(self) -> list[str]:
        """Read what another guard has kept; return what can't be read, as sentences.

        Raises LabError, and stays as it was, when the cluster does not answer.
        """
        found, broken = self._cluster.memories()
        self.of = found
        self._saved = {name: (each, self._first(name)) for name, each in found.items()}
        return broken

    def get(self, release: str) -> Remembered:
        """The memory of a release, empty for one that is new."""
        return self.of.get(release, Remembered())

    def keep_only(self, releases: Collection[str]) -> set[str]:
        """Forget releases that are gone, and return them; their ConfigMaps go with
        their routes."""
        gone = self.of.keys() - set(releases)
        for release in gone:
            del self.of[release]
            self._saved.pop(release, None)
        return gone

    def save(self, known: Known) -> None:
        """Write a memory when that is due. Raises LabError; to be called again."""
        release = known.release
        memory = self.get(release)
        seconds = SAVE_SECONDS if known.is_changing() else IDLE_SECONDS
        if self._is_due(release, memory, seconds):
            written = self._cluster.remember(release, memory, known.route)
            at = self._clock() if release in self._saved else self._first(release)
            self.of[release], self._saved[release] = written, (written, at)

    def _first(self, release: str) -> float:
        """When to have written a memory first, so that not all are due at once."""
        return self._clock() - crc32(release.encode()) % SAVE_SECONDS

    def _is_due(self, release: str, memory: Remembered, seconds: float) -> bool:
        if release not in self._saved:
            return True
        saved, at = self._saved[release]
        if memory.differs(saved):
            return True
        # When something was measured last is alone not worth a write.
        is_new = memory.state.trials != saved.state.trials
        return is_new and self._clock() - at >= seconds
