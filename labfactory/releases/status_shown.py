"""A lab's status for people: one screen that reads well from 80 columns on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from labfactory.guard.memory import Decided
from labfactory.releases.status import GuardStatus, Status, VariantStatus
from labfactory.releases.watched import UNMEASURED, Alert, Health

UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def screen(lab: str, found: Status, *, now: float) -> RenderableType:
    """The status of a lab at the Unix time `now`. Pure."""
    measured = any(each.health != UNMEASURED for each in found.variants)
    guards = {each.release: each for each in found.guard}
    parts: list[RenderableType] = [Text(f"Lab {lab}", style="bold")]
    for release, variants in groupby(found.variants, key=lambda each: each.release):
        parts += ["", _variants(release, [*variants], measured)]
        if guard := guards.get(release):
            parts.append(_told(_guard(guard, now)))
    rest = [*_alerts(found, now), *_notes(found)]
    if rest:
        parts += ["", _told(rest)]
    return Group(*parts)


def _variants(
    release: str, variants: list[VariantStatus], measured: bool
) -> RenderableType:
    table = Table(
        title=Text(release, style="bold cyan"),
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in ("variant", "model", "role", "traffic", "state"):
        table.add_column(column, overflow="fold", header_style="dim")
    for column in ("req/s", "errors", "p95") if measured else ():
        table.add_column(column, justify="right", no_wrap=True, header_style="dim")
    for each in variants:
        health = _health(each.health) if measured else ()
        state = Text("ready", "green") if each.ready else Text("not ready", "red")
        model = Text(each.model)
        table.add_row(each.variant, model, each.role, _traffic(each), state, *health)
    return table


def _traffic(each: VariantStatus) -> Text:
    text = Text(f"{each.wanted} %")
    if each.live not in (None, each.wanted):
        text.append(f", now {each.live} %", style="red")
    return text


def _health(health: Health) -> tuple[str, str, str]:
    return (
        "" if health.requests is None else f"{health.requests:.1f}",
        "" if health.errors is None else f"{100 * health.errors:.1f} %",
        "" if health.p95 is None else f"{1000 * health.p95:.0f} ms",
    )


def _guard(guard: GuardStatus, now: float) -> Iterator[tuple[str, Text]]:
    """What the guard thinks, what it did, and what it raises."""
    last = Text(f"{guard.phase}", style="bold")
    if guard.last:
        last.append(f"; {_decided(guard.last, now)}", style="not bold")
    yield "guard", last
    for act in guard.acted:
        if act != guard.last:
            yield "", Text(_decided(act, now))
    for alarm in guard.alarms:
        yield "alarm", Text(f"{alarm.name}: {alarm.summary}", style="red")


def _decided(decision: Decided, now: float) -> str:
    act = decision.act.replace("_", " ")
    if decision.variant and decision.act != "hold":
        act += f" {decision.variant}"
    if decision.traffic is not None:
        act += f" to {decision.traffic} %"
    return f"{act}, {age(decision.at, now)} ago: {decision.reason}"


def _alerts(found: Status, now: float) -> Iterator[tuple[str, Text]]:
    """Alerts that fire, but for those that stand beside their release already."""
    told = {
        (guard.release, alarm.name) for guard in found.guard for alarm in guard.alarms
    }
    for each in found.alerts:
        if (each.labels.get("release"), each.name) not in told:
            yield "alert", Text(_firing(each, now), style="red")


def _firing(alert: Alert, now: float) -> str:
    about = [alert.labels.get(label, "") for label in ("release", "variant")]
    where = " ".join(filter(None, about))
    name = f"{alert.name} ({where})" if where else alert.name
    return f"{name}, for {age(alert.since, now)}: {alert.summary}"


def _notes(found: Status) -> Iterator[tuple[str, Text]]:
    for text in found.half_done:
        yield "half done", Text(text, style="red")
    for text in found.away:
        yield "away", Text(text, style="yellow")


def _told(lines: Iterator[tuple[str, Text]] | list[tuple[str, Text]]) -> Table:
    """Lines with what they are about before them; long ones go on below themselves."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(ratio=1)
    for about, text in lines:
        grid.add_row(about, text)
    return grid


def age(at: str, now: float) -> str:
    """How long ago an ISO 8601 time was, in its largest unit."""
    seconds = max(0, round(now - datetime.fromisoformat(at).timestamp()))
    for size, name in UNITS:
        if seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
