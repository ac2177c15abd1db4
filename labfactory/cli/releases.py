"""Verbs about releases."""

from __future__ import annotations

from typing import Annotated

import typer

from labfactory.cli.words import DEFAULT, InLab, Json, Lab, NoWayBack, Push, Release

app = typer.Typer()


@app.command()
def release(
    model: Annotated[str, typer.Argument(help="Registered model.")],
    version: Annotated[str, typer.Argument(help="Version number or alias.")],
    lab: InLab = "demo",
    name: Annotated[
        str | None, typer.Option("--as", help="Name of the release; the model's own.")
    ] = None,
    traffic: Annotated[
        int, typer.Option(min=0, max=100, help="Per cent of the requests it gets.")
    ] = 0,
    shadow: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Per cent of the requests copied to it."),
    ] = None,
    accept_breaking: Annotated[
        str | None, typer.Option(help="Why its callers can live with a new contract.")
    ] = None,
    push: Push = False,
) -> None:
    """Write a model version, its digest and its card into the lab; show the plan."""
    from labfactory.releases.edit import write_release
    from labfactory.releases.planning.shown import show

    written = write_release(
        lab,
        model,
        version,
        name=name,
        traffic=traffic,
        mirror=shadow,
        accept_breaking=accept_breaking,
        push=push,
    )
    if not written:
        typer.echo(f"{name or model} has this version already")
        return
    code = show(lab)
    typer.echo(f"written; `lab up {lab}` or `pulumi up` applies it")
    raise typer.Exit(1 if code == 1 else 0)


@app.command()
def plan(
    lab: Lab = "demo",
    markdown: Annotated[
        bool, typer.Option("--markdown", help="As Markdown, for a pull request.")
    ] = False,
    json: Json = False,
    lose: Annotated[
        list[str] | None, typer.Option(help="KIND/NAME that may go, with its data.")
    ] = None,
    no_way_back: NoWayBack = None,
) -> None:
    """Say what `lab up` would change; exit with 0 nothing, 1 refused, 2 changes."""
    from labfactory.releases.planning.shown import Form, show

    form: Form = "markdown" if markdown else "json" if json else "terminal"
    raise typer.Exit(show(lab, form=form, lose=lose or (), no_way_back=no_way_back))


@app.command()
def promote(
    release: Release,
    variant: Annotated[
        str | None, typer.Argument(help="Candidate; needed where there are several.")
    ] = None,
    lab: InLab = "demo",
    no_way_back: NoWayBack = None,
    push: Push = False,
) -> None:
    """Make a candidate the stable variant; the old one stays warm to go back to."""
    from labfactory.releases import changes
    from labfactory.releases.planning.apply import change

    change(
        lab,
        lambda tree: changes.promote(tree, release, variant),
        f"Promote {release}" + (f" {variant}" if variant else ""),
        no_way_back=no_way_back,
        push=push,
    )


@app.command()
def traffic(
    release: Release,
    shares: Annotated[
        list[str], typer.Argument(help="VARIANT=PERCENT; the stable one gets the rest.")
    ],
    lab: InLab = "demo",
    push: Push = False,
) -> None:
    """Give candidates other shares of the requests."""
    from labfactory.releases import changes
    from labfactory.releases.planning.apply import change

    weights = changes.weights(shares)
    change(
        lab,
        lambda tree: changes.weigh(tree, release, weights),
        f"Send {', '.join(shares)} per cent of {release}'s requests",
        push=push,
    )


@app.command()
def rollback(
    release: Release,
    because: Annotated[str, typer.Option(help="The reason, for whoever reads it.")],
    variant: Annotated[
        str | None, typer.Argument(help="What to take back; all that is new if none.")
    ] = None,
    lab: InLab = "demo",
    push: Push = False,
) -> None:
    """Send all requests to what was good, at once; write that down and apply it."""
    from labfactory.releases.rollback import roll_back

    found = roll_back(lab, release, because=because, variant=variant, push=push)
    taken = ", ".join(found.verdict.rejected)
    typer.echo(f"{release}: {found.stable} answers, {taken} was taken back")
    typer.echo(found.kept)

    from labfactory.labs import stand_up

    stand_up(lab, rescue=True)


@app.command()
def retire(
    release: Release,
    variant: Annotated[str, typer.Argument(help="Variant that is no longer needed.")],
    lab: InLab = "demo",
    no_way_back: NoWayBack = None,
    push: Push = False,
) -> None:
    """Take a variant that gets no requests out of the lab."""
    from labfactory.releases import changes
    from labfactory.releases.planning.apply import change

    change(
        lab,
        lambda tree: changes.retire(tree, release, variant),
        f"Retire {release} {variant}",
        no_way_back=no_way_back,
        push=push,
    )


@app.command()
def status(
    lab: Lab = "demo",
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds.")
    ] = False,
    json: Json = False,
) -> None:
    """Show each release, what the guard thinks of it, alerts, and what is half done."""
    from labfactory.releases.status import show

    show(lab, json=json, watch=watch)


@app.command()
def sync(
    lab: Lab = "demo",
    push: Push = False,
    apply: Annotated[
        bool, typer.Option("--apply/--no-apply", help="Apply it, too.")
    ] = False,
) -> None:
    """Write what the guard has done into the settings; exit with 2 if it did anything.

    Exits with 0 when there was nothing to write, with 1 when a person has to.
    """
    from labfactory.releases.sync import show

    raise typer.Exit(show(lab, push=push, apply=apply))


@app.command()
def feedback(
    release: Release,
    file: Annotated[str, typer.Argument(help="CSV of request_id,label.")],
    lab: InLab = "demo",
) -> None:
    """Post what was right, so that the guard knows how good predictions were."""
    from labfactory.releases.feedback import post

    post(lab, release, file)


@app.command()
def simulate(
    release: Annotated[str, typer.Argument(help="Release of the lab.")] = "example",
    trace: Annotated[
        str, typer.Option(help="Built-in trace, or a file of one that was recorded.")
    ] = "step-fault",
    record: Annotated[
        float | None,
        typer.Option(help="Hours to write from the lab into the trace's file first."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Other chances.")] = 0,
    lab: Annotated[
        str | None,
        typer.Option("--lab", help="Lab whose rules it goes by.", envvar=DEFAULT),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Beside Flagger's and Argo Rollouts' rules.")
    ] = False,
) -> None:
    """Tell what the guard would do with a candidate that behaves like a trace."""
    from labfactory.releases.simulation.simulate import show

    show(
        lab,
        release,
        trace=trace,
        seed=seed,
        json=json,
        table=table,
        record=record,
    )


@app.command()
def compare(
    release: Release,
    lab: InLab = "demo",
    hours: Annotated[float, typer.Option(help="How far back to look.")] = 1,
    labels: Annotated[
        str | None, typer.Option(help="CSV of request_id,label: the right answers.")
    ] = None,
    cpu_hour: Annotated[
        float, typer.Option(help="Price of a core for an hour.")
    ] = 0.04,
    gib_hour: Annotated[
        float, typer.Option(help="Price of a GiB of memory for an hour.")
    ] = 0.005,
    json: Json = False,
) -> None:
    """Compare variants by what they answered: agreement, latency, errors, cost."""
    from labfactory.releases.comparison.compare import show

    show(
        lab,
        release,
        hours=hours,
        labels=labels,
        cpu_hour=cpu_hour,
        gib_hour=gib_hour,
        json=json,
    )


@app.command()
def batch(
    release: Release,
    input: Annotated[str, typer.Argument(help="s3://BUCKET/FILE, or a folder.")],
    output: Annotated[str, typer.Argument(help="s3://BUCKET/FOLDER for the answers.")],
    lab: InLab = "demo",
    variant: Annotated[
        str | None, typer.Option(help="Variant that predicts; the stable one.")
    ] = None,
    parallelism: Annotated[
        int, typer.Option(min=1, max=64, help="Workers that share the input.")
    ] = 1,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start it and do not wait.")
    ] = False,
) -> None:
    """Predict over files of the store, with the model that the release serves."""
    from labfactory.releases.batch import run

    run(
        lab,
        release,
        input,
        output,
        variant=variant,
        parallelism=parallelism,
        detach=detach,
    )
