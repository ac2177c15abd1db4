"""`lab check`: whole stacks, without a cluster, and what it writes for machines."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from labfactory import check
from labfactory.check import checked, declared, reports, shown
from labfactory.check.checked import SETTINGS, Breach, Checked
from labfactory.errors import LabError
from policies.rules import RULES
from policies.rules.lab import Resource
from stacks import load
from tests.harness import ROOT, example, house
from tests.policy_cases import TODAY

EXAMPLE = (ROOT / "stacks" / "Pulumi.example.yaml").read_text()
PROMISED = re.compile(r"^    (?:agreements|backups):\n(?:(?: {6}.*)?\n)*", re.M)
"""Two sections of the example, without which there is something to say about it."""
FINE = Checked("fine", "stacks/Pulumi.fine.yaml", ())
ADVISED = Checked(
    "advised",
    "stacks/Pulumi.advised.yaml",
    (Breach("agreement-present", "advisory", "a: b; c", 7),),
)
REFUSED = Checked(
    "refused",
    "stacks/Pulumi.refused.yaml",
    (
        Breach("no-root", "mandatory", "server: may run as root; <set> it", 3),
        Breach(SETTINGS, "mandatory", "is no YAML", 1),
    ),
)
ALL = [FINE, ADVISED, REFUSED]


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(load, "STACKS", tmp_path)
    return tmp_path


def resources(stack: str) -> tuple[Resource, ...]:
    """What the example declares, as if it were that stack."""
    found = house(example()).declared
    return tuple(Resource(d.type, d.name, d.inputs, d.parent, d.protect) for d in found)


def write(stacks: Path, name: str, text: str) -> str:
    (stacks / f"Pulumi.{name}.yaml").write_text(text)
    return name


def test_the_program_declares_the_same_as_under_test_and_each_time() -> None:
    once = declared.declared("example")

    assert once == declared.declared("example")
    assert {(r.type, r.name, r.parent) for r in once} == {
        (d.type, d.name, d.parent) for d in house(example(), stack="example").declared
    }


def test_a_program_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(LabError, match=r"stack 'none': the program failed \(.*none"):
        declared.declared("none")


def test_a_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", 120)

    monkeypatch.setattr(subprocess, "run", run)

    with pytest.raises(LabError, match="did not end within 120 s"):
        declared.declared("example")


def test_a_breach_leads_to_the_section_that_its_resource_follows_from(
    stacks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked, "declared", resources)
    text = PROMISED.sub("", EXAMPLE)
    stack = write(stacks, "a", text)
    lines = text.splitlines()

    found = checked.check(stack, today=TODAY)

    at = {(b.rule, b.told.partition(":")[0]): lines[b.line - 1] for b in found.breaches}
    assert at["agreement-present", "releases.iris"].strip() == "iris:"
    assert at["backup-coverage", "storage-data"].strip() == "storage:"
    assert at["backup-coverage", "tracking-data"].strip().startswith("tracking:")


def test_a_rule_is_taken_as_the_stack_says(
    stacks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked, "declared", resources)
    own = "    policies:\n      backup-coverage: {level: mandatory, because: a test}\n"
    off = "      agreement-present: {level: off, because: a test}\n"
    stack = write(stacks, "a", PROMISED.sub("", EXAMPLE) + own + off)

    found = {b.rule: b.level for b in checked.check(stack, today=TODAY).breaches}

    assert found["backup-coverage"] == "mandatory"
    assert "agreement-present" not in found


def test_unreadable_settings_are_told_with_their_line(stacks: Path) -> None:
    text = EXAMPLE.replace("owner: vision", "owner: Vision!")
    stack = write(stacks, "a", text)

    found = checked.check(stack, today=TODAY)

    assert [(b.rule, b.level) for b in found.breaches] == [(SETTINGS, "mandatory")]
    assert "owner" in text.splitlines()[found.breaches[0].line - 1]
    assert "owner" in found.breaches[0].told


def test_a_stack_that_is_not_there_is_told(stacks: Path) -> None:
    [found] = checked.every(["none"], today=TODAY)

    assert not found.ok
    assert "does not exist" in found.breaches[0].told


def test_a_program_that_fails_refuses_its_stack(
    stacks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(stack: str) -> None:
        raise LabError(f"stack {stack!r}: the program failed")

    monkeypatch.setattr(checked, "declared", failing)

    [found] = checked.every([write(stacks, "a", EXAMPLE)], today=TODAY)

    assert [b.told for b in found.breaches] == ["stack 'a': the program failed"]


def test_without_names_it_is_the_committed_stacks_that_are_checked(
    tmp_path: Path,
) -> None:
    for name in ("a", "mine"):
        write(tmp_path, name, EXAMPLE)
    for command in (["init", "-q"], ["add", "Pulumi.a.yaml"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)

    assert checked.committed(tmp_path) == ["a"]


def test_where_there_is_no_git_every_stack_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b", "a"):
        write(tmp_path, name, EXAMPLE)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert checked.committed(tmp_path) == ["a", "b"]


def test_no_stack_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "committed", lambda: [])

    with pytest.raises(LabError, match="there is no stack file to check"):
        checked.every([], today=TODAY)


def test_the_terminal_shows_rule_place_level_and_remedy() -> None:
    assert [*shown.lines(ALL)] == [
        "settings",
        "  stacks/Pulumi.refused.yaml:1: mandatory: is no YAML",
        "no-root: No container runs as root.",
        "  stacks/Pulumi.refused.yaml:3: mandatory: server: may run as root; <set> it",
        "agreement-present: Every release is under an agreement.",
        "  stacks/Pulumi.advised.yaml:7: advisory: a: b; c",
        f"{len(RULES)} rules, 3 stacks: 2 mandatory, 1 advisory; refused: refused",
    ]


def test_a_stack_without_a_breach_is_one_line() -> None:
    assert [*shown.lines([FINE])] == [
        f"{len(RULES)} rules, 1 stack: 0 mandatory, 0 advisory; nothing is refused"
    ]


def test_the_sarif_report_names_rule_level_file_and_line() -> None:
    report = json.loads(reports.sarif(ALL))

    assert report["version"] == "2.1.0"
    [run] = report["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "lab check"
    assert [rule["id"] for rule in driver["rules"]] == [SETTINGS, *RULES]
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
    assert [
        (r["ruleId"], r["level"], r["message"]["text"]) for r in run["results"]
    ] == [
        ("agreement-present", "warning", "a: b; c"),
        ("no-root", "error", "server: may run as root; <set> it"),
        (SETTINGS, "error", "is no YAML"),
    ]
    assert run["results"][0]["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "stacks/Pulumi.advised.yaml"},
                "region": {"startLine": 7},
            }
        }
    ]


def test_the_junit_report_has_a_case_for_each_rule_and_stack() -> None:
    suites = ElementTree.fromstring(reports.junit(ALL))

    cases = len(RULES) + 1
    assert [(s.get("name"), s.get("tests"), s.get("failures")) for s in suites] == [
        ("fine", str(cases), "0"),
        ("advised", str(cases), "0"),
        ("refused", str(cases), "2"),
    ]
    for suite in suites:
        assert len(suite.findall("testcase")) == cases
    failed = {
        (case.get("classname"), case.get("name")): failure.text
        for case in suites.iter("testcase")
        for failure in case.findall("failure")
    }
    assert failed == {
        ("refused", "no-root"): "stacks/Pulumi.refused.yaml:3: "
        "server: may run as root; <set> it",
        ("refused", SETTINGS): "stacks/Pulumi.refused.yaml:1: is no YAML",
    }
    [advice] = [out.text for out in suites.iter("system-out")]
    assert advice == "stacks/Pulumi.advised.yaml:7: a: b; c"


@pytest.mark.parametrize(
    ("found", "code"),
    [
        pytest.param([FINE], 0, id="fine"),
        pytest.param([FINE, ADVISED], 0, id="advice"),
        pytest.param(ALL, 1, id="one of three is refused"),
    ],
)
def test_the_exit_code_tells_ci(
    found: list[Checked],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(checked, "every", lambda stacks, *, today: found)
    sarif, junit = tmp_path / "a.sarif", tmp_path / "a.xml"

    assert check.show([], sarif=sarif, junit=junit) == code

    assert capsys.readouterr().out.endswith("refused\n") or not code
    assert json.loads(sarif.read_text())["runs"]
    assert ElementTree.parse(junit).getroot().tag == "testsuites"


def test_the_docs_list_every_rule() -> None:
    page = ROOT / "docs" / "ci.md"
    before, start, rest = page.read_text().partition("<!-- rules -->\n")
    _, end, after = rest.partition("<!-- /rules -->")
    if "UPDATE_GOLDEN" in os.environ:
        page.write_text(before + start + shown.table() + end + after)

    assert page.read_text() == before + start + shown.table() + end + after
    assert after


def test_the_examples_in_the_docs_are_yaml_that_calls_lab_check() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.S)

    github, gitlab, settings = map(yaml.safe_load, blocks)

    [job] = github["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert any("./lab check --sarif" in run for run in runs)
    assert gitlab["check"]["artifacts"]["reports"]["junit"] == "check.xml"
    for name, own in settings["policies"].items():
        assert name in RULES
        assert own["level"] in ("mandatory", "advisory", "off")
        assert own["because"]
