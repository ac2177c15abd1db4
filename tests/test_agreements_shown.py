from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from labfactory.agreements import measured as asking
from labfactory.agreements import shown
from labfactory.agreements.history import Change, last_changes
from labfactory.agreements.kept import Account, Row, accounts
from labfactory.agreements.measured import Measured, Used, measured, quota
from labfactory.agreements.page import page
from labfactory.backups.history import Drill
from labfactory.errors import LabError
from stacks.schema import LabConfig
from tests.guard_parts import Partner, served
from tests.promised import IRIS, OF_RELEASES, STANDARD, promised

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DRILL = Drill.read(
    {
        "finished": "2026-11-20T03:00:00+00:00",
        "rpo_seconds": 1200,
        "rto_seconds": 2400,
        "ok": True,
    }
)
FOUND = Measured(
    failed={
        ("iris", "availability"): 0.002,
        ("iris", "latency"): 0.1,
    },
    made={"iris": NOW - timedelta(days=30)},
    drills=(DRILL,),
    used={"cpu": Used("1200m", True), "memory": Used("9Gi", False)},
    costs={"standard": 150.0},
)
CHANGE = Change("2026-11-02", "vision", "Promise more <of> it", "abc1234")


def rows(
    found: Measured = FOUND, lab: LabConfig | None = None, now: datetime = NOW
) -> dict[str, Row]:
    """By clause; by the word after it where a clause has several rows."""
    told = accounts(lab or promised(), found, now=now)
    return {
        f"capacity {row.promised.split()[0]}"
        if row.clause == "capacity"
        else row.clause: row
        for account in told
        for row in account.rows
    }


def test_an_error_budget_is_what_is_left_of_the_failures_that_were_allowed() -> None:
    found = rows()

    assert found["availability"].measured == "99.8 %"
    assert found["availability"].left == pytest.approx(0.8)
    assert found["availability"].kept
    assert found["latency"].left == pytest.approx(-1)
    assert found["latency"].kept is False


def test_exactly_what_was_promised_is_kept() -> None:
    found = rows(Measured(failed={("iris", "availability"): 0.01}))

    assert found["availability"].kept


def test_what_nobody_measured_is_unknown_and_says_why() -> None:
    found = rows(Measured())

    assert {found[name].kept for name in ("availability", "cost", "rpo")} == {None}
    assert found["availability"].note == "no requests were measured in 15 days"
    assert found["quality"].note == "no labels were measured in 15 days"
    assert "no drill has shown yet" in found["rpo"].note
    assert all(row.note for row in found.values() if row.kept is None)


def test_a_window_that_is_longer_than_measurements_are_kept_is_told() -> None:
    assert rows()["availability"].note == "measurements are kept for 15 days only"


@pytest.mark.parametrize(("age", "kept"), [(90, True), (91, False)])
def test_a_model_may_be_as_old_as_was_promised(age: int, kept: bool) -> None:
    found = replace(FOUND, made={"iris": NOW - timedelta(days=age)})

    assert rows(found)["freshness"].kept is kept


@pytest.mark.parametrize(
    ("now", "kept", "text"),
    [
        (datetime(2026, 12, 30, tzinfo=UTC), True, "1 day left"),
        (datetime(2026, 12, 31, 23, tzinfo=UTC), True, "0 days left"),
        (datetime(2027, 1, 1, tzinfo=UTC), False, "overdue by 1 day"),
    ],
    ids=["before", "on the day", "after"],
)
def test_a_deadline_is_kept_until_its_day_is_over(
    now: datetime, kept: bool, text: str
) -> None:
    found = rows(now=now)["retrain_by"]

    assert (found.kept, found.measured) == (kept, text)


def test_the_last_drill_shows_what_a_disaster_costs() -> None:
    found = rows()

    assert (found["rpo"].measured, found["rpo"].kept) == ("20.0 min", True)
    assert (found["rto"].measured, found["rto"].kept) == ("40.0 min", False)


def test_a_failed_drill_breaks_the_promise_and_an_old_one_proves_nothing() -> None:
    failed = replace(FOUND, drills=(DRILL, replace(DRILL, ok=False)))

    assert rows(failed)["rto"].kept is False
    assert rows(failed)["rto"].measured is None
    assert rows(now=NOW + timedelta(days=30))["rpo"].kept is None


def test_leave_to_spend_more_counts_until_its_last_day() -> None:
    leave = {
        "monthly": 160.0,
        "by": "vision",
        "because": "a trial",
        "until": "2026-11-21",
    }
    cost = {"monthly": 100.0, "override": leave}
    lab = promised(agreements={"standard": {**STANDARD, "cost": cost}})

    today, later = rows(lab=lab), rows(lab=lab, now=NOW + timedelta(days=1))

    assert today["cost"].kept
    assert later["cost"].kept is False
    assert "has expired" in later["cost"].note


def test_capacity_is_told_limit_by_limit() -> None:
    found = rows()

    assert found["capacity cpu"].measured == "1200m"
    assert found["capacity memory"].kept is False
    assert found["capacity releases"].measured == "1"


def test_a_clause_is_told_for_each_release_that_is_under_it() -> None:
    lab = promised(
        releases={"iris": IRIS, "other": IRIS},
        agreements={
            "standard": STANDARD,
            "own": {**OF_RELEASES, "covers": ["other"], "owner": None},
        },
    )

    told = {each.agreement: each for each in accounts(lab, FOUND, now=NOW)}

    assert told["standard"].releases == ("iris",)
    assert told["own"].releases == ("other",)
    assert told["own"].owner == lab.owner
    assert {row.release for row in told["own"].rows} == {"other", None}


def test_an_agreement_with_an_unknown_clause_is_not_called_kept() -> None:
    states = [True, None], [True, False, None], [True, True]
    told = [
        Account("a", "o", (), (), tuple(Row("c", "", kept=each) for each in kept))
        for kept in states
    ]

    assert [each.is_kept for each in told] == [None, False, True]


def answering(**parts: Any) -> Callable[[pytest.MonkeyPatch], None]:
    """Let nobody but those in `parts` be asked."""

    def fake(patch: pytest.MonkeyPatch) -> None:
        for name in ("_failed", "_made", "_drills", "_used"):
            patch.setattr(asking, name, parts.get(name, away))

    return fake


def away(*_: Any) -> Any:
    raise LabError("it is away")


def test_whoever_is_away_is_told_and_the_rest_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answering(_failed=lambda *_: {("iris", "latency"): 0.5})(monkeypatch)

    found = measured(promised(), {}, costs=lambda: {"standard": 1.0})

    assert found.failed == {("iris", "latency"): 0.5}
    assert found.costs == {"standard": 1.0}
    assert found.why == dict.fromkeys(("made", "drills", "used"), "it is away")


def test_nobody_is_asked_what_was_not_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    answering()(monkeypatch)

    assert measured(promised(agreements={"loose": {}}), {}) == Measured()


def test_shares_are_asked_of_prometheus_over_each_release_s_window() -> None:
    partner = Partner()
    for release, value in (("iris", 0.25), ("gone", 0.5)):
        partner.sample(
            1.0,
            value,
            __name__=asking.FAILED,
            release=release,
            objective="availability",
        )
    with served(partner):
        found = measured(
            promised(agreements={"own": {"objectives": {"availability": 0.99}}}),
            {"monitoring_url": partner.url},
        )

    assert found.failed == {("iris", "availability"): 0.25}
    assert "[15d]" in partner.got[0].replace("%5B", "[").replace("%5D", "]")


def test_a_prometheus_that_is_away_leaves_shares_unknown() -> None:
    lab = promised(agreements={"own": {"objectives": {"availability": 0.99}}})
    url = {"monitoring_url": "http://127.0.0.1:9"}

    assert "Prometheus is away" in measured(lab, url).why["failed"]
    assert "`lab up`" in measured(lab, {}).why["failed"]


def test_the_registry_says_how_old_a_model_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made = NOW - timedelta(days=3)
    stamp = int(made.timestamp() * 1000)
    answers: list[Mapping[str, Any]] = [
        {"model_version": {"creation_timestamp": str(stamp)}},
        {"model_version": {}},
    ]
    monkeypatch.setattr(
        "labfactory.releases.models.server.Server.ask", lambda *_, **__: answers.pop(0)
    )
    lab = promised(agreements={"own": {"objectives": {"freshness_days": 7}}})
    outputs = {"tracking_url": "http://registry"}

    assert measured(lab, outputs).made == {"iris": made}
    assert "made/iris" in measured(lab, outputs).why


def test_a_quota_is_compared_in_its_own_units() -> None:
    found = quota(
        {"requests.cpu": "1500m", "requests.memory": "3Gi", "pods": "4"},
        {"requests.cpu": "1", "requests.memory": "4096Mi"},
    )

    assert found == {"cpu": Used("1500m", False), "memory": Used("3Gi", True)}


def told() -> tuple[Account, ...]:
    return accounts(promised(), FOUND, now=NOW)


def test_the_screen_says_what_is_kept_broken_and_unknown() -> None:
    console = Console(width=160)
    with console.capture() as seen:
        console.print(shown.screen(told(), {"standard": CHANGE}))
    text = seen.get()

    assert "standard  promised by vision to shop, of iris" in text
    assert "changed on 2026-11-02 by vision: Promise more <of> it" in text
    assert {"kept", "broken", "unknown"} <= set(text.split())
    assert "-100 %" in text


def test_json_says_null_where_nothing_is_known() -> None:
    found = shown.tree("lab", told(), {"standard": CHANGE}, now=NOW)
    found = json.loads(json.dumps(found))
    [quality] = [
        row
        for row in found["agreements"]["standard"]["clauses"]
        if row["clause"] == "quality"
    ]

    assert (quality["kept"], quality["measured"], quality["left"]) == (None,) * 3
    assert quality["note"]
    assert found["agreements"]["standard"]["changed"]["day"] == "2026-11-02"


def test_the_page_needs_nothing_else_and_escapes_what_it_shows() -> None:
    evil = {**STANDARD, "consumers": ["<script>alert(1)</script>"]}
    lab = promised(agreements={"standard": evil})

    text = page("lab", accounts(lab, FOUND, now=NOW), {"standard": CHANGE}, now=NOW)

    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "more &lt;of&gt; it" in text
    assert "src=" not in text.replace("default-src", "")
    assert "http" not in text.replace("http-equiv", "")


def test_a_page_and_json_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="choose one of them"):
        shown.show("lab", json=True, html=tmp_path / "page.html")


def committed(path: Path, agreements: Mapping[str, Any], subject: str) -> None:
    lab = {"name": "lab", "agreements": agreements, "releases": {}}
    path.write_text(
        yaml.safe_dump({"config": {"labfactory:lab": lab}}, sort_keys=False)
    )
    git = ["git", "-C", str(path.parent), "-c", "user.name=vision"]
    git += ["-c", "user.email=vision@example.com", "-c", "commit.gpgsign=false"]
    for words in (["add", "."], ["commit", "-q", "-m", subject]):
        subprocess.run([*git, *words], check=True)


def test_an_agreement_s_history_is_that_of_its_own_lines(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.lab.yaml"
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    one, two = {"owner": "vision", "consumers": ["shop"]}, {"owner": "sales"}
    committed(path, {"one": one, "two": two}, "Both")
    committed(path, {"one": {**one, "owner": "sales"}, "two": two}, "The first")
    changed = {"one": {**one, "owner": "sales"}, "two": {"owner": "shop"}}
    committed(path, changed, "The second")
    path.write_text(f"# not committed\n\n\n{path.read_text()}")

    found = last_changes(path)

    assert {name: each.subject for name, each in found.items()} == {
        "one": "The first",
        "two": "The second",
    }
    assert found["one"].by == "vision"


def test_a_file_that_git_does_not_keep_has_no_history(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.lab.yaml"
    path.write_text("config: {}\n")

    assert last_changes(path) == {}
