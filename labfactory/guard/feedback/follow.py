"""Keep up with a lab: its releases, the predictions they log, and the labels."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Event
from typing import Protocol

from labfactory.errors import LabError
from labfactory.guard.feedback.joined import MOST_ROWS, REMEMBERED, Joined
from labfactory.guard.feedback.posted import Label
from labfactory.guard.feedback.rules import Rules
from labfactory.guard.feedback.store import StoreError, hour, packed, unpacked
from labfactory.releases.comparison.compare_logs import parse, read
from stacks.schema import ReleaseConfig

log = logging.getLogger("feedback")
EVERY = 5.0
"""Seconds between two looks at the store."""
REFRESHED = 30.0
"""Seconds between two looks at the routes."""
LATE = timedelta(minutes=10)
"""What is written so late after the end of its hour is still found at once."""
THOROUGH = 12
"""Looks until one goes back further, for what a store that was away has held up."""


class Bucket(Protocol):
    """The store, as far as this needs it."""

    def keys(self, prefix: str, after: str) -> list[str]:
        """Objects below `prefix` that sort behind `after`, oldest first."""

    def get(self, key: str) -> bytes:
        """Content of an object."""

    def put(self, key: str, body: bytes) -> None:
        """Write an object."""


class Release:
    """One release that labels or shadows are joined in."""

    def __init__(self, name: str, rules: Rules, store: Bucket) -> None:
        """Begin with nothing; `follow` reads what is there."""
        self.name = name
        self.joined = Joined(rules)
        self.ready = False
        """Whether what an earlier process had is back; no label is taken before."""
        self._store = store
        self._looks = 0
        self._seen: set[str] = set()

    def follow(self, now: float) -> None:
        """Read what was logged since the last time; raises StoreError."""
        if self.ready:
            self._read_on(now)
        else:
            self._restore(now)
            self.ready = True
        self.joined.tidy(now)

    def keep(self, labels: list[Label], key: str, now: float) -> None:
        """Write labels into the store, then join them; raises StoreError."""
        folder = hour(datetime.fromtimestamp(now, UTC))
        self._store.put(f"labels/{self.name}/{folder}{key}", packed(labels, now))
        self.joined.add(labels, now)

    def _restore(self, now: float) -> None:
        since = datetime.fromtimestamp(now - REMEMBERED, UTC)
        variants = self.joined.rules.variants
        found, seen = {}, set()
        for variant in variants:
            keys = self._keys(f"logs/{self.name}/{variant}/", since)
            logged = read(keys, self._store.get, most=MOST_ROWS // len(variants))
            found[variant] = sorted(logged.records, key=lambda record: record.time)
            seen |= {*keys}
        labels = [
            entry
            for key in self._keys(f"labels/{self.name}/", since)
            for entry in unpacked(self._store.get(key))
        ]
        # From here on nothing fails: half of it read twice would be joined twice.
        for variant, records in found.items():
            self.joined.predicted(variant, records, restored=True)
        self.joined.restore(labels, now)
        self._seen = seen

    def _read_on(self, now: float) -> None:
        self._looks += 1
        thorough = self._looks % THOROUGH == 0
        back = timedelta(hours=1) if thorough else LATE
        since = datetime.fromtimestamp(now, UTC) - back
        listed = set()
        for variant in self.joined.rules.variants:
            for key in self._keys(f"logs/{self.name}/{variant}/", since):
                listed.add(key)
                if key not in self._seen:
                    records, broken = parse(self._store.get(key))
                    self._seen.add(key)
                    self.joined.predicted(variant, records)
                    if broken:
                        log.warning("%s: %d entries can't be read", key, broken)
        if thorough:
            self._seen &= listed

    def _keys(self, prefix: str, since: datetime) -> list[str]:
        return self._store.keys(prefix, f"{prefix}{hour(since)}")


class Follower:
    """All releases of a lab, kept up with by one thread."""

    def __init__(
        self,
        store: Bucket,
        live: Callable[[], Mapping[str, ReleaseConfig]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Follow the releases that `live` tells of; it may raise LabError."""
        self.releases: Mapping[str, Release] | None = None
        """By name; None until the lab's routes have been read once."""
        self.clock = clock
        self._store = store
        self._live = live
        self._numbers = count(1)
        self._name = f"{socket.gethostname()}-{int(clock() * 1000)}"
        self._trouble: dict[str, str] = {}

    def run(self, stop: Event) -> None:
        """Follow until `stop` is set."""
        refreshed = 0.0
        while not stop.is_set():
            if time.monotonic() - refreshed >= REFRESHED or self.releases is None:
                self.refresh()
                refreshed = time.monotonic()
            self.follow()
            stop.wait(EVERY)

    def refresh(self) -> None:
        """Look which releases there are; those that are known stay when nobody says."""
        try:
            live = self._live()
        except LabError as error:
            self._said("routes", str(error))
            return
        self._said("routes", "")
        known, found = self.releases or {}, {}
        for name, settings in live.items():
            if rules := Rules.of(settings):
                release = known.get(name) or Release(name, rules, self._store)
                release.joined.rules = rules
                found[name] = release
        self.releases = found

    def follow(self) -> None:
        """Read what the releases have logged; what fails is tried the next time."""
        for name, release in (self.releases or {}).items():
            try:
                release.follow(self.clock())
            except StoreError as error:
                self._said(name, f"the store of predictions fails ({error})")
            else:
                self._said(name, "")

    def key(self) -> str:
        """Return a name for an object that no other process, or time, has used."""
        return f"{self._name}-{next(self._numbers)}.jsonl.gz"

    def _said(self, about: str, trouble: str) -> None:
        """Write what is wrong into the log when it begins, and when it is over."""
        if trouble != self._trouble.get(about, ""):
            log.warning("%s: %s", about, trouble or "in order again")
        self._trouble[about] = trouble
