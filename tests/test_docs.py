"""What docs/releases.md shows is so: its settings load, its commands exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import pytest
import typer
import yaml
from typer.core import TyperGroup

from labfactory.cli import app
from labfactory.paths import PROJECT
from stacks.load import parse
from tests.harness import example


def commands(page: str, *, languages: str = "sh") -> list[list[str]]:
    """The words of each line for `./lab` in the blocks of a page."""
    return [
        shlex.split(line.partition(" || ")[0].partition(" > ")[0], comments=True)[1:]
        for block in re.findall(rf"```(?:{languages})\n(.*?)```", page, re.S)
        for line in block.splitlines()
        if line.startswith("./lab ")
    ]


def understand(words: Sequence[str]) -> None:
    """Raise what `lab` raises on a verb, an argument or an option it does not know."""
    command, name = typer.main.get_command(app), "lab"
    while isinstance(command, TyperGroup):
        name, *words = words
        command = command.commands[name]
    command.make_context(name, [*words])


PAGE = (PROJECT / "docs" / "releases.md").read_text()
SETTINGS = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("text", SETTINGS, ids=lambda text: text.split("\n")[-2][:30])
def test_settings_in_the_docs_are_valid(text: str) -> None:
    predictions = {"bucket": "predictions"}
    lab = example(releases=yaml.safe_load(text), predictions=predictions)

    assert parse(lab, source="docs/releases.md").releases


@pytest.mark.parametrize("words", commands(PAGE), ids=" ".join)
def test_a_command_in_the_docs_is_one_that_lab_understands(words: list[str]) -> None:
    understand(words)


def test_what_lab_does_not_know_is_found_in_a_page() -> None:
    page = "```sh\n./lab backup sometimes\n./lab costs --dear || true\n```\n"

    [verb, option] = commands(page)

    with pytest.raises(KeyError, match="sometimes"):
        understand(verb)
    with pytest.raises(Exception, match="--dear"):
        understand(option)
