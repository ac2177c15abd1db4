"""Rollbacks: the route first, then the settings, and what dies in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labfactory.errors import LabError
from labfactory.releases import rollback, sync
from labfactory.releases.rollback import roll_back
from labfactory.releases.routes import VERDICT
from labfactory.releases.status import judged
from labfactory.releases.sync import close, finish
from labfactory.stack import Stack
from model_templates import routes as wanted
from tests.fake_routes import Cluster, a_lab, release

CANARY = release({"traffic": 90}, {"role": "candidate", "traffic": 10})
PROMOTED = release({"role": "previous", "traffic": 0}, {"traffic": 100})


def made(path: Path, monkeypatch: pytest.MonkeyPatch, iris: Any) -> Stack:
    stack = a_lab(path, {"iris": iris})
    monkeypatch.setattr(rollback, "Stack", lambda name: stack)
    return stack


def cluster_of(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster(stack)
    monkeypatch.setattr(rollback, "connect", found.routes)
    monkeypatch.setattr(sync, "connect", found.routes)
    return found


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    return made(tmp_path, monkeypatch, CANARY)


@pytest.fixture
def cluster(canary: Stack, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return cluster_of(canary, monkeypatch)


def rules_of(cluster: Cluster) -> Any:
    return cluster.live()["iris"]["spec"]["rules"]


def half_done(cluster: Cluster) -> tuple[str, ...]:
    return judged("example", cluster.stack.settings, cluster.live(), {}).half_done


def test_the_route_becomes_exactly_what_the_new_settings_say(
    canary: Stack, cluster: Cluster
) -> None:
    found = roll_back("example", "iris", because="errors")

    after = canary.settings.releases["iris"]
    assert rules_of(cluster) == wanted.rules("iris", after)
    assert (found.stable, found.verdict.rejected) == ("v1", ("v2",))
    assert after.variants["v2"].because == "errors"
    assert canary.file.read_text().startswith("# a comment\n")


def test_a_promotion_is_taken_back_to_what_was_stable_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = made(tmp_path, monkeypatch, PROMOTED)
    cluster = cluster_of(stack, monkeypatch)

    found = roll_back("example", "iris", because="slow")

    assert found.stable == stack.settings.releases["iris"].stable() == "v1"
    assert [b["weight"] for b in rules_of(cluster)[-1]["backendRefs"]] == [100]


def test_nothing_changes_when_the_good_variant_cannot_answer(
    canary: Stack, cluster: Cluster
) -> None:
    before = canary.file.read_bytes()
    cluster.client.services["iris-v1"] = False

    with pytest.raises(LabError, match=r"v1 can't answer .*nothing was changed"):
        roll_back("example", "iris", because="errors")

    assert (canary.file.read_bytes(), cluster.client.patches) == (before, 0)


def test_a_machine_that_dies_after_the_route_leaves_the_reason_in_the_cluster(
    canary: Stack, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = canary.file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(rollback, "write_back", dies)
        with pytest.raises(KeyboardInterrupt):
            roll_back("example", "iris", because="errors")
    assert canary.file.read_bytes() == before

    [told] = half_done(cluster)
    assert "v2 was taken back" in told
    assert "errors; the route says so, the settings do not yet" in told
    assert "`lab up example` finishes it" in told

    finish(canary)

    after = canary.settings.releases["iris"]
    assert after.variants["v2"].role == "rejected"
    assert rules_of(cluster) == wanted.rules("iris", after)
    cluster.up()
    close(canary)
    assert VERDICT not in cluster.live()["iris"]["metadata"]["annotations"]
    assert half_done(cluster) == ()


def test_a_machine_that_dies_after_the_settings_is_finished_without_another_edit(
    canary: Stack, cluster: Cluster
) -> None:
    roll_back("example", "iris", because="errors")
    written = canary.file.read_bytes()

    assert "Pulumi does not yet" in half_done(cluster)[0]
    assert len(finish(canary).verdicts) == 1
    assert canary.file.read_bytes() == written


def test_several_candidates_that_were_taken_back_are_all_written_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = {"role": "candidate", "traffic": 10}
    stack = made(tmp_path, monkeypatch, release({"traffic": 80}, candidate, candidate))
    cluster = cluster_of(stack, monkeypatch)
    before = stack.file.read_bytes()
    roll_back("example", "iris", because="errors")
    stack.file.write_bytes(before)

    finish(stack)

    after = stack.settings.releases["iris"]
    roles = [variant.role for variant in after.variants.values()]
    assert roles == ["stable", "rejected", "rejected"]
    assert rules_of(cluster) == wanted.rules("iris", after)


def test_a_candidate_that_the_guard_gave_its_first_requests_can_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = release({"traffic": 100}, {"role": "candidate", "traffic": 0})
    stack = made(tmp_path, monkeypatch, waiting)
    cluster_of(stack, monkeypatch).promotes("v2", 25)

    found = roll_back("example", "iris", because="errors")

    assert (found.stable, found.verdict.rejected) == ("v1", ("v2",))


def test_a_promotion_of_the_guard_can_be_taken_back_before_it_is_written(
    canary: Stack, cluster: Cluster
) -> None:
    cluster.promotes("v2", 100)

    found = roll_back("example", "iris", because="errors")

    assert (found.stable, found.verdict.rejected) == ("v1", ("v2",))
    assert canary.settings.releases["iris"].stable() == "v1"


def test_a_route_whose_weights_somebody_changed_is_told(
    canary: Stack, cluster: Cluster
) -> None:
    rules_of(cluster)[-1]["backendRefs"][0]["weight"] = 50
    rules_of(cluster)[-1]["backendRefs"][1]["weight"] = 50

    status = judged("example", canary.settings, cluster.live(), {})

    assert "weights are not those of the settings" in status.half_done[0]
    assert [(v.wanted, v.live) for v in status.variants] == [(90, 50), (10, 50)]
