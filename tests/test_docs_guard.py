"""What docs/guard.md and docs/monitoring.md say is what the code has."""

from __future__ import annotations

import re
from math import log
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from components.alerts import rules
from labfactory.paths import PROJECT
from labfactory.releases.decisions.sequential import evidence, two_sample
from stacks.load import parse
from stacks.schema import LabConfig
from stacks.watching import GuardRules, MonitoringConfig
from tests.harness import example
from tests.test_docs import commands, understand
from tests.watching import WATCHED

PAGES = {
    name: (PROJECT / "docs" / f"{name}.md").read_text()
    for name in ("guard", "monitoring")
}
SETTINGS = [
    pytest.param(block, id=f"{name}-{number}")
    for name, page in PAGES.items()
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page, re.S))
]
COMMANDS = [
    words for page in PAGES.values() for words in commands(page, languages="sh|text")
]
DEFAULTS = re.findall(
    r"^\| `([a-z_.]+)` \| (\S+) \|",
    PAGES["guard"].partition("## The rules")[2].partition("##")[0],
    re.M,
)
OPTIONAL: dict[str, Any] = {"quality": {}, "drift": {}, "agreement": {}}


@pytest.mark.parametrize("text", SETTINGS)
def test_settings_in_the_docs_are_valid(text: str) -> None:
    said = yaml.safe_load(text)
    if not said.keys() <= LabConfig.model_fields.keys():
        said = {"releases": said, "monitoring": {}, "guard": {}}
    predictions = {"bucket": "predictions"}
    lab = example(**{"releases": {}, "predictions": predictions, **said})

    assert parse(lab, source="docs").monitoring


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_in_the_docs_is_one_that_lab_understands(words: list[str]) -> None:
    understand(words)


@pytest.mark.parametrize(("setting", "told"), DEFAULTS)
def test_a_default_in_the_docs_is_the_one_of_the_settings(
    setting: str, told: str
) -> None:
    found: Any = GuardRules.model_validate(OPTIONAL)
    for name in setting.split("."):
        found = getattr(found, name)

    shown = {None: "none", (): "none", True: "true", False: "false"}
    assert told.strip("`") == shown.get(found, str(found))


def test_every_rule_of_the_guard_stands_in_the_docs() -> None:
    named = {setting for setting, _ in DEFAULTS}

    assert set(leaves(GuardRules.model_validate(OPTIONAL))) == named


def leaves(section: BaseModel, before: str = "") -> list[str]:
    """Names of the settings that hold values, not sections."""
    found = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found += leaves(value, f"{before}{name}.")
        else:
            found.append(f"{before}{name}")
    return found


def test_the_alerts_in_the_docs_are_those_of_prometheus() -> None:
    told = dict(re.findall(r"^\| `([A-Z]\w+)` \| (\w+) \|", PAGES["monitoring"], re.M))
    found = rules(WATCHED, MonitoringConfig())

    all_ = [rule for group in found["groups"] for rule in group["rules"]]
    alerts = [rule for rule in all_ if "alert" in rule]
    assert told == {rule["alert"]: rule["labels"]["severity"] for rule in alerts}


def test_the_series_in_the_docs_are_recorded() -> None:
    told = re.findall(r"`([a-z]+:[a-z_0-9:]+|lab:[a-z_]+)`", PAGES["monitoring"])
    found = rules(WATCHED, MonitoringConfig())

    recorded = {
        rule["record"]
        for group in found["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    assert len(told) >= 8
    assert {*told} <= recorded


def test_the_alarms_in_the_docs_are_those_that_the_guard_raises() -> None:
    told = set(re.findall(r"^\| `([A-Z]\w+)` \|", PAGES["guard"], re.M))
    folders = [
        PROJECT / "labfactory" / each for each in ("guard", "releases/decisions")
    ]
    code = "".join(path.read_text() for each in folders for path in each.glob("*.py"))

    raised = {*re.findall(r'Alarm\(\s*"([A-Z]\w+)"', code)}
    raised |= {*re.findall(r'"((?:Guard|Release|Model)[A-Z]\w+)"', code)}

    assert told == raised


HALF = 50
"""Requests of each variant in a look: 20 a second, shared in halves, for 5 seconds."""
TESTS = 4
"""Tests that the default rules have."""


def requests_until_noticed(share: float, worse: float) -> int:
    """Requests of the candidate until the evidence suffices, data being as expected."""
    most = log(2 * TESTS / GuardRules().false_alarm)
    logs: list[float] = []
    look = 0
    while evidence(logs) < most:
        good, bad = (HALF, HALF * share), (HALF, HALF * worse)
        logs = two_sample(logs, bad, good, share, look=look)
        look += 1
    return look * HALF


def test_the_requests_in_the_docs_are_what_the_engine_needs() -> None:
    table = PAGES["guard"].partition("<!-- power")[2].partition("<!-- /power")[0]
    told = re.findall(r"^\| ([\d.]+) % \| ([\d.]+) % \| ([\d,]+) \|", table, re.M)

    assert len(told) >= 8
    assert told == [
        (share, worse, f"{requests_until_noticed(percent(share), percent(worse)):,}")
        for share, worse, _ in told
    ]


def percent(text: str) -> float:
    return float(text) / 100
