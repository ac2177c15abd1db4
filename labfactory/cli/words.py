"""Words that several verbs take."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT = "LABFACTORY_LAB"
"""Variable with the name of the lab that is meant when none is given."""
Lab = Annotated[
    str,
    typer.Argument(help="Name of the lab: its Pulumi stack.", envvar=DEFAULT),
]
InLab = Annotated[str, typer.Option("--lab", help="Name of the lab.", envvar=DEFAULT)]
Release = Annotated[str, typer.Argument(help="Name of the release.")]
Push = Annotated[
    bool, typer.Option("--push", help="Push the commit to a branch of its own.")
]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
NoWayBack = Annotated[
    str | None, typer.Option(help="Why a change that can't be taken back is right.")
]
