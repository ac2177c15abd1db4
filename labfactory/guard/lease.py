"""The lease that only one guard of a lab holds, as Kubernetes' own controllers do it.

Clocks are not compared: a lease has run out when it was not renewed for its time while
we looked. Whoever could not renew it stops acting a while before others may begin.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
from lightkube import Client
from lightkube.generic_resource import create_namespaced_resource

NAME = "guard"
DURATION_SECONDS = 15
RENEW_SECONDS = 5.0
RETRY_SECONDS = 2.0
SAFE_SECONDS = 10.0
"""Whoever holds it may act for so long after it was renewed; what is under way then
ends, by the timeout of each call, before others may begin."""

Lease = create_namespaced_resource("coordination.k8s.io", "v1", "Lease", "leases")


class Leadership:
    """One guard's claim to be the only one that acts."""

    def __init__(
        self,
        cluster: Client,
        identity: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Claim it for `identity` in the namespace of `cluster`."""
        self._cluster = cluster
        self._identity = identity
        self._clock = clock
        self._renewed: float | None = None
        self._tried: float | None = None
        self._seen: object = None
        self._seen_at = 0.0
        self.term = 0
        """Grows when it was taken from somebody else: what one knew is old then."""

    def held(self) -> bool:
        """Whether to act now."""
        renewed = self._renewed
        return renewed is not None and self._clock() - renewed < SAFE_SECONDS

    def is_lost(self) -> bool:
        """Whether somebody else has it, or nobody whom we know of."""
        return self._renewed is None

    def tick(self) -> bool:
        """Claim or renew it, when that is due; return whether it was.

        Raises httpx2.HTTPError when the cluster does not answer; that changes nothing.
        """
        now = self._clock()
        if self._renewed is not None and now - self._renewed < RENEW_SECONDS:
            return False
        if self._tried is not None and now - self._tried < RETRY_SECONDS:
            return False
        self._tried = now
        try:
            claimed = self._claim(now)
        except httpx2.HTTPStatusError as error:
            if error.response.status_code != 409:
                raise
            claimed = False  # somebody else was quicker
        self._renewed = now if claimed else None
        return True

    def release(self) -> None:
        """Let others have it at once."""
        if not self.held():
            return
        self._renewed = None
        found = self._found()
        if found and found["spec"].get("holderIdentity") == self._identity:
            self._cluster.replace(self._with(found, holderIdentity=None), NAME)

    def _claim(self, now: float) -> bool:
        found = self._found()
        if found is None:
            self._cluster.create(self._with({"metadata": {"name": NAME}}))
            self.term += 1
            return True
        spec = found.get("spec") or {}
        record = spec.get("holderIdentity"), spec.get("renewTime")
        if record != self._seen:
            self._seen, self._seen_at = record, now
        if spec.get("holderIdentity") == self._identity and self.term:
            self._cluster.replace(self._with(found), NAME)
            return True
        held = spec.get("holderIdentity") not in (None, "", self._identity)
        if held and now - self._seen_at < spec.get("leaseDurationSeconds", 0):
            return False
        count = spec.get("leaseTransitions", 0) + 1
        self._cluster.replace(self._with(found, leaseTransitions=count), NAME)
        self.term += 1
        return True

    def _found(self) -> Any:
        try:
            return self._cluster.get(Lease, NAME)
        except httpx2.HTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            raise

    def _with(self, found: Any, **changed: object) -> Any:
        """The lease, ours as of now; the cluster refuses it if it was changed."""
        spec = {
            **(found.get("spec") or {}),
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": datetime.now(UTC).isoformat(timespec="microseconds"),
            **changed,
        }
        return Lease.from_dict(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": dict(found["metadata"]),
                "spec": spec,
            }
        )
