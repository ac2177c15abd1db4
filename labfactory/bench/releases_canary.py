"""The release that is measured: two versions of the classifier behind one route."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from labfactory import paths
from labfactory.bench.ground import NAME, Ground, first_answer
from labfactory.bench.kubectl import Kubectl
from labfactory.bench.load import Target
from labfactory.bench.release import MODEL, rows_of
from labfactory.demo.story import only
from labfactory.errors import LabError
from labfactory.releases import changes
from labfactory.releases.models.registry import ModelVersion
from labfactory.settings.edit import Edit, edit
from model_templates import host, service_name
from model_templates.routes import rules
from stacks.schema import ReleaseConfig

OLD, NEW = "v1", "v2"
"""The stable variant, and the one that comes and goes."""
ANSWERS_OLD, ANSWERS_NEW = service_name(MODEL, OLD), service_name(MODEL, NEW)

Tree = Mapping[str, Any]
Operation = Callable[[dict[str, Any]], Tree]


class Canary:
    """The release, as the settings say it and as its route is."""

    def __init__(self, ground: Ground) -> None:
        """Find both versions, a row and the gateway in the lab of `ground`."""
        demo = ground.lab()
        self.ground = ground
        self.kubectl = Kubectl()
        self.old = demo.registry.resolve(MODEL, OLD.removeprefix("v"))
        self.new = demo.registry.resolve(MODEL, NEW.removeprefix("v"))
        self.target = Target(
            address=ground.cluster_ip("projectcontour", "envoy"),
            port=80,
            path=f"/v1/models/{MODEL}:predict",
            host=host(MODEL, NAME),
            rows=rows_of(demo, self.old.version)[:1],
        )

    def alone(self, tree: Tree) -> dict[str, Any]:
        """The settings with the old version alone."""
        return only(tree, MODEL, self.old)

    def candidate(self, percent: int) -> Operation:
        """To the settings in which the new version gets `percent` of the requests."""
        return lambda tree: changes.add(
            self.alone(tree), MODEL, NEW, pinned(self.new), traffic=percent
        )

    def shadow(self, tree: Tree) -> dict[str, Any]:
        """The settings in which the new version gets a copy of every request."""
        return changes.add(self.alone(tree), MODEL, NEW, pinned(self.new), mirror=100)

    def apply(self, operation: Operation) -> None:
        """Write what `operation` makes of the settings, and apply it."""
        edit(self.ground.stack.file, operation).write()
        self.ground.pulumi_up()

    @contextmanager
    def tried(self, operation: Operation) -> Iterator[None]:
        """Write what `operation` makes of the settings, apply nothing, take it back."""
        edited = edit(self.ground.stack.file, operation)
        edited.write()
        try:
            yield
        finally:
            Edit(edited.path, before=edited.after, after=edited.before).write()

    def as_after(self, operation: Operation) -> ReleaseConfig:
        """The release that `operation` would make of the settings; writes nothing."""
        settings = edit(self.ground.stack.file, operation).settings
        return settings.releases[MODEL]

    def turn(self, release: ReleaseConfig) -> None:
        """Give the route the rules of `release` by a bare `kubectl patch`."""
        patch = json.dumps({"spec": {"rules": rules(MODEL, release)}})
        words = ("patch", "httproute", MODEL, "--type=merge", "-p", patch)
        self.kubectl.run("-n", NAME, *words)

    def await_answer(self, served_by: str) -> None:
        """Wait until `served_by` answers some of the requests."""
        target = self.target
        first_answer(target.address, target.host, MODEL, target.rows, served_by)


def pinned(found: ModelVersion) -> dict[str, Any]:
    """A version as a variant's settings pin it."""
    return {
        "version": found.version,
        "artifact": found.artifact,
        "digest": found.digest,
    }


def weighted(release: ReleaseConfig, percent: int) -> ReleaseConfig:
    """The release with `percent` of the requests for the new version."""
    shares = {OLD: 100 - percent, NEW: percent}
    variants = {
        name: variant.model_copy(update={"traffic": shares[name]})
        for name, variant in release.variants.items()
    }
    return release.model_copy(update={"variants": variants})


def lab(*words: str, codes: Collection[int] = (0,)) -> None:
    """Run the `lab` command; raises LabError when it ends with none of `codes`."""
    result = subprocess.run(
        [sys.executable, "-m", "labfactory", *words],
        cwd=paths.PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode not in codes:
        said = f"{result.stdout}\n{result.stderr}".strip()[-2000:]
        raise LabError(
            f"lab bench: `lab {words[0]}` ends with exit code {result.returncode}: "
            f"{said}"
        )
