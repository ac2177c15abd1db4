"""What was agreed about the lab's share of the cluster, as Kubernetes counts it."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from components.quota import AT_MOST, RESERVED, Quota
from stacks import rules
from stacks.promise_rules import LARGEST
from stacks.promises import Capacity
from tests.harness import Lab, deploy


def quota(**agreed: Any) -> Lab:
    def program() -> None:
        namespace = pulumi.Output.from_input("home")
        Quota("quota", Capacity(**agreed), namespace=namespace)

    return deploy(program)


def test_what_was_agreed_is_what_pods_may_reserve_together() -> None:
    lab = quota(cpu="4000m", memory="8Gi", storage="60Gi", pods=40, releases=3)

    declared = lab.one("ResourceQuota", "agreement")
    assert declared.metadata["namespace"] == "home"
    assert declared.spec == {
        "hard": {
            "requests.cpu": "4000m",
            "requests.memory": "8Gi",
            "requests.storage": "60Gi",
            "pods": "40",
        }
    }


def test_a_container_that_says_nothing_gets_something_before_it_is_counted() -> None:
    lab = quota(cpu="4000m", memory="8Gi")

    declared = lab.one("LimitRange", "agreement")
    assert declared.spec["limits"] == [
        {
            "type": "Container",
            "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
            "default": {"cpu": "500m", "memory": "256Mi"},
            "max": {"cpu": "4000m", "memory": "8Gi"},
        }
    ]
    assert declared.name in lab.one("ResourceQuota", "agreement").dependencies


def test_what_was_not_agreed_is_not_limited() -> None:
    assert quota(releases=3).objects() == []


def test_pods_and_volumes_alone_need_no_word_about_containers() -> None:
    lab = quota(pods=40, storage="60Gi")

    assert [found.kind for found in lab.objects()] == ["ResourceQuota"]
    assert lab.one("ResourceQuota", "agreement").spec["hard"] == {
        "requests.storage": "60Gi",
        "pods": "40",
    }


@pytest.mark.parametrize("kind", ["cpu", "memory"])
def test_one_clause_is_kept_without_the_other(kind: str) -> None:
    largest = LARGEST[kind][1]

    [limit] = quota(**{kind: largest}).one("LimitRange", "agreement").spec["limits"]

    assert limit["max"] == {kind: largest}
    assert {*limit["default"]} == {*limit["defaultRequest"]} == {kind}


@pytest.mark.parametrize("kind", ["cpu", "memory"])
def test_kubernetes_accepts_the_least_that_can_be_agreed(kind: str) -> None:
    reserved, at_most = rules.amount(RESERVED[kind]), rules.amount(AT_MOST[kind])

    assert reserved <= at_most <= rules.amount(LARGEST[kind][1])
