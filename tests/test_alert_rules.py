from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import alerts, state_metrics
from components.watched import Watched
from tests.harness import ROOT
from tests.watching import BARE, MONITORING, WATCHED, releases, run

CASES = sorted((ROOT / "tests" / "alerts").glob("*.yaml"))
ALWAYS = "Watchdog"
"""The alert that nothing silences."""


def rules(watched: Watched = WATCHED) -> dict[str, Any]:
    return alerts.rules(watched, MONITORING)


def ruled(**guard: Any) -> Watched:
    return replace(WATCHED, releases=releases(**guard))


def flat(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in tree["groups"] for rule in group["rules"]]


def named(tree: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in flat(tree) if "alert" in rule}


def write(tree: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


@pytest.mark.parametrize("path", CASES, ids=lambda path: str(path.stem))
def test_alerts_fire_when_they_should_and_only_then(path: Path, tmp_path: Path) -> None:
    tree = rules()
    if path.stem != "days":
        tree["groups"] = [each for each in tree["groups"] if each["name"] == path.stem]
    for rule in flat(tree):
        # promtool compares their text too; `test_everybody_is_told…` is about it.
        rule.pop("annotations", None)
    write(tree, tmp_path / "rules.yaml")
    case = tmp_path / path.name
    case.write_text(path.read_text())

    assert "SUCCESS" in run("promtool", "test", "rules", case)


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_must_not() -> (
    None
):
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case["alert_rule_test"]:
                seen[bool(check["exp_alerts"])].add(check["alertname"])
                assert case["name"].startswith(f"{check['alertname']} ")

    known = set(named(rules()))
    assert seen[True] == known
    assert seen[False] == known - {ALWAYS}


@pytest.mark.parametrize("watched", [WATCHED, BARE], ids=lambda each: each.lab)
def test_prometheus_takes_the_rules_of_every_kind_of_lab(
    watched: Watched, tmp_path: Path
) -> None:
    run("promtool", "check", "rules", write(rules(watched), tmp_path / "rules.yaml"))


def test_everybody_is_told_what_is_wrong_why_it_matters_and_the_way_out() -> None:
    for name, rule in named(rules()).items():
        told = rule["annotations"]
        assert set(told) == {"summary", "description", "do"}, name
        assert all(told.values()), name
        assert "NAMESPACE" not in told["do"], name
        assert rule["labels"]["severity"] in ("page", "ticket", "none"), name
        assert rule["labels"]["lab"] == "example", name


def test_an_alert_of_a_release_says_which_variant_it_is_about() -> None:
    told = named(rules())["ReleaseErrors"]["annotations"]

    assert told["summary"].startswith("{{ $labels.release }} ({{ $labels.variant }})")
    assert "lab rollback iris" in told["do"]


def test_a_release_has_the_limits_that_it_sets_and_no_others() -> None:
    found = named(rules(ruled(errors={"at_most": None})))

    assert "ReleaseErrors" not in found
    assert "ReleaseSlow" not in found
    strict = rules(ruled(errors={"at_most": 0.01}))
    assert "> 0.01\n" in named(strict)["ReleaseErrors"]["expr"]


def test_nobody_is_told_of_parts_that_the_lab_does_not_have() -> None:
    bare = replace(BARE, releases=WATCHED.releases)
    gone = set(named(rules())) - set(named(rules(bare)))

    assert gone == {
        "BackupFailed",
        "BackupLate",
        "BudgetForecast",
        "BudgetSpent",
        "DeadlineNear",
        "DeadlinePassed",
        "DrillFailed",
        "DrillLate",
        "ErrorBudgetBurnsFast",
        "ErrorBudgetBurnsSlowly",
        "ErrorBudgetUsedUp",
        "FeedbackUnknown",
        "GuardHolding",
        "GuardSilent",
        "ModelTooOld",
        "StorageAlmostFull",
        "StorageDown",
    }


def test_a_lab_without_releases_is_watched_too() -> None:
    found = named(rules(replace(WATCHED, releases={})))

    assert "GatewayDown" in found
    assert "ReleaseErrors" not in found


def test_every_object_that_an_alert_asks_for_is_told_by_kubernetes() -> None:
    asked = {
        name
        for rule in flat(rules())
        for name in re.findall(r"\bkube_[a-z_]+", rule["expr"])
    }

    assert asked == set(state_metrics.SERIES)
