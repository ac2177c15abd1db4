"""Evaluate the lab's program, or a bare loop, with Pulumi's engine replaced by a mock.

    python evaluate.py record SETTINGS RESOURCES    run the program, write what it made
    python evaluate.py program SETTINGS             run the program
    python evaluate.py loop RESOURCES               make the same resources in a loop

SETTINGS is the JSON of `labfactory:lab`. Runs in an interpreter of its own.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import mocks, rpc

PROJECT = Path(__file__).resolve().parents[2]
SEED = "bench" * 9
ADDRESS = "198.18.0.10"


class Cluster(mocks.Mocks):
    """Answers as a cluster would that has accepted everything."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Return the resource as it was declared, with the addresses it would get."""
        outputs = dict(args.inputs)
        if args.typ.endswith(":Service"):
            outputs["spec"] = {**outputs["spec"], "clusterIP": ADDRESS}
        if args.typ.endswith(":Gateway"):
            outputs["status"] = {"addresses": [{"value": ADDRESS}]}
        return args.resource_id or args.name, outputs

    def call(self, args: mocks.MockCallArgs) -> Any:
        """Refuse: the program calls nothing."""
        raise LookupError(args.token)


class Recorder(mocks.MockMonitor):
    """Remembers every resource."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        super().__init__(Cluster())
        self.found: list[dict[str, Any]] = []

    def RegisterResource(self, request: Any) -> Any:
        """Remember a resource, then answer."""
        if request.type != "pulumi:pulumi:Stack":
            inputs = rpc.deserialize_properties(request.object)
            self.found.append(
                {
                    "type": request.type,
                    "name": request.name,
                    "parent": request.parent.rpartition("::")[2],
                    "needs": [urn.rpartition("::")[2] for urn in request.dependencies],
                    "inputs": {key: _plain(value) for key, value in inputs.items()},
                }
            )
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]


def program() -> None:
    """The lab's program."""
    sys.path.insert(0, str(PROJECT))
    runpy.run_path(str(PROJECT / "__main__.py"))


def loop(resources: list[dict[str, Any]]) -> None:
    """Make `resources` one after the other; nothing has to be thought about."""
    made: dict[str, pulumi.Resource] = {}
    for each in resources:
        options = pulumi.ResourceOptions(
            parent=made.get(each["parent"]),
            depends_on=[made[name] for name in each["needs"] if name in made],
        )
        type_, name, inputs = each["type"], each["name"], each["inputs"]
        if type_.startswith("labfactory:"):
            made[name] = pulumi.ComponentResource(type_, name, {}, options)
        else:
            made[name] = pulumi.CustomResource(type_, name, inputs, options)


def evaluate(declare: Callable[[], None], monitor: mocks.MockMonitor) -> None:
    """Run `declare` until everything that it made is registered."""
    pulumi.runtime.set_all_config(CONFIG, ["labfactory:seed"])
    mocks.set_mocks(
        monitor.mocks, "labfactory", "labbench", preview=False, monitor=monitor
    )
    mocks.test(declare)()  # type: ignore[no-untyped-call]


def _plain(value: Any) -> Any:
    if rpc.is_rpc_secret(value):
        return _plain(rpc.unwrap_rpc_secret(value))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


CONFIG = {"labfactory:seed": SEED}

if __name__ == "__main__":
    what, source, *target = sys.argv[1:]
    if what == "loop":
        evaluate(
            lambda: loop(json.loads(Path(source).read_text())),
            mocks.MockMonitor(Cluster()),
        )
    else:
        CONFIG["labfactory:lab"] = Path(source).read_text()
        recorder = Recorder()
        plain = mocks.MockMonitor(Cluster())
        evaluate(program, recorder if target else plain)
        for file in target:
            Path(file).write_text(json.dumps(recorder.found))
