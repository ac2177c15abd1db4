"""A cluster that remembers the routes of a lab, and a lab in a folder of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from labfactory.releases import changes
from labfactory.releases.routes import InferenceService, Progress, Routes, Verdict
from labfactory.settings.edit import edit
from labfactory.stack import Stack
from model_templates.routes import http_route, rules
from tests.harness import example, variant

NOW = "2026-11-21T10:00:00+00:00"


class Client:
    """What lightkube's client does with HTTPRoutes, of one lab."""

    def __init__(self) -> None:
        self.routes: dict[str, dict[str, Any]] = {}
        self.services: dict[str, bool] = {}
        self.patches = 0

    def list(self, kind: Any) -> list[Mapping[str, Any]]:
        if kind is InferenceService:
            return [served(name, ready) for name, ready in self.services.items()]
        return [self.get(kind, name) for name in self.routes]

    def get(self, _: Any, name: str) -> Mapping[str, Any]:
        metadata = {**self.routes[name]["metadata"], "resourceVersion": "1"}
        return {**self.routes[name], "metadata": metadata}

    def patch(self, _: Any, name: str, body: Mapping[str, Any], **__: Any) -> None:
        self.patches += 1
        self.routes[name] = merged(self.routes[name], body)

    def close(self) -> None:
        pass


class Cluster:
    """A lab's cluster, what `pulumi up` does to it, and what its guard does."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = Client()
        self.up()

    def routes(self, *_: str) -> Routes:
        return Routes(self.client, "the cluster")  # type: ignore[arg-type]

    def live(self) -> dict[str, Mapping[str, Any]]:
        return self.routes().live()

    def up(self) -> None:
        """Apply the settings, as Pulumi does: an object that differs is written."""
        for release, config in self.stack.settings.releases.items():
            wanted = http_route(release, config, lab="lab", gateway="a/b")
            before = self.client.routes.get(release, {"metadata": {}})
            self.client.routes[release] = merged(before, wanted)
            for name in config.variants:
                self.client.services.setdefault(f"{release}-{name}", True)

    def promotes(self, variant: str, traffic: int, release: str = "iris") -> Progress:
        """The guard gives a candidate more requests."""
        step = Progress(variant, traffic, NOW, "400 requests, no worse than v1")

        def operation(tree: Any) -> Any:
            if traffic == 100:
                return changes.promote(tree, release, variant)
            return changes.weigh(tree, release, {variant: traffic})

        after = edit(self.stack.file, operation).settings
        self.routes().advance(release, rules(release, after.releases[release]), step)
        return step

    def rejects(self, variant: str, release: str = "iris") -> Verdict:
        """The guard takes a variant back."""
        found = Verdict(release, (variant,), "errors", "guard", NOW, {"errors": "9"})
        after = edit(
            self.stack.file,
            lambda tree: changes.roll_back(
                tree, release, because="errors", variant=variant
            ),
        ).settings
        self.routes().turn(release, rules(release, after.releases[release]), found)
        return found


def a_lab(folder: Path, releases: Mapping[str, Any], **sections: Any) -> Stack:
    """A lab in a project folder of its own."""
    stack = Stack("example", project=folder)
    stack.file.parent.mkdir()
    settings = {"config": {"labfactory:lab": example(releases=releases, **sections)}}
    stack.file.write_text(f"# a comment\n{yaml.safe_dump(settings, sort_keys=False)}")
    return stack


def kept_in_git(stack: Stack) -> Stack:
    """A lab whose settings are kept in git."""
    folder = stack.project
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.name", "On Call")
    git(folder, "config", "user.email", "oncall@example.com")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "The lab")
    return stack


def release(*variants: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """A release of variants v1, v2, ... of these versions."""
    named = {
        f"v{number}": {**variant(number), **each}
        for number, each in enumerate(variants, start=1)
    }
    return {"template": "mlflow", **settings, "variants": named}


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def served(name: str, ready: bool) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {"metadata": {"name": name}, "status": {"conditions": conditions}}


def merged(before: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7396)."""
    if not isinstance(patch, Mapping):
        return patch
    after = dict(before) if isinstance(before, Mapping) else {}
    for key, each in patch.items():
        if each is None:
            after.pop(key, None)
        else:
            after[key] = merged(after.get(key), each)
    return after
