"""Build a piece of the lab without a cluster, and look at what it declared."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime import mocks, rpc
from pulumi.runtime import settings as runtime

from labfactory.mocked import ADDRESS as ADDRESS
from labfactory.mocked import Cluster, logical_name, plain

ROOT = Path(__file__).parents[1]
STACKS = sorted((ROOT / "stacks").glob("Pulumi.example*.yaml"))
"""The committed stack files; others belong to whoever made them."""
SEED = "c2VlZCBvZiB0aGUgdGVzdHMsIG9mIG5vIG90aGVyIGxhYi4"
SECRETS = {
    "labfactory:seed": SEED,
    "labfactory:s3-tracking-key-id": "tracking-key",
    "labfactory:s3-tracking-secret": "tracking-not-a-secret",
    "labfactory:s3-serving-key-id": "serving-key",
    "labfactory:s3-serving-secret": "serving-not-a-secret",
    "labfactory:s3-predictions-key-id": "predictions-key",
    "labfactory:s3-predictions-secret": "predictions-not-a-secret",
    "labfactory:s3-batch-key-id": "batch-key",
    "labfactory:s3-batch-secret": "batch-not-a-secret",
    "labfactory:s3-feedback-key-id": "feedback-key",
    "labfactory:s3-feedback-secret": "feedback-not-a-secret",
    "labfactory:s3-backup-key-id": "backup-key",
    "labfactory:s3-backup-secret": "backup-not-a-secret",
    "labfactory:s3-restore-key-id": "restore-key",
    "labfactory:s3-restore-secret": "restore-not-a-secret",
    "labfactory:backup-store-key-id": "backup-store-key",
    "labfactory:backup-store-secret": "backup-store-not-a-secret",
}
LOOP = asyncio.new_event_loop()
"""Pulumi's outputs live on it; one for all tests, as in a real program."""
WORKLOADS = ("Deployment", "StatefulSet", "Job")


@dataclass(frozen=True)
class Declared:
    """One resource, as it reached the engine."""

    type: str
    name: str
    parent: str
    inputs: dict[str, Any]
    """Its properties, with secrets in the open."""
    secrets: frozenset[str]
    """The properties that are, or hold, something marked secret."""
    dependencies: frozenset[str]
    """Names of the resources that it waits for."""
    protect: bool
    retained: bool
    """Whether it stays in the cluster when the program declares it no more."""

    @property
    def kind(self) -> str:
        return self.type.rpartition(":")[2]

    @property
    def metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = self.inputs.get("metadata", {})
        return found

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.inputs.get("spec", {})
        return found


@dataclass
class Lab:
    """Everything that a piece of program declared."""

    declared: list[Declared] = field(default_factory=list)
    exports: dict[str, Any] = field(default_factory=dict)

    def all(self, kind: str) -> list[Declared]:
        return [found for found in self.declared if found.kind == kind]

    def one(self, kind: str, name: str) -> Declared:
        [found] = [d for d in self.all(kind) if d.metadata.get("name") == name]
        return found

    def objects(self) -> list[Declared]:
        """What is Kubernetes'."""
        return [d for d in self.declared if d.type.startswith("kubernetes:")]

    def pods(self) -> Iterator[tuple[Declared, dict[str, Any], dict[str, Any]]]:
        """Each workload, with the metadata and the spec of its pods."""
        for found in self.declared:
            if found.kind in WORKLOADS:
                template = found.spec["template"]
                yield found, template["metadata"], template["spec"]


class _Monitor(mocks.MockMonitor):
    """Pulumi's mock engine, with a memory of every resource it was asked for."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(Cluster())
        self.lab = lab

    def RegisterResource(self, request: Any) -> Any:
        if request.type != "pulumi:pulumi:Stack":
            found = rpc.deserialize_properties(request.object)
            self.lab.declared.append(
                Declared(
                    type=request.type,
                    name=request.name,
                    parent=logical_name(request.parent),
                    inputs={key: plain(value) for key, value in found.items()},
                    secrets=frozenset(k for k, v in found.items() if _is_secret(v)),
                    dependencies=frozenset(map(logical_name, request.dependencies)),
                    protect=request.protect,
                    retained=request.retainOnDelete,
                )
            )
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]


def deploy(program: Callable[[], object], *, stack: str = "test") -> Lab:
    """Run a piece of program to the very end, then hand back what it declared."""
    lab = Lab()
    monitor = _Monitor(lab)
    runtime.set_root_resource(None)  # type: ignore[arg-type]

    @mocks.test  # type: ignore[untyped-decorator]
    def run_and_drain() -> pulumi.Output[None]:
        program()
        exports: dict[str, Any] = getattr(runtime.get_root_resource(), "outputs", {})
        return pulumi.Output.all(**exports).apply(lab.exports.update)

    # Another test's `asyncio.run` may have taken the thread's loop away.
    asyncio.set_event_loop(LOOP)
    mocks.set_mocks(monitor.mocks, "labfactory", stack, preview=False, monitor=monitor)
    run_and_drain()
    return lab


def house(settings: Mapping[str, Any], *, stack: str = "test") -> Lab:
    """Run the whole program for a lab with `settings`."""
    pulumi.runtime.set_all_config(
        {"labfactory:lab": json.dumps(settings, default=str), **SECRETS}, [*SECRETS]
    )
    return deploy(lambda: runpy.run_path(str(ROOT / "__main__.py")), stack=stack)


def example(**sections: Any) -> dict[str, Any]:
    """The settings of the example's stack file, with other `sections` put in."""
    stack = yaml.safe_load((ROOT / "stacks" / "Pulumi.example.yaml").read_text())
    return {**stack["config"]["labfactory:lab"], **sections}


def variant(version: int = 1, bucket: str = "mlflow") -> dict[str, Any]:
    """The only variant of a release."""
    return {
        "version": version,
        "artifact": f"s3://{bucket}/1/models/m-{version:032x}/artifacts",
        "digest": f"sha256:{version:064x}",
        "role": "stable",
        "traffic": 100,
    }


def _is_secret(value: object) -> bool:
    if rpc.is_rpc_secret(value):
        return True
    if isinstance(value, Mapping):
        return any(map(_is_secret, value.values()))
    return isinstance(value, list) and any(map(_is_secret, value))
