"""Verbs about a lab as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from labfactory.cli.words import Lab

app = typer.Typer()


@app.command()
def demo() -> None:
    """Stand up a lab on this machine, train and release two models, predict."""
    from labfactory.demo import run

    run()


@app.command("test")
def run_tests(
    fast: Annotated[
        bool, typer.Option("--fast", help="The unit tests alone; no cluster.")
    ] = False,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Passed on to pytest.")
    ] = None,
) -> None:
    """Set up what is missing and run every test."""
    from labfactory.testing import run

    raise typer.Exit(run(fast=fast, arguments=arguments or []))


@app.command()
def doctor() -> None:
    """Say what this machine has, what will be installed, and what is in the way."""
    from labfactory.doctor import examine, report

    raise typer.Exit(report(examine()))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the lab: its Pulumi stack.")],
    owner: Annotated[
        str | None, typer.Option(help="Team that pays for the lab.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="embedded or existing.")] = None,
    context: Annotated[
        str | None, typer.Option(help="kubeconfig context of an existing cluster.")
    ] = None,
    registry: Annotated[
        str | None, typer.Option(help="Registry with the lab's images.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option(help="NAMESPACE/NAME of a shared gateway.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="S3 endpoint that exists; MinIO if none.")
    ] = None,
    capacity: Annotated[str, typer.Option(help="Size of MinIO's volume.")] = "20Gi",
) -> None:
    """Write the settings of a new lab; asks for what is not given."""
    from labfactory.labs import new_lab

    new_lab(
        name,
        owner=owner,
        target=target,
        context=context,
        registry=registry,
        gateway=gateway,
        endpoint=endpoint,
        capacity=capacity,
    )


@app.command()
def up(name: Lab = "demo") -> None:
    """Start the lab's cluster where it is ours, then `pulumi up`."""
    from labfactory.labs import stand_up

    stand_up(name)


@app.command()
def down(
    name: Lab = "demo",
    purge: Annotated[
        bool, typer.Option("--purge", help="Also delete all data of the lab.")
    ] = False,
) -> None:
    """Stop the lab's embedded cluster; its data stays unless purged."""
    from labfactory.labs import take_down

    take_down(name, purge=purge)


@app.command()
def env() -> None:
    """Print what plain `pulumi` and `kubectl` need: eval "$(./lab env)"."""
    from labfactory.environment import shell_lines

    typer.echo(shell_lines())


@app.command()
def images(
    registry: Annotated[str, typer.Argument(help="Registry to push to.")],
) -> None:
    """Build the lab's images and push them, for a cluster that exists already."""
    from labfactory.labs import push_images

    push_images(registry)


@app.command()
def bench(
    figures: Annotated[
        list[str] | None, typer.Argument(help="Figures to measure; all if none.")
    ] = None,
) -> None:
    """Measure speed and size against floors in the same run; save the figures."""
    from labfactory.bench import run

    run(figures or [])
