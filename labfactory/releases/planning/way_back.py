"""Can a change be taken back? Asked before it is applied; pure, over given facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from labfactory.errors import LabError
from labfactory.releases.planning.meaning import Amounts, ReleaseChange, State, Variant

MIB = 2**20


class Difference(Protocol):
    """How a contract differs from another."""

    @property
    def kind(self) -> str:
        """`same`, `compatible`, `breaking`, or `unknown` where nobody can tell."""

    @property
    def columns(self) -> tuple[str, ...]:
        """A sentence about each column that differs."""


class Facts(Protocol):
    """What a preview does not know; each is asked only where it matters.

    Whatever cannot be found out raises LabError.
    """

    def ready(self, service: str) -> bool:
        """Whether an InferenceService can answer now."""

    def artifact_digest(self, artifact: str) -> str | None:
        """Digest of what the store has at `artifact`; None when it has nothing."""

    def image_present(self, image: str) -> bool:
        """Whether a pod with that image could start."""

    def free(self) -> Amounts:
        """What the nodes have that is promised to nobody."""

    def difference(self, release: str, old: Variant, new: Variant) -> Difference:
        """What callers of `old` notice when `new` answers; both have a version."""


@dataclass(frozen=True)
class Unknown:
    """A difference that nobody can tell, and why."""

    columns: tuple[str, ...]
    kind: str = "unknown"


@dataclass(frozen=True)
class WayBack:
    """The variant that a rollback would turn to, and what stands in its way."""

    target: str
    warm: bool
    """It stays deployed: a rollback changes the route and starts no pod."""
    obstacles: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether the change can be taken back."""
        return not self.obstacles


def target(change: ReleaseChange) -> Variant | None:
    """Return the variant to go back to; None when nothing is left behind.

    It is the stable variant when another one takes its place, or an older version at
    0 per cent, left by an earlier promotion, when that goes.
    """
    before, after = change.before, change.after
    if before is None or before.stable is None:
        return None
    stable = before.stable
    if after is None or after.stable is None:
        return stable
    if not same_model(stable, after.stable):
        return stable
    gone = [
        variant
        for name, variant in before.variants.items()
        if name not in after.variants and _was_stable_before(variant, before, stable)
    ]
    return max(gone, key=lambda variant: variant.version or 0, default=None)


def find(
    change: ReleaseChange, facts: Facts, *, image: str | None, more: Amounts
) -> WayBack | None:
    """Return the way back from a change, or None when there is nothing to go back to.

    `image` is the one that the target would run on, `more` what the whole change
    takes of the cluster (negative when it gives some back).
    """
    back = target(change)
    if back is None:
        return None
    kept = change.after.variants.get(back.name) if change.after else None
    warm = kept is not None and same_model(kept, back)
    checks = [_narrower(change, back, facts)]
    if warm:
        checks.append(_not_ready(change, back, facts))
    else:
        checks.append(_not_kept(back, facts))
        checks.append(_not_startable(back, facts, image, more))
    obstacles = [obstacle for check in checks for obstacle in _told(check)]
    return WayBack(target=back.name, warm=warm, obstacles=tuple(obstacles))


def difference(facts: Facts, release: str, old: Variant, new: Variant) -> Difference:
    """Return what `new` changes for the callers of `old`, as far as one can tell."""
    if old.version is None or new.version is None:
        return Unknown(("an external endpoint has no contract",))
    try:
        return facts.difference(release, old, new)
    except LabError as error:
        return Unknown((str(error),))


def _told(check: Iterator[str]) -> Iterator[str]:
    """What a check finds; not being able to find it out is in the way too."""
    try:
        yield from check
    except LabError as error:
        yield str(error)


def same_model(one: Variant | None, other: Variant | None) -> bool:
    """Whether two variants are one: another model needs other pods."""
    if one is None or other is None:
        return False
    return (one.name, one.digest, one.artifact) == (
        other.name,
        other.digest,
        other.artifact,
    )


def _was_stable_before(variant: Variant, state: State, stable: Variant) -> bool:
    """A promotion leaves the old stable variant in the route, at 0."""
    idle = state.traffic.weights.get(variant.name) == 0
    return idle and (variant.version or 0) < (stable.version or 0)


def _not_ready(change: ReleaseChange, back: Variant, facts: Facts) -> Iterator[str]:
    service = change.service(back.name)
    # Pulumi waits for one that changes; one that stays is as it is now.
    if service and service.op == "same" and not facts.ready(service.name):
        yield f"{back.name} is deployed, but not ready now"


def _not_kept(back: Variant, facts: Facts) -> Iterator[str]:
    if back.artifact is None:
        return
    there = facts.artifact_digest(back.artifact)
    if there is None:
        yield f"the store has nothing at {back.artifact} any more"
    elif there != back.digest:
        yield f"what is at {back.artifact} is {there}, and was {back.digest}"


def _not_startable(
    back: Variant, facts: Facts, image: str | None, more: Amounts
) -> Iterator[str]:
    if image is not None and not facts.image_present(image):
        yield f"its image {image} is on no node, and no registry has it"
    free = facts.free()
    left = Amounts(max(free.cpu - more.cpu, 0), max(free.memory - more.memory, 0))
    if back.needs.cpu > left.cpu or back.needs.memory > left.memory:
        yield (
            f"it needs {_said(back.needs)}, and the change leaves {_said(left)} free"
        )


def _narrower(change: ReleaseChange, back: Variant, facts: Facts) -> Iterator[str]:
    stable = change.after.stable if change.after else None
    if stable is None or stable.version == back.version:
        return
    found = difference(facts, change.name, stable, back)
    if found.kind == "breaking":
        columns = "; ".join(found.columns)
        yield f"callers of {stable.name} would break at {back.name}: {columns}"


def _said(amounts: Amounts) -> str:
    return f"{amounts.cpu:g} cores and {amounts.memory / MIB:.0f} MiB"
