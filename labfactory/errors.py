"""The one exception a person is meant to read."""


class LabError(Exception):
    """Something the user can act on: where, what is wrong, what to do about it.

    The command line prints the message alone, without a traceback, and exits with 1.
    """
