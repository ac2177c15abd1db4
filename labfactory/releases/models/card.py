"""The model card: who made a model from what, how good it is, where its limits are.

`card` gathers it as data, `html` is one page of it that needs nothing else: no script,
no style sheet, no picture. Neither depends on when it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from math import isfinite
from pathlib import Path
from string import Template
from typing import Any

from labfactory.errors import LabError
from labfactory.releases.models.contract import Contract, Difference, values
from labfactory.releases.models.registry import ModelVersion
from labfactory.releases.models.run import Run

PAGE = Template(Path(__file__).with_name("card.html").read_text(encoding="utf-8"))
SLICES = "slices/"
"""Beginning of the names of metrics per slice: `slices/<slice>/<metric>`."""
LONGEST = 200
"""Rows of one table on the page; `card.json` has them all."""
NOT_SAID = "none stated"


def card(
    found: ModelVersion,
    run: Run,
    contract: Contract,
    *,
    owner: str,
    description: str = "",
    influence: Mapping[str, Any] | None = None,
    environment: str = "",
    stable: tuple[str, str] | None = None,
    difference: Difference | None = None,
) -> dict[str, Any]:
    """Return the card as JSON's types.

    The run's tags `owner`, `purpose` and `limits` come first; `owner` and
    `description` (the registry's) stand in. `influence` is `influence.json`.
    """
    metrics = {
        # JSON has neither NaN nor infinity.
        name: value if isfinite(value) else str(value)
        for name, value in sorted(run.metrics.items())
    }
    return {
        "model": found.name,
        "version": found.version,
        "digest": found.digest,
        "artifact": found.artifact,
        "owner": run.tags.get("owner") or owner,
        "purpose": run.tags.get("purpose") or description or NOT_SAID,
        "limits": run.tags.get("limits") or NOT_SAID,
        "run": {
            "id": run.id,
            "name": run.name,
            "user": run.user,
            "start": _iso(run.start),
            "end": _iso(run.end),
            "code": run.code,
        },
        "data": [
            {"name": d.name, "digest": d.digest, "context": d.context} for d in run.data
        ],
        "parameters": dict(sorted(run.params.items())),
        "metrics": {k: v for k, v in metrics.items() if not k.startswith(SLICES)},
        "slices": _slices(metrics),
        "contract": contract.model_dump(mode="json", exclude_none=True),
        "influence": _counts(influence) if influence else None,
        "environment": environment.splitlines(),
        "difference": difference
        and stable
        and {
            "stable": {"model": stable[0], "version": stable[1]},
            "kind": difference.kind,
            "columns": list(difference.columns),
        },
    }


def _slices(metrics: Mapping[str, float | str]) -> dict[str, dict[str, float | str]]:
    slices: dict[str, dict[str, float | str]] = {}
    for name, value in metrics.items():
        slice_, _, metric = name.removeprefix(SLICES).rpartition("/")
        if name.startswith(SLICES) and slice_:
            slices.setdefault(slice_, {})[metric] = value
    return slices


def _counts(influence: Mapping[str, Any]) -> dict[str, Any]:
    try:
        features = {
            str(name): {"mean": float(one["mean"]), "std": float(one["std"])}
            for name, one in influence["features"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        raise LabError(
            'influence.json: it must be {"method": "…", "features": {NAME: {"mean": '
            'NUMBER, "std": NUMBER}}}; correct it in the training code, or leave it out'
        ) from None
    return {"method": str(influence.get("method", "")), "features": features}


def _iso(time: datetime | None) -> str | None:
    return time.isoformat(timespec="seconds") if time else None


def html(card: Mapping[str, Any]) -> str:
    """Return the card as one page; every value in it is escaped."""
    contract = Contract.model_validate(card["contract"])
    run = card["run"]
    body = [
        f"<header><p>Model card</p><h1>{_text(card['model'])} "
        f"<small>version {_text(card['version'])}</small></h1>"
        f"<p>{_text(card['purpose'])}</p></header>",
        _section(
            "Identity",
            _facts(
                ("Owner", card["owner"]),
                ("Digest", card["digest"]),
                ("Artifact", card["artifact"]),
                *((_data_title(data), data["digest"]) for data in card["data"]),
                ("Code version", run["code"]),
                ("Run", f"{run['name']} ({run['id']})" if run["name"] else run["id"]),
                ("Made by", run["user"] or NOT_SAID),
                ("Made at", run["end"] or run["start"] or NOT_SAID),
            ),
        ),
        _section("Limits", f"<p>{_text(card['limits'])}</p>"),
        _section("Metrics", _table(("metric", "value"), card["metrics"].items())),
        _section("Metrics per slice", _slice_table(card["slices"])),
        _section(
            "Contract: what it takes",
            _table(
                ("column", "type", "", "range or categories"),
                (
                    (
                        column.name,
                        column.type,
                        "required" if column.required else "optional",
                        values(column) + (" (declared)" if column.declared else ""),
                    )
                    for column in contract.inputs or ()
                ),
            ),
        ),
        _section(
            "Contract: what it answers",
            _table(
                ("output", "type"), ((o.name, o.type) for o in contract.outputs or ())
            ),
        ),
        _section("Difference to the stable variant", _difference(card["difference"])),
        _section("Influence of the features", _influence(card["influence"])),
        _section(
            "Parameters", _table(("parameter", "value"), card["parameters"].items())
        ),
        _section("Environment", _folded(card["environment"])),
    ]
    title = f"{card['model']} {card['version']}: model card"
    return PAGE.substitute(title=_text(title), body="\n".join(filter(None, body)))


def _data_title(data: Mapping[str, str]) -> str:
    return f"Data: {data['name']}" + (f", {data['context']}" if data["context"] else "")


def _section(title: str, content: str) -> str:
    if not content:
        return ""
    return f"<section><h2>{_text(title)}</h2>\n{content}\n</section>"


def _facts(*facts: tuple[str, Any]) -> str:
    rows = "\n".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in facts)
    return f"<dl>\n{rows}\n</dl>"


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table whose first column names the row; empty without rows."""
    all_rows = [tuple(row) for row in rows]
    if not all_rows:
        return ""
    cells = "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
    lines = [f"<tr>{cells}</tr>"]
    for name, *others in all_rows[:LONGEST]:
        cells = "".join(
            f"<td{' class=number' if isinstance(v, float) else ''}>{_text(v)}</td>"
            for v in others
        )
        lines.append(f'<tr><th scope="row">{_text(name)}</th>{cells}</tr>')
    more = len(all_rows) - LONGEST
    rest = f"<p>and {more} more, in card.json</p>" if more > 0 else ""
    return f"<div class=wide><table>\n{chr(10).join(lines)}\n</table></div>{rest}"


def _slice_table(slices: Mapping[str, Mapping[str, float]]) -> str:
    names = sorted({name for one in slices.values() for name in one})
    return _table(
        ("slice", *names),
        ((s, *(one.get(name, "") for name in names)) for s, one in slices.items()),
    )


def _difference(difference: Mapping[str, Any] | None) -> str:
    if not difference:
        return ""
    stable = difference["stable"]
    items = "".join(f"<li>{_text(text)}</li>" for text in difference["columns"])
    return (
        f"<p>Beside {_text(stable['model'])} version {_text(stable['version'])}: "
        f"<strong>{_text(difference['kind'])}</strong>.</p>"
        + (f"<ul>{items}</ul>" if items else "")
    )


def _influence(influence: Mapping[str, Any] | None) -> str:
    """Return one bar per feature, longest first."""
    if not influence:
        return ""
    means = {name: one["mean"] for name, one in influence["features"].items()}
    longest = max((*means.values(), 0.0)) or 1.0
    rows = [
        f'<tr><th scope="row">{_text(name)}</th><td class=bar>{_bar(mean / longest)}'
        f"</td><td class=number>{_text(mean)}</td></tr>"
        for name, mean in sorted(means.items(), key=lambda item: (-item[1], item[0]))
    ]
    return (
        f"<p>{_text(influence['method'])}</p>"
        f"<div class=wide><table>\n{chr(10).join(rows[:LONGEST])}\n</table></div>"
    )


def _bar(part: float) -> str:
    width = max(part, 0.0) * 100
    return (
        '<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{width:.1f}" height="8"/></svg>'
    )


def _folded(lines: list[str]) -> str:
    if not lines:
        return ""
    text = "\n".join(map(_text, lines))
    return (
        f"<details><summary>{len(lines)} packages</summary><pre>{text}</pre></details>"
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    return escape(str(value))
