"""All rules together: their cases, their levels, and the house as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace

import pytest

from policies.rules import RULES, budget, objects, workloads
from policies.rules.judge import EXIST, Finding, findings, level
from policies.rules.lab import Lab, Resource
from policies.rules.rule import Complaint, Rule
from tests import (
    test_policy_aws,
    test_policy_objects,
    test_policy_pods,
    test_policy_promises,
    test_policy_releases,
    test_policy_secrets,
)
from tests.harness import ROOT, example, house, variant
from tests.policy_cases import KINDS, TODAY, Case, case, holds, kinds_of, lab

SUBJECTS = (
    test_policy_aws,
    test_policy_objects,
    test_policy_pods,
    test_policy_promises,
    test_policy_releases,
    test_policy_secrets,
)
ELSEWHERE = {rule.name for rule in budget.RULES}
"""Rules whose cases are in the tests of what things cost."""
GOLDEN = sorted((ROOT / "tests" / "golden").glob("Pulumi.*.txt"))


def policies(**levels: str) -> dict[str, object]:
    return {
        "policies": {
            name.replace("_", "-"): {"level": said, "because": "a test"}
            for name, said in levels.items()
        }
    }


def raising(lab: Lab) -> Iterator[Complaint]:
    raise ValueError("hunter2")
    yield


CASES = [
    case(EXIST, "passes", lab(settings=policies(no_root="off"))),
    case(
        EXIST,
        "fails",
        lab(settings=policies(no_roots="off")),
        "policies.no-roots: there is no such rule (did you mean no-root?)",
    ),
    case(EXIST, "boundary: itself", lab(settings=policies(policies_exist="advisory"))),
    case(
        EXIST,
        "boundary: like none that there is",
        lab(settings=policies(zzz="off")),
        "policies.zzz: there is no such rule",
    ),
]


@pytest.mark.parametrize("each", CASES)
def test_the_rule_says_so(each: Case) -> None:
    holds(each)


def test_every_rule_has_a_passing_a_failing_and_a_boundary_case() -> None:
    every = [*CASES, *(one for subject in SUBJECTS for one in subject.CASES)]

    found = kinds_of(every)

    assert {name for name, kinds in found.items() if kinds != {*KINDS}} == set()
    assert {*found} | ELSEWHERE == {*RULES}
    assert len(RULES) >= 34


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_a_rule_says_what_why_and_how_to_mend_it(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name)
    assert rule.what.endswith(".")
    assert rule.why.endswith(".")
    assert rule.fix
    assert not rule.fix.endswith(".")


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_a_rule_has_nothing_to_say_about_nothing(rule: Rule) -> None:
    assert [*rule.check(lab())] == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({}, "mandatory", id="in general"),
        pytest.param(policies(no_root="advisory"), "advisory", id="advisory here"),
        pytest.param(policies(no_root="off"), "off", id="off here"),
        pytest.param(policies(no_root="loud"), "mandatory", id="no level"),
        pytest.param({"policies": ["no-root"]}, "mandatory", id="no group"),
    ],
)
def test_a_stack_says_how_a_rule_is_taken(
    said: dict[str, object], expected: str
) -> None:
    assert level(RULES["no-root"], said) == expected


def test_a_rule_that_is_off_is_not_even_asked() -> None:
    rule = replace(RULES["no-root"], check=raising)

    assert [*findings(lab(settings=policies(no_root="off")), [rule])] == []


def test_a_rule_that_raises_refuses_whatever_its_level_and_quotes_nothing() -> None:
    rule = replace(RULES["liveness-probe"], check=raising)

    [found] = findings(lab(), [rule])

    assert found.level == "mandatory"
    assert found.told == (
        "policies.liveness-probe: the rule has raised ValueError, and was not looked "
        "at; mend the rule, or set `policies.liveness-probe.level` to off"
    )


def test_a_rule_after_one_that_raises_is_still_asked() -> None:
    bad = lab(settings=policies(zzz="off"))

    found = [*findings(bad, [replace(RULES["no-root"], check=raising), RULES[EXIST]])]

    assert [each.rule.name for each in found] == ["no-root", EXIST]


def test_no_rule_can_change_what_the_next_one_sees() -> None:
    seen = lab(Resource("a:b:C", "c"))

    with pytest.raises(FrozenInstanceError):
        seen.today = TODAY  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        seen.resources[0].name = "d"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        RULES["no-root"].level = "advisory"  # type: ignore[misc]


def test_a_breach_is_a_sentence_with_its_remedy() -> None:
    rule = RULES["no-root"]
    found = Finding(rule, "mandatory", Complaint("a", "may run as root"))

    assert found.told == f"a: may run as root; {rule.fix}"


def test_the_kinds_that_rules_look_for_are_spelt_as_the_house_spells_them() -> None:
    tree = "".join(path.read_text() for path in GOLDEN)
    there = set(re.findall(r" > kubernetes:\S+:(\w+) ", tree))
    rules = "".join(
        path.read_text() for path in (ROOT / "policies" / "rules").glob("*.py")
    )
    asked = {
        kind
        for call in re.findall(r"lab\.all\(([^)]*)\)", rules)
        for kind in re.findall(r'"(\w+)"', call)
    } | {*workloads.LASTING, *workloads.RUNTIMES, *objects.STATEFUL}

    # These have their place in Kubernetes, and none in this lab so far.
    absent = {"DaemonSet", "ReplicaSet", "Pod", "ClusterServingRuntime"}
    assert asked - absent <= there
    assert asked & absent == absent


SHAPES = {
    "the example": example(),
    "two releases": example(
        releases={
            "iris": {"template": "mlflow", "variants": {"v1": variant(1)}},
            "wine": {"template": "mlflow", "variants": {"v7": variant(7)}},
        }
    ),
    "another store": example(
        storage={
            "kind": "s3",
            "endpoint": "https://s3.example.com",
            "region": "eu-west-1",
            "buckets": ["mlflow", "datasets", "predictions"],
        }
    ),
}


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES.keys())
def test_the_house_breaks_no_mandatory_rule(settings: dict[str, object]) -> None:
    declared = house(settings).declared
    seen = Lab(
        settings,
        tuple(
            Resource(d.type, d.name, d.inputs, d.parent, d.protect) for d in declared
        ),
        TODAY,
    )

    refused = [
        f"{each.rule.name}: {each.told}"
        for each in findings(seen, RULES.values())
        if each.level == "mandatory"
    ]

    assert refused == []
