"""What a stack's program declares, without a cluster and without Pulumi's engine."""

from __future__ import annotations

import json
import subprocess
import sys

from labfactory.errors import LabError
from labfactory.paths import PROJECT
from policies.rules.lab import Resource

LONGEST = 120
"""Seconds after which the program hangs."""


def declared(stack: str) -> tuple[Resource, ...]:
    """The resources of a stack, with made-up secrets: the same at each call.

    Its settings have to be readable. Raises LabError when the program fails.
    """
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "labfactory.check.program", stack],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
        )
    except subprocess.TimeoutExpired:
        raise LabError(
            f"stack {stack!r}: the program did not end within {LONGEST} s; look for "
            "what it waits for"
        ) from None
    if ran.returncode != 0:
        last = (ran.stderr.strip().splitlines() or ["no output"])[-1]
        raise LabError(
            f"stack {stack!r}: the program failed ({last}); run `python -m "
            f"labfactory.check.program {stack}` for all of it"
        )
    return tuple(
        Resource(**{**each, "after": tuple(each["after"])})
        for each in json.loads(ran.stdout)
    )
