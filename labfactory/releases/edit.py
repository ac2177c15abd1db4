"""Release a model version: judge it, pin it, write it into the settings."""

from __future__ import annotations

import sys

from labfactory import labs
from labfactory.errors import LabError
from labfactory.releases import changes
from labfactory.releases.models.candidate import Admitted, admit, publish
from labfactory.releases.models.registry import Registry
from labfactory.settings import history
from labfactory.settings.edit import edit
from labfactory.stack import Stack
from stacks.load import read
from stacks.schema import LabConfig


def write_release(
    lab: str,
    model: str,
    version: str,
    *,
    name: str | None = None,
    traffic: int = 0,
    mirror: int | None = None,
    accept_breaking: str | None = None,
    push: bool = False,
) -> bool:
    """Write `version` of `model`, pinned by its digest, into the settings of `lab`.

    The release is called `name`, else like the model. Its first version is stable; a
    later one is a candidate with `traffic` per cent, or a shadow of `mirror` per cent.
    Its card is put beside it. Nothing is applied. Returns False when the release has
    that version already. Raises LabError when the registry has no such version, when
    its run does not say what a release must, or when it breaks the contract of the
    stable variant and nobody accepts that.
    """
    stack = Stack(lab)
    settings = read(stack.file)
    release = name or model
    registry = Registry(
        labs.outputs(stack)["tracking_url"], bucket=settings.tracking.bucket
    )
    admitted = admit(
        registry,
        model,
        version,
        stable=_stable(settings, release, model),
        owner=settings.owner,
    )
    found = admitted.found
    present = settings.releases.get(release)
    if present and any(
        variant.version == found.version for variant in present.variants.values()
    ):
        return False
    _contract_allows(release, admitted, accept_breaking)
    change = edit(
        stack.file,
        lambda tree: changes.add(
            tree,
            release,
            f"v{found.version}",
            {
                "version": found.version,
                "artifact": found.artifact,
                "digest": found.digest,
            },
            traffic=traffic,
            mirror=mirror,
            accept_breaking=accept_breaking,
        ),
    )
    publish(registry, admitted)
    change.write()
    kept = history.kept(
        stack.file,
        subject=f"Release {release} v{found.version}",
        reason=accept_breaking,
        evidence={"Digest": found.digest, "Run": found.run_id},
        push=push,
    )
    print(kept, file=sys.stderr)
    return True


def _stable(settings: LabConfig, release: str, model: str) -> tuple[str, str] | None:
    """Model and version that answer now; None when there is nothing to compare with."""
    present = settings.releases.get(release)
    if not present:
        return None
    version = present.variants[present.stable()].version
    return (model, str(version)) if version else None


def _contract_allows(
    release: str, admitted: Admitted, accept_breaking: str | None
) -> None:
    difference = admitted.difference
    if difference and difference.kind == "breaking" and not accept_breaking:
        raise LabError(
            f"release {release!r}: version {admitted.found.version} breaks the "
            f"contract of the stable variant ({'; '.join(difference.columns)}); "
            "release it under a new name (--as NAME), or say why its callers can "
            "live with it (--accept-breaking REASON)"
        )
