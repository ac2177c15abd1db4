"""A cluster that is not there: what Pulumi's mock engine answers a lab's program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulumi.runtime import mocks, rpc

ADDRESS = "198.18.0.10"
"""What the cluster that is not there gives every Service and Gateway."""


class Cluster(mocks.Mocks):
    """Answers as a cluster would that has accepted everything."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """An id, and the properties as they would be live."""
        outputs = dict(args.inputs)
        if args.typ.endswith(":Service"):
            outputs["spec"] = {**outputs["spec"], "clusterIP": ADDRESS}
        if args.typ.endswith(":Gateway"):
            outputs["status"] = {"addresses": [{"value": ADDRESS}]}
        return args.resource_id or f"{args.name}-id", outputs

    def call(self, args: mocks.MockCallArgs) -> Any:
        """Refuse: what the program asks a provider for cannot be known here."""
        raise LookupError(f"no answer for {args.token}")


def plain(value: Any) -> Any:
    """What was sent to the engine, with secrets in the open."""
    if rpc.is_rpc_secret(value):
        return plain(rpc.unwrap_rpc_secret(value))
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)  # on the way to the engine every number is a float
    return [plain(each) for each in value] if isinstance(value, list) else value


def logical_name(urn: str) -> str:
    """The logical name of a resource."""
    return urn.rpartition("::")[2]
