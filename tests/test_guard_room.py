"""The guard's room: what it may do, what it may start, and what nobody may undo."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from components import guard, verdicts
from components.guard import Guard
from labfactory.guard import cluster
from labfactory.releases import routes
from stacks.watching import GuardConfig, MonitoringConfig
from tests.guard_parts import release
from tests.harness import Lab, deploy

ARGUMENTS = ("--dataset", "iris", "--name", "iris")


@pytest.fixture(scope="module")
def lab() -> Lab:
    releases = {
        "iris": release(retrain={"arguments": ARGUMENTS}),
        "wine": release(),
    }

    def program() -> None:
        Guard(
            "guard",
            GuardConfig(actions_per_hour=3),
            monitoring=MonitoringConfig(interval_seconds=7),
            releases=releases,
            lab="demo",
            owner="team",
            namespace=pulumi.Output.from_input("home"),
            image=lambda name: f"{name}:1",
            artifacts="mlflow",
        )

    return deploy(program)


def test_it_sees_no_secret_and_no_pod_and_deletes_nothing(lab: Lab) -> None:
    rules = lab.one("Role", "guard").inputs["rules"]

    resources = {each for rule in rules for each in rule["resources"]}
    verbs = {each for rule in rules for each in rule["verbs"]}
    assert not resources & {"secrets", "pods", "*"}
    assert not verbs & {"delete", "deletecollection", "*"}


def test_its_rights_are_those_of_its_account_in_the_lab_s_namespace(lab: Lab) -> None:
    binding = lab.one("RoleBinding", "guard")
    [subject] = binding.inputs["subjects"]
    spec = lab.one("Deployment", "guard").spec["template"]["spec"]

    assert subject["name"] == spec["serviceAccountName"] == "guard"
    assert lab.one("ServiceAccount", "guard").metadata["namespace"] == "home"
    assert binding.inputs["roleRef"]["kind"] == "Role"


def test_its_pod_is_told_what_the_settings_say(lab: Lab) -> None:
    template = lab.one("Deployment", "guard").spec["template"]
    [container] = template["spec"]["containers"]
    told = {each["name"]: each.get("value") for each in container["env"]}

    assert container["image"] == "guard:1"
    assert (told["LAB"], told["INTERVAL_SECONDS"]) == ("demo", "7")
    assert told["ACTIONS_PER_HOUR"] == "3"
    assert (
        template["metadata"]["labels"] == lab.one("Service", "guard").spec["selector"]
    )


def test_a_training_runs_only_when_the_guard_starts_it(lab: Lab) -> None:
    [job] = lab.all("CronJob")
    [container] = job.spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]

    assert job.metadata["name"] == "retrain-iris"
    assert job.spec["suspend"] is True
    assert tuple(container["args"]) == ARGUMENTS
    assert container["image"] == "lab:1"
    assert {"name": "LAB_ARTIFACT_BUCKET", "value": "mlflow"} in container["env"]


def test_the_policy_is_for_the_routes_of_this_lab_alone(lab: Lab) -> None:
    [policy] = lab.all("ValidatingAdmissionPolicy")
    [binding] = lab.all("ValidatingAdmissionPolicyBinding")
    only = {"matchLabels": {"kubernetes.io/metadata.name": "home"}}

    assert policy.spec["matchConstraints"]["namespaceSelector"] == only
    assert binding.spec["matchResources"]["namespaceSelector"] == only
    assert binding.spec["policyName"] == policy.metadata["name"]
    assert binding.spec["validationActions"] == ["Deny"]
    assert policy.spec["failurePolicy"] == "Fail"
    assert "namespace" not in policy.metadata


def test_two_labs_of_a_cluster_have_two_policies() -> None:
    assert verdicts.name("a") != verdicts.name("b")


def test_the_rooms_and_the_guard_mean_the_same_labels() -> None:
    assert verdicts.REJECTED == routes.REJECTED
    assert guard.RETRAIN == cluster.RETRAIN


def test_the_expressions_are_balanced_and_safe_of_what_is_not_there() -> None:
    spec: dict[str, Any] = verdicts.policy("demo", "demo")["spec"]
    expressions = [each["expression"] for each in spec["variables"]]
    [validation] = spec["validations"]

    for text in (*expressions, *validation.values()):
        assert text.count("(") == text.count(")")
        assert text.count("'") % 2 == 0
    for field in (
        "object.spec.rules",
        "rule.matches",
        "rule.backendRefs",
        "match.path",
        "backend.weight",
    ):
        assert f"has({field})" in validation["expression"]
    for holder in ("object", "oldObject"):
        assert f"has({holder}.metadata.annotations)" in expressions[0]
