"""Verbs about what a lab promises: agreements, costs, backups, policies, inventory."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from labfactory.cli.words import Json, Lab

app = typer.Typer()
backup = typer.Typer(
    no_args_is_help=True, help="Copy a lab, or say which copies there are."
)
drill = typer.Typer(no_args_is_help=True, help="Rehearse a restore, with proof.")
app.add_typer(backup, name="backup")
app.add_typer(drill, name="drill")
Html = Annotated[Path | None, typer.Option(help="Write a page that a browser shows.")]


@app.command()
def agreements(lab: Lab = "demo", json: Json = False, html: Html = None) -> None:
    """Show what was promised beside what is measured, and how much room is left."""
    from labfactory.agreements.shown import show

    show(lab, json=json, html=html)


@app.command()
def costs(lab: Lab = "demo", json: Json = False) -> None:
    """Show what was spent this month, what it will be, and where it goes."""
    from labfactory.costs.shown import show

    show(lab, as_json=json)


@backup.command("now")
def backup_now(lab: Lab = "demo") -> None:
    """Copy everything that could not be made again to the second store."""
    from labfactory.backups.jobs import back_up
    from labfactory.backups.shown import line

    typer.echo(line(back_up(lab)))


@backup.command("list")
def backup_list(lab: Lab = "demo", json: Json = False) -> None:
    """List the backups, the newest last."""
    from labfactory.backups.shown import show_backups

    show_backups(lab, json=json)


@backup.command("check")
def backup_check(lab: Lab = "demo") -> None:
    """Read every byte of the copies and compare it with its checksum."""
    from labfactory.backups.jobs import check

    check(lab)
    typer.echo("every byte of the copies is what it was")


@backup.command("key")
def backup_key(
    lab: Lab = "demo",
    yes: Annotated[
        bool, typer.Option("--yes", help="Print it although this is no terminal.")
    ] = False,
) -> None:
    """Print what opens the copies without this lab: keep it in a safe."""
    from labfactory.backups.key import show

    show(lab, yes=yes)


@drill.command("now")
def drill_now(lab: Lab = "demo") -> None:
    """Restore the newest backup into an empty place, and prove that it is all there."""
    from labfactory.backups.jobs import rehearse
    from labfactory.backups.shown import drill_line

    typer.echo(drill_line(rehearse(lab)))


@drill.command("list")
def drill_list(lab: Lab = "demo", json: Json = False) -> None:
    """List the drills, with measured RPO and RTO beside what was promised."""
    from labfactory.backups.shown import show_drills

    show_drills(lab, json=json)


@app.command()
def restore(
    source: Annotated[str, typer.Argument(help="Lab whose backup is taken.")],
    to: Annotated[str, typer.Option(help="Lab that is empty; it may be the same one.")],
    at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"],
            help="The newest backup before that time, in UTC; the newest of all.",
        ),
    ] = None,
    over: Annotated[
        str | None, typer.Option(help="Name of a lab that lives and is overwritten.")
    ] = None,
) -> None:
    """Bring a lab back from its backup, and prove that it is all there."""
    from labfactory.backups.restore import restore

    restore(source, to=to, at=at, over=over)


@app.command()
def check(
    stacks: Annotated[
        list[str] | None, typer.Argument(help="Labs; all that are committed if none.")
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option(help="Write the findings as SARIF.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="Write the findings as JUnit XML.")
    ] = None,
) -> None:
    """Hold labs against the policies, without a cluster; exit with 1 on a breach."""
    from labfactory.check import show

    raise typer.Exit(show(stacks or (), sarif=sarif, junit=junit))


@app.command()
def inventory(
    lab: Lab = "demo",
    json: Json = False,
    csv: Annotated[Path | None, typer.Option(help="Write it as CSV.")] = None,
    html: Html = None,
) -> None:
    """List everything that a lab has."""
    from labfactory.inventory.shown import show

    show(lab, json=json, csv=csv, html=html)
