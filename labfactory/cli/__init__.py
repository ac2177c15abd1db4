"""The `lab` command: verbs only; each hands over to one engine."""

from __future__ import annotations

import typer

from labfactory.cli import labs, operations, releases

# Engines are imported inside their verbs: `lab --help` answers in under a second.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Stand up a whole data lab with Pulumi, and release models in it.",
)
for part in (labs, releases, operations):
    app.registered_commands += part.app.registered_commands
    app.registered_groups += part.app.registered_groups


def main() -> None:
    """Run the command line; an error a person can act on is a sentence."""
    import sys

    from labfactory.errors import LabError

    try:
        app(prog_name="lab")
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except Exception as error:
        if type(error).__name__ != "SettingsError":
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted; the same command continues from here", file=sys.stderr)
        raise SystemExit(130) from None
