"""What the README says is so."""

import re

import pytest
import typer

from labfactory.cli import app
from labfactory.paths import PROJECT
from labfactory.settings import table
from tests.test_docs import commands, understand

README = (PROJECT / "README.md").read_text()


def test_the_table_of_settings_is_the_one_of_the_schema() -> None:
    page = table.PAGE.read_text()

    assert table.filled(page) == page


@pytest.mark.parametrize("words", commands(README), ids=" ".join)
def test_a_command_of_the_readme_is_one_that_lab_understands(words: list[str]) -> None:
    understand(words)


def test_every_verb_stands_in_the_readme() -> None:
    verbs = {command.name for command in typer.main.get_command(app).commands.values()}  # type: ignore[attr-defined]

    assert {verb for verb in verbs if f"lab {verb}" not in README} == set()


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http|#)([^)]+)\)", README))
def test_what_the_readme_links_to_is_there(link: str) -> None:
    assert (PROJECT / link).exists()
