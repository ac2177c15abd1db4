"""The accounts of a lab's agreements as one page that needs nothing else. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template

from labfactory.agreements.history import Change
from labfactory.agreements.kept import Account, Row
from labfactory.agreements.shown import WORDS, about, changed, left

PAGE = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
COLUMNS = ("promised", "measured", "left", "state")


def page(
    lab: str,
    found: tuple[Account, ...],
    changes: Mapping[str, Change],
    *,
    now: datetime,
) -> str:
    """One page of HTML; every value in it is escaped."""
    body = [
        f"<header><p>Agreements of the lab</p><h1>{escape(lab)}</h1>"
        f"<p>{_counted(found)}</p></header>",
        *(_section(each, changes.get(each.agreement)) for each in found),
        f"<footer>Measured at {now:%Y-%m-%d %H:%M} UTC</footer>",
    ]
    return PAGE.substitute(title=escape(f"{lab}: agreements"), body="\n".join(body))


def _counted(found: tuple[Account, ...]) -> str:
    """How many clauses are kept, and how many are not."""
    states = [row.kept for each in found for row in each.rows]
    parts = (
        f"<span class={word}>{states.count(kept)} {word}</span>"
        for kept, word in WORDS.items()
        if kept in states
    )
    return ", ".join(parts)


def _section(account: Account, change: Change | None) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in ("clause", *COLUMNS))
    rows = "\n".join(map(_row, account.rows))
    told = f"<p class=about>{escape(changed(change))}</p>" if change else ""
    return (
        f"<section><h2>{escape(account.agreement)}</h2>\n"
        f"<p class=about>{escape(about(account))}</p>{told}\n"
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>\n"
        "</section>"
    )


def _row(row: Row) -> str:
    release = f" <small>{escape(row.release)}</small>" if row.release else ""
    word = WORDS[row.kept]
    note = f"<small>{escape(row.note)}</small>" if row.note else ""
    cells = {
        "promised": escape(row.promised),
        "measured": f"<span>{escape(row.measured or '')}{note}</span>",
        "left": _left(row),
        "state": f"<span class={word}>{word}</span>",
    }
    told = "".join(f"<td data-name={k}>{text}</td>" for k, text in cells.items())
    return f'<tr><th scope="row">{escape(row.clause)}{release}</th>{told}</tr>'


def _left(row: Row) -> str:
    """What is left as a number and as a bar."""
    if row.left is None:
        return ""
    width = min(max(row.left, 0.0), 1.0) * 100
    return (
        f'{left(row)}<svg viewBox="0 0 100 8" preserveAspectRatio="none" '
        f'aria-hidden="true"><rect width="{width:.1f}" height="8"/></svg>'
    )
