"""Run the whole program under Pulumi's mocks, and print what it declared as JSON.

A process of its own: `python -m labfactory.check.program STACK`. The program's modules
keep Pulumi's settings, and two runs of it must not see each other's.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
from typing import Any

import pulumi
from pulumi.runtime import mocks, rpc

from labfactory.mocked import Cluster, logical_name, plain
from labfactory.paths import PROJECT
from stacks import text
from stacks.load import path_of
from stacks.schema import PROJECT as NAME
from stacks.schema import SECRETS

SEED = "c2VlZCBvZiBhIGNoZWNrLCBvZiBubyBsYWIgYXQgYWxsLi4u"
"""Stands in for the lab's seed: a check needs no secret, and can tell none."""


class Monitor(mocks.MockMonitor):
    """Pulumi's mock engine, with a memory of every resource it was asked for."""

    def __init__(self) -> None:
        """Nothing was declared yet."""
        super().__init__(Cluster())
        self.declared: list[dict[str, Any]] = []

    def RegisterResource(self, request: Any) -> Any:
        """Take one declaration, and answer it."""
        if request.type != "pulumi:pulumi:Stack":
            found = rpc.deserialize_properties(request.object)
            self.declared.append(
                {
                    "type": request.type,
                    "name": request.name,
                    "props": plain(found),
                    "parent": logical_name(request.parent),
                    "protect": request.protect,
                    "after": sorted(
                        {logical_name(urn) for urn in request.dependencies}
                    ),
                }
            )
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]


def run(stack: str) -> list[dict[str, Any]]:
    """What the program declares for a stack, ordered by name."""
    config = text.parse(path_of(stack).read_bytes()).data["config"]
    secrets = {f"{NAME}:{name}": f"no-secret-{name}" for name in SECRETS}
    secrets |= {key: f"no-secret-{key}" for key in config if key != f"{NAME}:lab"}
    secrets[f"{NAME}:seed"] = SEED
    lab = json.dumps(config[f"{NAME}:lab"], default=str)
    pulumi.runtime.set_all_config({f"{NAME}:lab": lab, **secrets}, [*secrets])
    asyncio.set_event_loop(asyncio.new_event_loop())
    monitor = Monitor()
    mocks.set_mocks(monitor.mocks, NAME, stack, preview=False, monitor=monitor)

    @mocks.test  # type: ignore[untyped-decorator]
    def program() -> None:
        runpy.run_path(str(PROJECT / "__main__.py"))

    program()
    return sorted(monitor.declared, key=lambda each: (each["type"], each["name"]))


if __name__ == "__main__":
    json.dump(run(sys.argv[1]), sys.stdout)
