"""The policy pack as an analyzer: a real process, asked as Pulumi's engine asks it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf import struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from policies import unpacked
from policies.rules import RULES
from tests.harness import ROOT
from tests.policy_cases import TODAY

SECRET = "hunter2-hunter2"
SETTINGS = {
    "name": "demo",
    "policies": {
        "no-root": {"level": "advisory", "because": "a test"},
        "owner-label": {"level": "off", "because": "a test"},
    },
}
CONFIG = {"labfactory:lab": json.dumps(SETTINGS), "labfactory:seed": SECRET}
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
STACK = "urn:pulumi:demo::labfactory::pulumi:pulumi:Stack::labfactory-demo"


def resource(kind: str, name: str, props: dict[str, Any], **fields: Any) -> Any:
    packed = struct_pb2.Struct()
    packed.update(props)
    return analyzer_pb2.AnalyzerResource(
        urn=f"urn:pulumi:demo::labfactory::{kind}::{name}",
        type=kind,
        name=name,
        properties=packed,
        parent=STACK,
        **fields,
    )


def config_map(name: str = "settings", **data: Any) -> Any:
    return resource("kubernetes:core/v1:ConfigMap", name, {"data": data})


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "told.json"


@pytest.fixture
def analyzer(tmp_path: Path, told: Path) -> Iterator[Any]:
    environment = {
        "PATH": os.environ["PATH"],
        "PULUMI_CONFIG": json.dumps(CONFIG),
        "PULUMI_DRY_RUN": "true",
        "LABFACTORY_TOLD": str(told),
    }
    process = subprocess.Popen(
        [sys.executable, ROOT / "policies" / "__main__.py", "127.0.0.1:1", "."],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        port = int(process.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield analyzer_pb2_grpc.AnalyzerStub(channel)
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_the_pack_answers_the_engine(analyzer: Any, told: Path) -> None:
    sent = [
        config_map("bad", token=SECRET),
        config_map("good", a="b"),
        resource("pulumi:pulumi:Stack", "labfactory-demo", {}),
    ]

    info = analyzer.GetAnalyzerInfo(struct_pb2.Struct())
    found = analyzer.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=sent))

    levels = {each.name: each.enforcementLevel for each in info.policies}
    assert {*levels} == {*RULES}
    assert levels["no-root"] == analyzer_pb2.ADVISORY
    assert levels["owner-label"] == analyzer_pb2.DISABLED
    [one] = found.diagnostics
    assert one.policyName == "no-plain-secrets"
    assert one.enforcementLevel == analyzer_pb2.MANDATORY
    assert one.urn.endswith("::bad")
    assert one.message.startswith("bad: token holds a secret in plain text; ")
    assert json.loads(told.read_text()) == {
        "preview": True,
        "found": [
            {
                "rule": "no-plain-secrets",
                "level": "mandatory",
                "told": one.message,
            }
        ],
    }
    assert SECRET not in str(found) + str(info) + told.read_text()
    nothing = analyzer.Analyze(analyzer_pb2.AnalyzeRequest(type="a:b:C", name="c"))
    assert not nothing.diagnostics


def test_what_a_preview_does_not_know_is_absent(tmp_path: Path) -> None:
    sent = config_map(a=UNKNOWN, b="known", c=[UNKNOWN, "d"], e=1, f=1.5, g=True)

    [found] = unpacked.lab([sent], {}, today=TODAY).resources

    assert found.props == {
        "data": {"b": "known", "c": ["d"], "e": 1, "f": 1.5, "g": True}
    }


def test_a_secret_is_its_value_and_an_asset_is_nothing() -> None:
    secret = {unpacked.SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "value": SECRET}
    asset = {unpacked.SIGNATURE: "c44067f5952c0a294b673a41bacd8c17", "text": "a"}

    [found] = unpacked.lab([config_map(a=secret, b=asset)], {}, today=TODAY).resources

    assert found.props == {"data": {"a": SECRET, "b": None}}


def test_the_lab_is_the_stack_without_its_root_and_in_a_fixed_order() -> None:
    sent = [
        config_map("b"),
        config_map("a"),
        resource("pulumi:pulumi:Stack", "labfactory-demo", {}),
    ]

    found = unpacked.lab(sent, {"PULUMI_CONFIG": json.dumps(CONFIG)}, today=TODAY)

    assert [each.name for each in found.resources] == ["a", "b"]
    assert found.resources[0].parent == "labfactory-demo"
    assert found.settings == SETTINGS
    assert (found.today, found.drill) == (TODAY, None)


def test_the_last_drill_comes_from_whoever_could_ask_for_it(tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    facts.write_text('{"drill": {"ok": true}}')

    found = unpacked.lab([], {"LABFACTORY_FACTS": str(facts)}, today=TODAY)

    assert found.drill == {"ok": True}


def test_the_pack_starts_without_the_rest_of_pulumi() -> None:
    code = (
        "import sys; from policies import analyzer; analyzer._protocol();"
        "print(sorted({'pulumi.output', 'pulumi_policy',"
        "'pulumi.automation'} & {*sys.modules}))"
    )

    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "pulumi" not in shown.stdout
