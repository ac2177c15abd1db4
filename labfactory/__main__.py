"""Run the `lab` command."""

from labfactory.cli import main

main()
