"""Write into the settings what was decided on live routes, and why: `lab sync`.

A verdict, or a step of the guard, stays on its route until Pulumi has applied settings
that say the same. So it does not matter where this stops: the next run, on any machine,
does what is missing, and nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from labfactory.errors import LabError
from labfactory.guard.memory import Retrained
from labfactory.releases import watched
from labfactory.releases.carried import Wanted, carried
from labfactory.releases.decided import is_written
from labfactory.releases.routes import Changed, Routes, Verdict, connect, progress_on
from labfactory.settings import history
from labfactory.settings.edit import edit
from labfactory.stack import Stack
from stacks import load
from stacks.schema import LabConfig, ReleaseConfig


@dataclass(frozen=True)
class Synced:
    """What one run has done, and what it could not."""

    written: tuple[str, ...] = ()
    """What the settings say now, or a commit does, and did not before: sentences."""
    left: tuple[str, ...] = ()
    """What a person has to settle: sentences."""
    open: tuple[str, ...] = ()
    """Releases of which Pulumi has not applied yet what the settings say."""
    verdicts: tuple[Verdict, ...] = ()
    """Those that routes carried, of releases in the settings."""


def sync(lab: str, *, push: bool = False) -> Synced:
    """Write verdicts, promotions and retrained versions into the settings of `lab`.

    One commit for each. Routes that Pulumi agrees with are cleared. Raises LabError
    when the cluster does not answer.
    """
    stack = Stack(lab)
    settings = stack.settings
    with connect(settings.cluster.context, settings.name) as routes:
        found = _write(stack, routes.live(), push=push)
        found = _with_retrained(stack, found, push=push)
        return replace(found, open=_clear(routes))


def show(lab: str, *, push: bool = False, apply: bool = False) -> int:
    """Do `sync`, tell it, and `apply` it where that is wished.

    Returns 0 when there was nothing to do, 1 when only a person can do what is left,
    2 when something was written.
    """
    found = sync(lab, push=push)
    for text in (*found.written, *found.left):
        print(text)
    if apply and (found.written or found.open):
        from labfactory import labs

        labs.stand_up(lab, rescue=True)
    elif found.open:
        releases = ", ".join(found.open)
        print(f"not applied yet: {releases}; `lab up {lab}` or `pulumi up` does it")
    if found.written:
        return 2
    return 1 if found.left else 0


def finish(stack: Stack) -> Synced:
    """Write what routes carry and the settings do not, before they are applied.

    Raises LabError when a variant that was taken back can't be written: to apply
    the settings as they are could bring it back.
    """
    settings = stack.settings
    with connect(settings.cluster.context, settings.name) as routes:
        found = _write(stack, routes.live())
    releases = stack.settings.releases
    for verdict in found.verdicts:
        config = releases[verdict.release]
        if not is_written(config, verdict) and _answer(config, verdict.rejected):
            raise LabError("\n".join(found.left))
    return found


def close(stack: Stack) -> None:
    """Take off the routes what Pulumi has applied, or something else instead."""
    settings = stack.settings
    with connect(settings.cluster.context, settings.name) as routes:
        _clear(routes)


def _write(
    stack: Stack, live: Mapping[str, Mapping[str, Any]], *, push: bool = False
) -> Synced:
    """Write what routes carry, each by itself: no trouble with one is in another's way.

    A verdict is written before the progress of another variant of the same release.
    """
    settings = stack.settings
    written: list[str] = []
    left: list[str] = []
    verdicts: list[Verdict] = []
    for each in carried(live, _evidence(settings, live)):
        if each.release in settings.releases:
            verdicts += each.verdicts
        judges: list[Callable[[LabConfig], Wanted | None]] = [
            partial(each.of_verdict, verdict) for verdict in each.verdicts
        ]
        for judge in (*judges, each.of_progress):
            try:
                wanted = judge(stack.settings)
                told = wanted and _keep(stack, wanted, push=push)
            except (LabError, load.SettingsError) as error:
                left.append(str(error))
            else:
                written += [told] if told else []
    return Synced(tuple(written), tuple(left), verdicts=tuple(verdicts))


def _keep(stack: Stack, wanted: Wanted, *, push: bool) -> str | None:
    """Write and commit one edit; None when the settings and git have it already."""
    change = edit(stack.file, wanted.operation)
    change.write()
    new = change.after != change.before
    told = f"release {wanted.release}: {wanted.what}"
    if new:
        return f"{told}; {history.kept(stack.file, **wanted.message, push=push)}"
    commit = history.record(stack.file, **wanted.message, push=push)
    return commit and f"{told}; {load.named(stack.file)} says so in {commit[:8]}"


def _with_retrained(stack: Stack, found: Synced, *, push: bool) -> Synced:
    """Enter what was trained anew as candidates, through the gates of any release."""
    settings = stack.settings
    if settings.guard is None:
        return found
    written, left = [*found.written], [*found.left]
    try:
        with watched.Memories(settings.cluster.context, settings.name) as memories:
            remembered, broken = memories.read()
            left += broken
            for release, memory in remembered.items():
                config = settings.releases.get(release)
                made = memory.retrained
                if not (config and config.retrain and made and made.version):
                    continue
                if made.taken_at:
                    continue
                try:
                    told = _enter(stack.name, release, config, made, push=push)
                    written += [told] if told else []
                    memories.take(release, made.job, _now())
                except (LabError, load.SettingsError) as error:
                    left.append(
                        f"release {release}: version {made.version} was trained "
                        f"anew and is not in the settings: {error}"
                    )
    except LabError as error:
        left.append(str(error))
    return replace(found, written=tuple(written), left=tuple(left))


def _enter(
    lab: str,
    release: str,
    config: ReleaseConfig,
    made: Retrained,
    *,
    push: bool,
) -> str | None:
    """Release what a training made; None when the release has it already."""
    from labfactory.releases.edit import write_release

    acts = config.guard.mode == "act"
    first = config.guard.steps[0] if config.guard.steps and acts else 0
    version = str(made.version)
    if not write_release(lab, release, version, traffic=first, push=push):
        return None
    return (
        f"release {release}: version {version}, trained anew by {made.job}, is a "
        f"candidate with {first} per cent"
    )


def _clear(routes: Routes) -> tuple[str, ...]:
    """Clear the routes that Pulumi agrees with; return the releases of the others."""
    left = []
    for each in carried(routes.live()):
        try:
            agreed = each.is_agreed()
            if agreed:
                routes.clear(each.release, each.route)
        except Changed:
            agreed = False
        if not agreed:
            left.append(each.release)
    return tuple(left)


def _evidence(
    settings: LabConfig, live: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, str]]:
    """The numbers behind each step of the guard, where its memory still has them."""
    steps = progress_on(live)
    if not steps or settings.guard is None:
        return {}
    found = {}
    with suppress(LabError):  # a step is written without its numbers, too
        with watched.Memories(settings.cluster.context, settings.name) as memories:
            remembered, _ = memories.read()
        for release in steps.keys() & remembered.keys():
            wanted = steps[release].variant, steps[release].traffic
            for each in remembered[release].decisions:
                if (each.variant, each.traffic) == wanted:
                    found[release] = each.evidence
    return found


def _answer(config: ReleaseConfig, names: Sequence[str]) -> bool:
    """Whether settings let one of these variants answer."""
    variants = [config.variants[name] for name in names if name in config.variants]
    return any(variant.traffic or variant.match for variant in variants)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
