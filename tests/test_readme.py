"""What the README says is so."""

import re
import shlex

import pytest
import typer

from labfactory.cli import app
from labfactory.paths import PROJECT
from labfactory.settings import table

README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.S)
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for block in BLOCKS
    for line in block.splitlines()
    if line.startswith("./lab ")
]


def test_the_table_of_settings_is_the_one_of_the_schema() -> None:
    page = table.PAGE.read_text()

    assert table.filled(page) == page


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_of_the_readme_is_one_that_lab_understands(words: list[str]) -> None:
    verb, *arguments = words
    group = typer.main.get_command(app)
    command = group.commands[verb]  # type: ignore[attr-defined]

    command.make_context(verb, [*arguments])  # raises on what it does not know


def test_every_verb_stands_in_the_readme() -> None:
    verbs = {command.name for command in typer.main.get_command(app).commands.values()}  # type: ignore[attr-defined]

    assert {verb for verb in verbs if f"lab {verb}" not in README} == set()


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http|#)([^)]+)\)", README))
def test_what_the_readme_links_to_is_there(link: str) -> None:
    assert (PROJECT / link).exists()
