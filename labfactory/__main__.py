"""Run the `lab` command."""

import signal

# Whoever interrupts while modules are read is not shown where they were read.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from labfactory.cli import main  # noqa: E402

signal.signal(signal.SIGINT, signal.default_int_handler)
main()
