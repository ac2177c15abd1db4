"""A simulation's decision log and the comparison of rules, for people and as JSON.

Both are the same to the byte each time: no clock, no terminal width, no colour.
"""

from __future__ import annotations

import json as json_
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labfactory.releases.simulation.simulate import Line, Log

if TYPE_CHECKING:
    from labfactory.releases.simulation.simulate_compare import Row

COLUMNS = ("rule", "false rollbacks", "missed regressions", "delay, median", "p95")


def logged(log: Log, *, json: bool) -> None:
    """Print a decision log."""
    lines = _documents(log) if json else _sentences(log)
    print("\n".join(lines))


def _documents(log: Log) -> Iterator[str]:
    for line in log.lines:
        yield json_.dumps(document(line))
    yield json_.dumps(
        {"ended": log.ended, "looks": log.looks, "weights": dict(log.live)}
    )


def document(line: Line) -> dict[str, Any]:
    """One line of the log as JSON values."""
    decision = line.decision
    return {
        "after": line.after,
        "act": decision.act,
        "variant": decision.variant,
        "traffic": decision.traffic,
        "reason": decision.reason,
        "evidence": dict(decision.evidence),
        "alarms": [alarm.name for alarm in decision.alarms],
        "retrain": decision.retrain,
        "weights": dict(line.live),
    }


def _sentences(log: Log) -> Iterator[str]:
    for line in log.lines:
        decision = line.decision
        what = [decision.act.replace("_", " ")]
        if decision.variant:
            what.append(decision.variant)
        if decision.act == "promote":
            what.append(f"to {decision.traffic} %")
        alarms = "".join(f" [{alarm.name}]" for alarm in decision.alarms)
        yield f"{clock(line.after)}  {' '.join(what):<18}  {decision.reason}{alarms}"
    yield f"{log.ended} after {log.looks} looks: {weights(log.live)}"


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: `0:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def weights(live: Mapping[str, int]) -> str:
    """Who answers how much: `v1 90 %, v2 10 %`."""
    return ", ".join(f"{name} {weight} %" for name, weight in live.items())


def compared(rows: Sequence[Row], *, json: bool) -> None:
    """Print the comparison of the guard with its rivals."""
    if json:
        print("\n".join(json_.dumps(row.as_json()) for row in rows))
        return
    lines = [COLUMNS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for cells in lines:
        told = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print("  ".join(told).rstrip())


def _cells(row: Row) -> tuple[str, ...]:
    delays = (_seconds(row.delay(0.5)), _seconds(row.delay(0.95)))
    return (row.rule, _part(row.false), _part(row.missed), *delays)


def _part(rate: float) -> str:
    return f"{100 * rate:.2f} %"


def _seconds(delay: float | None) -> str:
    return "–" if delay is None else f"{delay:.0f} s"
