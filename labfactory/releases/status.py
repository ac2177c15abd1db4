"""What a lab's releases do now, who watches them, what is half done: `lab status`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from json import dumps
from typing import Any

from labfactory.errors import LabError
from labfactory.guard.memory import Decided, Remembered
from labfactory.releases import traffic
from labfactory.releases.carried import Carried, carried
from labfactory.releases.decided import (
    is_given,
    is_written,
    step_told,
    verdict_told,
)
from labfactory.releases.decisions.observed import Alarm
from labfactory.releases.routes import connect
from labfactory.releases.watched import UNMEASURED, UNSEEN, Alert, Health, Seen, look
from labfactory.stack import Stack
from model_templates.routes import service_name
from stacks.schema import LabConfig, VariantConfig

REFRESH = 2
"""Seconds between two looks of `--watch`."""
ACTED = 3
"""How many of the guard's last acts are shown."""


@dataclass(frozen=True)
class VariantStatus:
    """One variant, as the settings want it and as it is."""

    release: str
    variant: str
    model: str
    """`version 3`, or the host of an external endpoint."""
    role: str
    wanted: int
    """Per cent of the requests in the settings."""
    live: int | None
    """Per cent that the route gives it now; None when it is not in the route."""
    ready: bool
    health: Health = UNMEASURED


@dataclass(frozen=True)
class GuardStatus:
    """What the guard says of one release."""

    release: str
    phase: str
    last: Decided | None
    """Its last decision."""
    acted: tuple[Decided, ...]
    """Its last decisions to change something, the newest first."""
    alarms: tuple[Alarm, ...]
    """What it raises."""


@dataclass(frozen=True)
class Status:
    """A lab's variants, who watches them, and what somebody has not finished."""

    variants: tuple[VariantStatus, ...]
    half_done: tuple[str, ...]
    guard: tuple[GuardStatus, ...] = ()
    alerts: tuple[Alert, ...] = ()
    away: tuple[str, ...] = ()
    """Who could not be asked: sentences."""


def status(lab: str) -> Status:
    """Read settings and cluster; raises LabError when the cluster does not answer."""
    stack = Stack(lab)
    return _looked(stack, _outputs(stack))


def judged(
    lab: str,
    settings: LabConfig,
    live: Mapping[str, Mapping[str, Any]],
    ready: Mapping[str, bool],
    seen: Seen = UNSEEN,
) -> Status:
    """Compare what the settings say with what the cluster has. Pure."""
    variants = []
    differing = []
    for release, config in settings.releases.items():
        route = live.get(release)
        weights = traffic.read(release, route).weights if route else {}
        for name, variant in config.variants.items():
            variants.append(
                VariantStatus(
                    release=release,
                    variant=name,
                    model=_model(variant),
                    role=variant.role,
                    wanted=variant.traffic,
                    live=weights.get(name),
                    ready=ready.get(service_name(release, name), False),
                    health=seen.health.get((release, name), UNMEASURED),
                )
            )
        if route and any(
            weights.get(name, 0) != variant.traffic
            for name, variant in config.variants.items()
        ):
            differing.append(release)
    open_ = carried(live)
    half = [text for each in open_ for text in _unfinished(lab, settings, each)]
    explained = {each.release for each in open_}
    half += [
        f"release {release}: the route's weights are not those of the settings; "
        f"`lab plan {lab}` says what `lab up {lab}` would change"
        for release in differing
        if release not in explained
    ]
    guard = tuple(
        _guarded(release, seen.memories[release])
        for release in settings.releases
        if release in seen.memories
    )
    return Status(tuple(variants), tuple(half), guard, seen.alerts, seen.away)


def show(lab: str, *, json: bool = False, watch: bool = False) -> None:
    """Print the status as one screen, or as JSON; `watch` renews it until Ctrl-C."""
    if json and watch:
        raise LabError(
            "status: --watch draws a screen and --json prints once; choose one of them"
        )
    if json:
        print(dumps(asdict(status(lab)), indent=2))
    elif watch:
        _watch(lab)
    else:
        from rich.console import Console

        from labfactory.releases.status_shown import screen

        Console().print(screen(lab, status(lab), now=time.time()))


def _watch(lab: str, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Draw the status again and again; a cluster that is away is told and asked again.

    Addresses are asked once: they stay as long as the lab does.
    """
    from rich.live import Live
    from rich.text import Text

    from labfactory.releases.status_shown import screen

    stack = Stack(lab)
    outputs = _outputs(stack)
    try:
        with Live(auto_refresh=False, screen=True) as live:
            while True:
                try:
                    drawn = screen(lab, _looked(stack, outputs), now=time.time())
                except LabError as error:
                    drawn = Text(str(error), style="red")
                live.update(drawn, refresh=True)
                pause(REFRESH)
    except KeyboardInterrupt:
        return


def _looked(stack: Stack, outputs: Mapping[str, Any]) -> Status:
    settings = stack.settings
    with connect(settings.cluster.context, settings.name) as routes:
        live, ready = routes.live(), routes.ready()
    return judged(stack.name, settings, live, ready, look(settings, outputs))


def _outputs(stack: Stack) -> Mapping[str, Any]:
    """Addresses of what watches the lab; none where nothing does."""
    if stack.settings.monitoring is None:
        return {}
    try:
        return stack.outputs()
    except (LabError, OSError):  # no lab yet, or no pulumi: the rest is still told
        return {}


def _model(variant: VariantConfig) -> str:
    if variant.external:
        return variant.external.url.split("/")[2]
    return f"version {variant.version}"


def _guarded(release: str, memory: Remembered) -> GuardStatus:
    decisions = memory.decisions
    acted = [each for each in decisions if each.act != "hold"]
    return GuardStatus(
        release=release,
        phase=memory.phase,
        last=decisions[-1] if decisions else None,
        acted=tuple(reversed(acted[-ACTED:])),
        alarms=memory.alarms,
    )


def _unfinished(lab: str, settings: LabConfig, each: Carried) -> Iterator[str]:
    """What a route carries and settings or Pulumi do not have yet, as sentences."""
    config = settings.releases.get(each.release)
    for verdict in each.verdicts:
        told = f"release {each.release}: {verdict_told(verdict)}"
        if config is None:
            yield f"{told}; the settings have it no more; `lab up {lab}` removes it"
        elif is_written(config, verdict):
            yield f"{told}; {_rest(lab, each)}"
        else:
            yield (
                f"{told}; the route says so, the settings do not yet; `lab sync {lab}` "
                f"writes it, `lab up {lab}` finishes it"
            )
    try:
        wanted = each.of_progress(settings)
    except LabError as error:
        yield str(error)
        return
    if wanted and config and each.progress:
        told = f"release {each.release}: {step_told(each.progress)}"
        if is_given(config, each.progress):
            yield f"{told}; {_rest(lab, each)}"
        else:
            said = config.variants[each.progress.variant].traffic
            yield f"{told}, the settings say {said}; `lab sync {lab}` writes it"


def _rest(lab: str, each: Carried) -> str:
    if each.is_agreed():
        return f"settings and Pulumi say so; `lab sync {lab}` clears the route"
    return f"route and settings say so, Pulumi does not yet; `lab up {lab}` finishes it"
