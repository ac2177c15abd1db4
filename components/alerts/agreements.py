"""What was promised of releases: error budgets, how fast they burn, and deadlines.

Failures are counted as rates over five minutes while they happen, so that a variant
counts only while it answers callers, and a long window needs one series of each release
and objective. The rest follows from those: shares, budgets, leave to promote. How old
its model is each model server says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from components.alerts.alert import PAGE, TICKET, Alert
from stacks.promises import AgreementConfig, Deadlines
from stacks.schema import ReleaseConfig

INTERVAL = "1m"
"""How often these rules are worked out: the longest window has as few samples."""
FEWEST = 5
"""Failures within the long window below which a share of them says nothing."""
NEAR_DAYS = 14

ASKED = "release:asked:rate5m"
FAILED = "release:failed:rate5m"
ALLOWED = "release:failed_allowed:share"
WINDOW = "release:window:hours"
LEFT = "lab:error_budget_left:ratio"
MAY_PROMOTE = "lab:promotion_allowed:bool"
DEADLINE = "lab:deadline:time_seconds"
NEWER_BY = "release:newer_model_by:time_seconds"
_ENVOY = "envoy_cluster_upstream_rq"


class Burn(NamedTuple):
    """A part of the error budget that is not to be used up within some hours."""

    part: float
    hours: int
    long: str
    """Window of `hours`."""
    short: str
    """Window that says whether it still goes on."""


# Google's SRE Workbook, chapter 5: of 30 days these are 14.4, 6, 3 and 1 times as
# fast as the budget lasts.
PAGES = (Burn(0.02, 1, "1h", "5m"), Burn(0.05, 6, "6h", "30m"))
TICKETS = (Burn(0.10, 24, "1d", "2h"), Burn(0.10, 72, "3d", "6h"))


def recorded(
    releases: Mapping[str, ReleaseConfig],
    under: Mapping[str, AgreementConfig],
    agreements: Mapping[str, AgreementConfig],
    *,
    retention_days: int,
) -> list[dict[str, Any]]:
    """Recording rules, each after those that it needs.

    `under` is the agreement of each release that has one, `agreements` are all by name.
    A budget is counted over its window, or as long as measurements are kept.
    """
    found = [
        rule
        for release, config in releases.items()
        if (agreement := under.get(release))
        for rule in _objectives(config, release, agreement, retention_days)
    ]
    if found:
        found += _shares()
    found += [_may_promote(each, under[each]) for each in releases if each in under]
    found += [
        _newer_by(each, releases[each].stable(), days)
        for each in releases
        if each in under and (days := under[each].objectives.freshness_days)
    ]
    return [*found, *_deadlines(agreements)]


def alerts(
    under: Mapping[str, AgreementConfig], agreements: Mapping[str, AgreementConfig]
) -> list[Alert]:
    """The alerts that these agreements call for; none without any promise."""
    found = [*BUDGET] if any(map(_promised, under.values())) else []
    if any(each.objectives.freshness_days for each in under.values()):
        found.append(TOO_OLD)
    if any(_dates(each.deadlines) for each in agreements.values()):
        found += DATES
    return found


def _promised(agreement: AgreementConfig) -> dict[str, float]:
    """Share of the answers that is promised, by objective."""
    said = agreement.objectives
    found = {
        "availability": said.availability,
        "latency": said.latency.share if said.latency else None,
        "quality": said.quality,
    }
    return {name: share for name, share in found.items() if share is not None}


def _objectives(
    release: ReleaseConfig, name: str, agreement: AgreementConfig, retention_days: int
) -> Iterator[dict[str, Any]]:
    """What is counted for each objective of one release."""
    days = agreement.objectives.window_days
    kept = min(days, retention_days)
    for objective, share in _promised(agreement).items():
        labels = {"release": name, "objective": objective}
        match = f'{{release="{name}",objective="{objective}"}}'
        asked, failed = _counted(release, name, agreement, objective)
        # Sums have no labels, so both sides of each `or` are the same series.
        over = f"{match}[{kept}d]"
        values = {
            ASKED: asked,
            # Without a failure so far there is no series of them.
            FAILED: f"{failed}\n  or 0 * sum({ASKED}{match})",
            ALLOWED: f"vector({1 - share:.6g})",
            WINDOW: f"vector({days * 24})",
            LEFT: f"1 - sum(sum_over_time({FAILED}{over}))\n"
            f"  / (sum(sum_over_time({ASKED}{over})) > 0) / {1 - share:.6g}\n"
            "  or vector(1)",
        }
        for record, expr in values.items():
            yield {"record": record, "expr": expr, "labels": dict(labels)}


def _counted(
    release: ReleaseConfig, name: str, agreement: AgreementConfig, objective: str
) -> tuple[str, str]:
    """What there was, and what of it failed, a second; shadows answer nobody."""
    shadows = [n for n, v in release.variants.items() if v.role == "shadow"]
    others = f',variant!~"{"|".join(shadows)}"' if shadows else ""

    def rate(series: str, job: str = "gateway", more: str = "") -> str:
        return f'sum(rate({series}{{job="{job}",release="{name}"{others}{more}}}[5m]))'

    if objective == "quality":
        asked = rate("lab_feedback_labelled_total", "feedback")
        return asked, rate("lab_feedback_wrong_total", "feedback")
    if objective == "availability":
        failed = rate(f"{_ENVOY}_xx", more=',envoy_response_code_class="5"')
        return rate(f"{_ENVOY}_completed"), failed
    latency = agreement.objectives.latency
    assert latency
    asked = rate(f"{_ENVOY}_time_count")
    within = f',le="{latency.seconds * 1000:g}"'
    quick = rate(f"{_ENVOY}_time_bucket", more=within)
    return asked, f"clamp_min({asked}\n  - {quick}, 0)"


def _shares() -> Iterator[dict[str, Any]]:
    """The share that failed, of each release and objective, over each window."""
    yield _share("5m", f"{FAILED}\n  / ({ASKED} > 0)")
    for window in ("30m", "1h", "2h", "6h", "1d", "3d"):
        yield _share(
            window,
            f"sum_over_time({FAILED}[{window}])\n"
            f"  / (sum_over_time({ASKED}[{window}]) > 0)",
        )


def _share(window: str, expr: str) -> dict[str, Any]:
    return {"record": f"release:failed:share{window}", "expr": expr}


def _may_promote(release: str, agreement: AgreementConfig) -> dict[str, Any]:
    """1 while the guard may give candidates of a release more requests, else 0."""
    expr = f"vector({int(agreement.guard_may_trade)})"
    if agreement.guard_may_trade and _promised(agreement):
        expr = f'min({LEFT}{{release="{release}"}}) > bool 0'
    return {"record": MAY_PROMOTE, "expr": expr, "labels": {"release": release}}


def _newer_by(release: str, variant: str, days: int) -> dict[str, Any]:
    """Until when the stable variant's model is as fresh as was promised.

    The oldest pod counts, and an endpoint of somebody else does not say.
    """
    series = "lab_model_logged_timestamp_seconds"
    of = f'{{job="models",release="{release}",variant="{variant}"}}'
    expr = f"min({series}{of}) + {days * 86400}"
    return {"record": NEWER_BY, "expr": expr, "labels": {"release": release}}


def _deadlines(agreements: Mapping[str, AgreementConfig]) -> Iterator[dict[str, Any]]:
    for name, agreement in agreements.items():
        for clause, day in _dates(agreement.deadlines).items():
            # The day itself is still in time.
            end = datetime.combine(day + timedelta(days=1), time(), UTC)
            yield {
                "record": DEADLINE,
                "expr": f"vector({int(end.timestamp())})",
                "labels": {"agreement": name, "clause": clause},
            }


def _dates(said: Deadlines) -> dict[str, date]:
    return {clause: day for clause, day in said if day is not None}


def _burns(found: Burn) -> str:
    """Both windows burn too fast; a rate that the budget outlasts is not too fast."""
    limit = f"clamp_min({WINDOW} * {found.part:g} / {found.hours}, 1)\n    * {ALLOWED}"
    long, short = f"release:failed:share{found.long}", f"share{found.short}"
    return (
        f"{long} > {limit}\n"
        f"  and release:failed:{short} > {limit}\n"
        f"  and avg_over_time({FAILED}[{found.long}]) * {found.hours * 3600} "
        f">= {FEWEST}"
    )


def _either(burns: tuple[Burn, ...]) -> str:
    return "\nor ".join(f"({_burns(each)})" for each in burns)


_WHERE = "{{ $labels.release }} ({{ $labels.objective }})"
_SHARE = "{{ $value | humanizePercentage }}"
BUDGET = [
    Alert(
        name="ErrorBudgetBurnsFast",
        expr=_either(PAGES),
        severity=PAGE,
        summary=f"{_WHERE}: {_SHARE} fail, far more than was promised",
        why="A large part of the failures that the agreement leaves for its whole "
        "window goes within hours.",
        do="`lab status` shows which variant fails; "
        "`lab rollback {{ $labels.release }}` goes back at once; "
        "`lab agreements` shows what is left.",
    ),
    Alert(
        name="ErrorBudgetBurnsSlowly",
        expr=_either(TICKETS),
        severity=TICKET,
        summary=f"{_WHERE}: {_SHARE} fail, more than was promised",
        why="If it goes on, the agreement is broken before its window is over.",
        do="`lab agreements` shows what is left, `lab status` which variant fails.",
    ),
    Alert(
        name="ErrorBudgetUsedUp",
        expr=f"{LEFT} <= 0",
        hold="5m",
        severity=TICKET,
        summary=f"{_WHERE}: no failures are left of what was promised",
        why="The agreement is broken, and the guard gives candidates no more requests "
        "until old failures are out of the window.",
        do="`lab agreements` shows promised and measured; make the release reliable "
        "first, or change the agreement with those who count on it.",
    ),
]
TOO_OLD = Alert(
    name="ModelTooOld",
    expr=f"time() - {NEWER_BY} > 0",
    hold="5m",
    severity=TICKET,
    summary="{{ $labels.release }}: its model should be newer "
    "since {{ $value | humanizeDuration }}",
    why="The agreement says how old the stable variant's model may become; what it has "
    "learned may no longer hold.",
    do="Train it anew and `lab release` the new version, or change `freshness_days` of "
    "its agreement with those who count on it; `lab agreements` shows both.",
)
_DUE = "{{ $labels.agreement }}: {{ $labels.clause }}"
_MOVE = (
    "Do it, then write the next day into `agreements.{{ $labels.agreement }}.deadlines`"
    " and run `lab up`; without one the clause is gone."
)
DATES = [
    Alert(
        name="DeadlineNear",
        expr=f"{DEADLINE} - time() < {NEAR_DAYS * 86400}\nand {DEADLINE} - time() > 0",
        severity=TICKET,
        summary=f"{_DUE} is due in {{{{ $value | humanizeDuration }}}}",
        why="The agreement names a day by which it has to be done.",
        do=_MOVE,
    ),
    Alert(
        name="DeadlinePassed",
        expr=f"time() - {DEADLINE} >= 0",
        severity=TICKET,
        summary=f"{_DUE} is overdue by {{{{ $value | humanizeDuration }}}}",
        why="The agreement is broken: its day is over.",
        do=_MOVE,
    ),
]
