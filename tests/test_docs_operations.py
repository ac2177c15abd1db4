"""What docs/operations.md and docs/ci.md tell whoever is on call is so."""

from __future__ import annotations

import re

import pytest
import yaml

from components.alerts import rules
from labfactory.paths import PROJECT
from policies.rules import RULES
from stacks.load import parse
from stacks.schema import LabConfig
from stacks.watching import MonitoringConfig
from tests.harness import example
from tests.test_docs import commands, understand
from tests.watching import WATCHED

DOCS = PROJECT / "docs"
PAGES = {name: (DOCS / f"{name}.md").read_text() for name in ("operations", "ci")}
OPERATIONS = PAGES["operations"]
BLOCKS = [
    pytest.param(block, id=f"{name}-{number}")
    for name, page in PAGES.items()
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page, re.S))
    if yaml.safe_load(block).keys() <= LabConfig.model_fields.keys()
]
COMMANDS = [words for page in PAGES.values() for words in commands(page)]
INLINE = re.findall(r"`\.?/?lab ([a-z][^`]*)`", " ".join(OPERATIONS.split()))
NIGHT = OPERATIONS.partition("## At night")[2].partition("\n## ")[0]
LINKS = [
    pytest.param(name, link, id=f"{name}-{link}")
    for name, page in PAGES.items()
    for link in dict.fromkeys(re.findall(r"\]\((?!http)([^)]+)\)", page))
]


def severities() -> dict[str, str]:
    """How urgent each alert of a lab is that has everything."""
    found = rules(WATCHED, MonitoringConfig())
    all_ = [rule for group in found["groups"] for rule in group["rules"]]
    return {
        rule["alert"]: rule["labels"]["severity"] for rule in all_ if "alert" in rule
    }


def told(table: str) -> set[str]:
    """The alerts that the first column of a table names."""
    first = re.findall(r"^\| (`[^|]+) \|", table, re.M)
    return {name for cell in first for name in re.findall(r"`([A-Z]\w+)`", cell)}


@pytest.mark.parametrize("text", BLOCKS)
def test_settings_in_the_docs_are_valid(text: str) -> None:
    said = yaml.safe_load(text)

    assert parse(example(**said), source="docs")


@pytest.mark.parametrize("text", BLOCKS)
def test_a_rule_in_the_docs_is_one_that_there_is(text: str) -> None:
    assert {*yaml.safe_load(text).get("policies", {})} <= {*RULES}


def test_every_section_of_what_is_promised_is_shown() -> None:
    shown = {key for each in BLOCKS for key in yaml.safe_load(str(each.values[0]))}

    assert shown == {"agreements", "costs", "backups", "policies"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_in_the_docs_is_one_that_lab_understands(words: list[str]) -> None:
    understand(words)


@pytest.mark.parametrize("text", dict.fromkeys(INLINE))
def test_a_command_in_a_sentence_is_one_that_lab_understands(text: str) -> None:
    words = [word.strip('"') for word in text.split()]
    if words == ["rollback"]:
        words = ["rollback", "RELEASE", "--because", "…"]
    if words[-1] == "--purge":
        words.insert(1, "LAB")

    understand(words)


def test_everything_that_wakes_somebody_up_is_told_with_what_to_do() -> None:
    night, _, morning = NIGHT.partition("wait until the morning")
    found = severities()

    assert told(night) == {name for name, urgent in found.items() if urgent == "page"}
    assert {found[name] for name in told(morning)} == {"ticket"}


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_a_link_leads_somewhere(page: str, link: str) -> None:
    file, _, heading = link.partition("#")
    text = (DOCS / (file or f"{page}.md")).read_text()

    headings = re.findall(r"^#+ (.+)$", text, re.M)
    anchors = {re.sub(r"[^\w -]", "", each).lower() for each in headings}
    assert not heading or heading in {each.replace(" ", "-") for each in anchors}
