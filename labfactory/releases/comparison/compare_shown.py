"""A comparison as a table in the terminal, or as JSON."""

from __future__ import annotations

import json as json_
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from labfactory.releases.comparison.compare import Comparison, Figures


def show(comparison: Comparison, *, json: bool) -> None:
    """Print `comparison`."""
    if json:
        print(json_.dumps(document(comparison), indent=2))
        return
    console = Console()
    console.print(title(comparison), highlight=False)
    console.print(table(comparison))
    for note in notes(comparison):
        console.print(note, style="dim", highlight=False)


def document(comparison: Comparison) -> dict[str, Any]:
    """Return `comparison` as JSON values; shares are parts of one."""
    return {
        "release": comparison.release,
        "since": comparison.since.isoformat(timespec="seconds"),
        "until": comparison.until.isoformat(timespec="seconds"),
        "requests_per_hour": comparison.requests_per_hour,
        "variants": [_variant(figures) for figures in comparison.variants],
    }


def title(comparison: Comparison) -> str:
    """Return what is compared, over which time and at which load."""
    text = (
        f"{comparison.release}, {comparison.since:%Y-%m-%d %H:%M} to "
        f"{comparison.until:%H:%M} UTC"
    )
    if comparison.requests_per_hour is not None:
        text += f", {comparison.requests_per_hour:,.0f} requests an hour"
    return text


def table(comparison: Comparison) -> Table:
    """Return one column per variant."""
    shown = Table(header_style="bold")
    shown.add_column("")
    for figures in comparison.variants:
        kind = ", external" if figures.external else ""
        shown.add_column(f"{figures.variant}\n{figures.role}{kind}", justify="right")
    for name, cell in ROWS.items():
        cells = [
            cell(f) if f.requests or name in WITHOUT_LOG else "–"
            for f in comparison.variants
        ]
        if any(text != "–" for text in cells):
            shown.add_row(name, *cells)
    return shown


def notes(comparison: Comparison) -> list[str]:
    """Return what a reader of the table has to know."""
    found = []
    for figures in comparison.variants:
        if figures.broken:
            found.append(
                f"{figures.variant}: {figures.broken} objects or lines of its log "
                "can't be read and are not counted"
            )
        if figures.cut:
            found.append(
                f"{figures.variant}: only its newest answers are counted; choose fewer "
                "hours to see all"
            )
    silent = [f.variant for f in comparison.variants if not f.requests]
    if silent:
        found.append(
            f"no log of {', '.join(silent)}: answers are logged while a release has a "
            "shadow, by the lab's own model server"
        )
    return found


def _variant(figures: Figures) -> dict[str, Any]:
    found = asdict(figures)
    found["logged"] = figures.requests > 0
    found["errors"] = _errors(figures)
    found["cost_per_1000_requests"] = found.pop("cost")
    found["p50_seconds"], found["p99_seconds"] = found.pop("p50"), found.pop("p99")
    if figures.agreement:
        found["agreement"]["share"] = figures.agreement.share
    return found


def _errors(figures: Figures) -> float | None:
    if not figures.requests:
        return None
    return (figures.refused + figures.failed) / figures.requests


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1000 * seconds:.1f} ms"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _of(figures: Figures, name: str) -> Any:
    return getattr(figures.agreement, name, None)


def _quality(figures: Figures) -> str:
    measured = figures.quality
    if measured is None or measured.value is None:
        return "–"
    return f"{measured.value:.4g} {measured.measure}"


ROWS: Mapping[str, Callable[[Figures], str]] = {
    "requests": lambda f: f"{f.requests:,}" if f.requests else "no log",
    "rows": lambda f: f"{f.rows:,}",
    "errors": lambda f: _percent(_errors(f)),
    "p50": lambda f: _milliseconds(f.p50),
    "p99": lambda f: _milliseconds(f.p99),
    "joined with stable": lambda f: f"{f.agreement.requests:,}" if f.agreement else "–",
    "agreement": lambda f: _percent(_of(f, "share")),
    "mean difference": lambda f: _number(_of(f, "difference")),
    "quality": _quality,
    "labelled rows": lambda f: f"{f.quality.rows:,}" if f.quality else "–",
    "cost of 1,000 requests": lambda f: _number(f.cost),
}
WITHOUT_LOG = frozenset({"requests", "cost of 1,000 requests"})
"""Rows that say something about a variant that has logged nothing."""
