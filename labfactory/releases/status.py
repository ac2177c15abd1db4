"""What a lab's releases do now, and what is half done: `lab status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from json import dumps
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from labfactory.releases.rollback import is_written
from labfactory.releases.routes import Routes, Verdict, verdicts_on
from labfactory.stack import Stack
from model_templates.routes import service_name
from stacks.schema import LabConfig


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


@dataclass(frozen=True)
class Status:
    """A lab's variants, and what somebody has begun and not finished."""

    variants: tuple[VariantStatus, ...]
    half_done: tuple[str, ...]


def status(lab: str) -> Status:
    """Read settings and cluster; raises LabError when the cluster does not answer."""
    settings = Stack(lab).settings
    with Routes(settings.cluster.context, settings.name) as routes:
        return judged(lab, settings, routes.live(), routes.ready())


def judged(
    lab: str,
    settings: LabConfig,
    live: Mapping[str, Mapping[str, Any]],
    ready: Mapping[str, bool],
) -> Status:
    """Compare what the settings say with what the cluster has. Pure."""
    variants = []
    differing = []
    for release, config in settings.releases.items():
        weights = live_weights(release, live.get(release, {}))
        for name, variant in config.variants.items():
            service = service_name(release, name)
            external = variant.external
            model = external.url.split("/")[2] if external else variant.version
            variants.append(
                VariantStatus(
                    release=release,
                    variant=name,
                    model=str(model) if external else f"version {model}",
                    role=variant.role,
                    wanted=variant.traffic,
                    live=weights.get(name),
                    ready=ready.get(service, False),
                )
            )
        if release in live and any(
            weights.get(name, 0) != variant.traffic
            for name, variant in config.variants.items()
        ):
            differing.append(release)
    verdicts = verdicts_on(live)
    half = [_unfinished(lab, settings, verdict) for verdict in verdicts]
    explained = {verdict.release for verdict in verdicts}
    half += [
        f"release {release}: the route's weights are not those of the settings; "
        f"`lab plan {lab}` says what `lab up {lab}` would change"
        for release in differing
        if release not in explained
    ]
    return Status(tuple(variants), tuple(half))


def live_weights(release: str, route: Mapping[str, Any]) -> dict[str, int]:
    """Per cent of the requests by variant, out of the route's last rule."""
    rules = route.get("spec", {}).get("rules", ())
    if not rules:
        return {}
    begin, end = f"{release}-", "-predictor"
    return {
        backend["name"].removeprefix(begin).removesuffix(end): backend["weight"]
        for backend in rules[-1].get("backendRefs", ())
    }


def show(lab: str, *, json: bool = False) -> None:
    """Print the status as one screen, or as JSON."""
    found = status(lab)
    if json:
        print(dumps(asdict(found), indent=2))
    else:
        Console().print(screen(lab, found))


def screen(lab: str, found: Status) -> RenderableType:
    """The status for people."""
    table = Table(title=f"Lab {lab}", title_justify="left")
    for column in ("release", "variant", "model", "role"):
        table.add_column(column)
    table.add_column("traffic", justify="right")
    table.add_column("state")
    last = None
    for each in found.variants:
        if last not in (None, each.release):
            table.add_section()
        live = "" if each.live in (None, each.wanted) else f" [red](now {each.live} %)"
        table.add_row(
            "" if last == each.release else each.release,
            each.variant,
            each.model,
            each.role,
            f"{each.wanted} %{live}",
            "[green]ready" if each.ready else "[red]not ready",
        )
        last = each.release
    notes = [f"[red]half done[/]: {text}" for text in found.half_done]
    return Group(table, *notes)


def _unfinished(lab: str, settings: LabConfig, verdict: Verdict) -> str:
    taken = ", ".join(verdict.rejected)
    told = f"{taken} was taken back by {verdict.by} at {verdict.at}: {verdict.because}"
    if verdict.release not in settings.releases:
        return f"release {verdict.release}: {told}; the settings have it no more"
    if is_written(settings, verdict):
        rest = "route and settings say so, Pulumi does not yet"
    else:
        rest = "the route says so, the settings do not yet"
    return f"release {verdict.release}: {told}; {rest}; `lab up {lab}` finishes it"
