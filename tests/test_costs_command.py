from __future__ import annotations

import json
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from labfactory import labs
from labfactory import stack as stacks
from labfactory.costs import measured, report, shown
from labfactory.costs.measured import Amount, Measured
from labfactory.errors import LabError
from policies.rules.costs import Line
from stacks.schema import LabConfig
from tests.harness import example
from tests.watching import run

NOW = datetime(2026, 11, 16, tzinfo=UTC)
HALF = 15 / 30
URL = "http://198.18.0.20:9090"


class Prometheus:
    """Answers by what a query begins with, and remembers what it was asked."""

    def __init__(self, **answers: dict[str, float]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, url: str, query: str, label: str) -> dict[str, float]:
        assert url == URL
        self.asked.append(query)
        return self.answers.get(self.kind(query), {})

    def kind(self, query: str) -> str:
        names = {
            "max(count_over_time": "hours",
            "min(min_over_time": "since",
            "sum_over_time((lab": "rooms",
            "sum_over_time((sum": "releases",
            "lab:cost_per_hour:sum": "rooms_now",
            "sum by (release)": "releases_now",
            measured.SPENT: "spent",
            measured.FORECAST: "forecast",
        }
        return next(kind for start, kind in names.items() if query.startswith(start))


FOUND = Prometheus(
    hours={"": 100.0},
    since={"": datetime(2026, 11, 11, 20, tzinfo=UTC).timestamp()},
    rooms={"serving": 20.0, "storage": 10.0},
    rooms_now={"serving": 0.3, "storage": 0.1},
    releases={"iris": 20.0},
    releases_now={"iris": 0.3},
    spent={"standard": 109.5},
    forecast={"standard": 255.5},
)


@pytest.fixture
def prometheus(monkeypatch: pytest.MonkeyPatch) -> Prometheus:
    monkeypatch.setattr(measured, "_by", FOUND)
    return FOUND


def lab(**sections: Any) -> LabConfig:
    return LabConfig.model_validate(example(**sections))


def agreed(monthly: float = 250.0, **more: Any) -> dict[str, Any]:
    return {"standard": {"cost": {"monthly": monthly, **more}}}


def text(found: dict[str, Any]) -> str:
    out = StringIO()
    Console(file=out, width=120).print(shown.screen(found))
    return out.getvalue()


def test_what_is_spent_is_the_average_of_what_was_measured(
    prometheus: Prometheus,
) -> None:
    found = measured.measure(URL, NOW)

    serving = found.rooms["serving"]
    assert serving.spent == pytest.approx(730 * HALF * 20 / 100)
    assert serving.forecast == pytest.approx(serving.spent + 730 * HALF * 0.3)
    assert found.total.spent == pytest.approx(730 * HALF * 30 / 100)
    assert found.releases["iris"] == serving
    assert found.agreements == {"standard": Amount(109.5, 255.5)}
    assert found.since == datetime(2026, 11, 11, 20, tzinfo=UTC)


def test_a_room_that_is_gone_has_cost_something_and_will_cost_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = {**FOUND.answers, "rooms_now": {"storage": 0.1}}
    monkeypatch.setattr(measured, "_by", Prometheus(**answers))

    serving = measured.measure(URL, NOW).rooms["serving"]

    assert serving.spent == serving.forecast > 0


def test_a_month_that_nobody_has_measured_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measured, "_by", Prometheus())

    with pytest.raises(LabError, match="has measured no costs this month"):
        measured.measure(URL, NOW)


def test_a_lab_that_is_too_young_to_be_measured_shows_what_it_reserves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measured, "_by", Prometheus())

    assert shown._measured(URL, NOW) is None


def test_prometheus_that_is_away_is_told() -> None:
    with pytest.raises(LabError, match="Prometheus does not answer"):
        measured.measure("http://127.0.0.1:9", NOW)


@pytest.mark.parametrize(
    ("now", "start", "share"),
    [
        (datetime(2026, 11, 1, tzinfo=UTC), date(2026, 11, 1), 0),
        (datetime(2026, 11, 16, tzinfo=UTC), date(2026, 11, 1), 0.5),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), date(2026, 12, 1), 1),
        (datetime(2028, 2, 29, 12, tzinfo=UTC), date(2028, 2, 1), 28.5 / 29),
    ],
    ids=["first", "middle", "last", "leap-day"],
)
def test_the_part_of_a_month_that_is_over(
    now: datetime, start: date, share: float
) -> None:
    began, part = measured.month(now)

    assert began.date() == start
    assert part == pytest.approx(share, abs=1e-6)


def test_prometheus_can_read_what_it_is_asked(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    prometheus.asked.clear()
    measured.measure(URL, NOW)

    rules = [{"record": f"q{n}", "expr": q} for n, q in enumerate(prometheus.asked)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))

    assert f"{len(rules)} rules found" in run("promtool", "check", "rules", path)


def test_budgets_are_shown_with_what_the_forecast_leaves(
    prometheus: Prometheus,
) -> None:
    settings = lab(agreements=agreed())

    found = report.document(settings, None, measured.measure(URL, NOW), NOW)

    [budget] = found["budgets"]
    assert budget["owner"] == "vision"
    assert (budget["spent"], budget["forecast"]) == (109.5, 255.5)
    assert (budget["allowed"], budget["left"]) == (250.0, -5.5)
    assert found["total"] == {"spent": 109.5, "forecast": 255.5}
    assert json.loads(json.dumps(found)) == found
    assert "standard (vision)   109.50     255.50    250.00   -5.50" in text(found)
    assert "measured since 2026-11-11T20:00+00:00" in text(found)


def test_a_budget_that_nobody_has_measured_has_nothing_left_to_tell() -> None:
    empty = Measured(NOW, {}, {}, {})

    [budget] = report.document(lab(agreements=agreed()), None, empty, NOW)["budgets"]

    assert (budget["spent"], budget["forecast"], budget["left"]) == (None, None, None)


@pytest.mark.parametrize(
    ("until", "told"), [("2026-12-01", "until"), ("2026-11-01", "ended")]
)
def test_who_allows_more_is_named_with_the_place_where_it_is_kept(
    until: str, told: str
) -> None:
    override = {"monthly": 300.0, "by": "[red] team", "because": "a fair"}
    clause = agreed(override={**override, "until": until})
    lines = (Line("serving", "iris", "x", 260.0),)

    found = report.document(lab(agreements=clause), lines, None, NOW)

    assert f"{told} {until}, [red] team" in text(found)
    assert "git keeps every one that there was" in " ".join(text(found).split())
    assert found["budgets"][0]["allowed"] == (300.0 if told == "until" else 250.0)


def test_without_measurements_what_is_reserved_is_the_forecast() -> None:
    lines = (
        Line("serving", "iris", "a", 3.0),
        Line("serving", "wine", "b", 2.0),
        Line("storage", None, "c", 1.0),
    )

    found = report.document(lab(), lines, None, NOW)

    assert found["total"] == {"spent": None, "forecast": 6.0}
    assert found["rooms"] == [
        {"name": "serving", "spent": None, "forecast": 5.0},
        {"name": "storage", "spent": None, "forecast": 1.0},
    ]
    assert [each["name"] for each in found["releases"]] == ["iris", "wine"]
    assert "nothing is measured" in text(found)


def test_an_old_book_is_told_with_its_age() -> None:
    found = report.document(lab(costs={"max_age_days": 1}), (), None, NOW)
    later = report.document(
        lab(costs={"max_age_days": 1}), (), None, NOW.replace(year=2028)
    )

    assert found["notes"] == []
    assert "`costs.max_age_days`" in later["notes"][0]
    assert later["book"]["age_days"] > 365
    assert "days old" in text(later)


def test_what_is_in_no_sum_is_told() -> None:
    dollars = {"book": "aws-eu-central-1", "currency": "USD"}

    found = report.document(lab(costs=dollars), (), None, NOW)

    assert "not counted: S3 Standard" in text(found)
    assert found["book"]["region"] == "eu-central-1"


class Stack:
    """A stack of a lab with these settings."""

    settings = lab(agreements=agreed())

    def __init__(self, name: str) -> None:
        self.name = name

    def preview(self, *, judged: bool) -> dict[str, Any]:
        return {"steps": [], "changeSummary": {"same": 0}}


def test_the_command_shows_what_was_measured(
    prometheus: Prometheus,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stacks, "Stack", Stack)
    monkeypatch.setattr(labs, "outputs", lambda stack: {"monitoring_url": URL})

    shown.show("example", as_json=True)
    found = json.loads(capsys.readouterr().out)
    shown.show("example")

    assert found["budgets"][0]["spent"] == 109.5
    assert "room serving" in capsys.readouterr().out


def test_the_command_looks_at_the_stack_where_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stacks, "Stack", Stack)
    monkeypatch.setattr(labs, "outputs", lambda stack: {"namespace": "example"})

    shown.show("example", as_json=True)

    found = json.loads(capsys.readouterr().out)
    assert found["total"] == {"spent": None, "forecast": 0.0}


def test_a_book_that_cannot_be_used_is_an_error_with_the_lab_s_name(
    prometheus: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stack, "settings", lab(costs={"book": "cloud"}))
    monkeypatch.setattr(stacks, "Stack", Stack)
    monkeypatch.setattr(labs, "outputs", lambda stack: {"monitoring_url": URL})

    with pytest.raises(LabError, match="lab 'example': there is no price book"):
        shown.show("example")
