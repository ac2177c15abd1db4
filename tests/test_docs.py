"""What docs/releases.md shows is so: its settings load, its commands exist."""

from __future__ import annotations

import re
import shlex

import pytest
import typer
import yaml

from labfactory.cli import app
from labfactory.paths import PROJECT
from stacks.load import parse
from tests.harness import example

PAGE = (PROJECT / "docs" / "releases.md").read_text()
SETTINGS = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
COMMANDS = [
    shlex.split(line.partition(" || ")[0].partition(" > ")[0], comments=True)[1:]
    for block in SHELL
    for line in block.splitlines()
    if line.startswith("./lab ")
]


@pytest.mark.parametrize("text", SETTINGS, ids=lambda text: text.split("\n")[-2][:30])
def test_settings_in_the_docs_are_valid(text: str) -> None:
    predictions = {"bucket": "predictions"}
    lab = example(releases=yaml.safe_load(text), predictions=predictions)

    assert parse(lab, source="docs/releases.md").releases


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_in_the_docs_is_one_that_lab_understands(words: list[str]) -> None:
    verb, *arguments = words
    group = typer.main.get_command(app)
    command = group.commands[verb]  # type: ignore[attr-defined]

    command.make_context(verb, [*arguments])  # raises on what it does not know
