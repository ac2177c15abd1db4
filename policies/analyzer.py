"""An analyzer for Pulumi's engine: one policy for each rule, each over the whole stack.

It speaks the engine's protocol itself. `pulumi_policy` would unpack the whole stack
again for each of its policies, and import the whole of Pulumi: half a second of a
preview of three.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from policies import unpacked
from policies.rules import RULES
from policies.rules.judge import Finding, findings, level

PACK = "labfactory"
VERSION = "0.0.1"
LARGEST = 400 * 1024 * 1024
"""Bytes of one message at most; a stack comes in one."""
TOLD = "LABFACTORY_TOLD"
"""Variable that names the file in which `lab` looks for what was found."""


def serve() -> None:
    """Answer the engine until it ends this process."""
    import grpc  # type: ignore[import-untyped]

    protocol, grpc_protocol = _protocol()
    server = grpc.server(
        ThreadPoolExecutor(max_workers=4),
        options=[("grpc.max_receive_message_length", LARGEST)],
    )
    analyzer = _analyzer(protocol, grpc_protocol.AnalyzerServicer)
    grpc_protocol.add_AnalyzerServicer_to_server(analyzer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    for ending in (signal.SIGINT, signal.SIGTERM):
        # The engine ends its analyzers by a signal; that is no news for a terminal.
        signal.signal(ending, lambda number, frame: os._exit(0))
    print(port, flush=True)
    server.wait_for_termination()


def _protocol() -> tuple[Any, Any]:
    """The engine's messages and services, without the rest of Pulumi around them."""
    spec = find_spec("pulumi")
    assert spec
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    for name, folder in (
        ("pulumi", root),
        ("pulumi.runtime", root / "runtime"),
        ("pulumi.runtime.proto", root / "runtime" / "proto"),
    ):
        if name not in sys.modules:
            package = types.ModuleType(name)
            package.__path__ = [str(folder)]
            sys.modules[name] = package
    from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

    return analyzer_pb2, analyzer_pb2_grpc


def _analyzer(protocol: Any, servicer: type[Any]) -> Any:
    """The engine's counterpart, made of its own classes."""

    class Analyzer(servicer):  # type: ignore[misc]
        def GetAnalyzerInfo(self, request: Any, context: Any) -> Any:
            return information(protocol)

        def GetPluginInfo(self, request: Any, context: Any) -> Any:
            from pulumi.runtime.proto import plugin_pb2

            return plugin_pb2.PluginInfo(version=VERSION)

        def Analyze(self, request: Any, context: Any) -> Any:
            return protocol.AnalyzeResponse()

        def Remediate(self, request: Any, context: Any) -> Any:
            # Asked for each resource: what is not there would raise each time.
            return protocol.RemediateResponse()

        def AnalyzeStack(self, request: Any, context: Any) -> Any:
            lab = unpacked.lab(request.resources, os.environ, today=date.today())
            found = tuple(findings(lab, RULES.values()))
            tell(found, os.environ.get(TOLD))
            urns = {_name(r.urn): r.urn for r in request.resources}
            return answer(protocol, found, urns)

        def Configure(self, request: Any, context: Any) -> Any:
            from google.protobuf import empty_pb2  # type: ignore[import-untyped]

            return empty_pb2.Empty()

        def ConfigureStack(self, request: Any, context: Any) -> Any:
            return protocol.AnalyzerStackConfigureResponse()

    return Analyzer()


def information(protocol: Any) -> Any:
    """Every rule as a policy, with its level in this stack."""
    config = json.loads(os.environ.get("PULUMI_CONFIG") or "{}")
    settings = json.loads(config.get("labfactory:lab") or "{}")
    return protocol.AnalyzerInfo(
        name=PACK,
        version=VERSION,
        policies=[
            protocol.PolicyInfo(
                name=rule.name,
                description=f"{rule.what} {rule.why}",
                enforcementLevel=_weight(protocol, level(rule, settings)),
                policy_type=protocol.POLICY_TYPE_STACK,
                remediation_steps=rule.fix,
            )
            for rule in RULES.values()
        ],
    )


def answer(protocol: Any, found: Iterable[Finding], urns: dict[str, str]) -> Any:
    """What was found, as the engine shows it."""
    return protocol.AnalyzeResponse(
        diagnostics=[
            protocol.AnalyzeDiagnostic(
                policyName=each.rule.name,
                policyPackName=PACK,
                policyPackVersion=VERSION,
                description=each.rule.what,
                message=each.told,
                urn=urns.get(each.complaint.where, ""),
                enforcementLevel=_weight(protocol, each.level),
            )
            for each in found
        ]
    )


def tell(found: Iterable[Finding], path: str | None) -> None:
    """Write what was found to a file, where somebody wants to read it."""
    if path:
        rows = [
            {"rule": each.rule.name, "level": each.level, "told": each.told}
            for each in found
        ]
        preview = os.environ.get("PULUMI_DRY_RUN") == "true"
        Path(path).write_text(json.dumps({"preview": preview, "found": rows}))


def _weight(protocol: Any, level: str) -> Any:
    return {
        "mandatory": protocol.MANDATORY,
        "advisory": protocol.ADVISORY,
        "off": protocol.DISABLED,
    }[level]


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
