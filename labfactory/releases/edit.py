"""Release a model version: resolve it in the registry, write it into the settings."""

from __future__ import annotations

import sys

from labfactory import labs
from labfactory.releases.registry import Registry
from labfactory.settings.edit import set_variant
from labfactory.stack import Stack
from stacks.load import read


def write_release(lab: str, model: str, version: str) -> None:
    """Write `version` of `model`, pinned by its digest, into the settings of `lab`.

    Nothing is applied: `lab up` or `pulumi up` does that. Raises LabError when the
    registry has no such version or its artifact is gone.
    """
    stack = Stack(lab)
    settings = read(stack.file)
    registry = Registry(
        labs.outputs(stack)["tracking_url"], bucket=settings.tracking.bucket
    )
    found = registry.resolve(model, version)
    changed = set_variant(
        stack.file,
        model,
        f"v{found.version}",
        version=found.version,
        artifact=found.artifact,
        digest=found.digest,
    )
    what = f"{stack.file.name}: {model} is at version {found.version}"
    if changed:
        what += f" now ({found.digest[:19]}…)"
    print(what, file=sys.stderr)
