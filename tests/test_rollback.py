"""Rollbacks: the route first, then the settings, and what dies in between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from labfactory.errors import LabError
from labfactory.releases import rollback
from labfactory.releases.rollback import close, finish, roll_back
from labfactory.releases.routes import VERDICT, Verdict
from labfactory.releases.status import judged
from labfactory.stack import Stack
from model_templates import routes as wanted
from tests.harness import example, variant

CANARY = {
    "v1": {**variant(1), "traffic": 90},
    "v2": {**variant(2), "role": "candidate", "traffic": 10},
}
PROMOTED = {
    "v1": {**variant(1), "role": "previous", "traffic": 0},
    "v2": {**variant(2), "traffic": 100},
}


class Cluster:
    """What a cluster remembers of routes; `dies` ends the process after a write."""

    def __init__(self) -> None:
        self.rules: dict[str, list[dict[str, Any]]] = {}
        self.open: dict[str, Verdict] = {}
        self.down: set[str] = set()
        self.writes = 0

    def turn(self, release: str, rules: list[dict[str, Any]], verdict: Verdict) -> None:
        self.rules[release] = rules
        self.open[release] = Verdict.read(verdict.written())
        self.writes += 1

    def live(self) -> dict[str, Any]:
        return {
            release: {
                "metadata": {"annotations": {VERDICT: verdict.written()}},
                "spec": {"rules": self.rules[release]},
            }
            for release, verdict in self.open.items()
        }

    def verdicts(self) -> list[Verdict]:
        return list(self.open.values())

    def ready(self) -> Mapping[str, bool]:
        names = (f"iris-v{number}" for number in (1, 2, 3))
        return {name: name not in self.down for name in names}

    def clear(self, release: str) -> None:
        del self.open[release]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster()
    monkeypatch.setattr(rollback, "Routes", lambda *_: found)
    return found


def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variants: Any) -> Stack:
    """A lab with one release, in a project folder of its own."""
    stack = Stack("example", project=tmp_path)
    stack.file.parent.mkdir()
    releases = {"iris": {"template": "mlflow", "variants": variants}}
    settings = {"config": {"labfactory:lab": example(releases=releases)}}
    stack.file.write_text(f"# a comment\n{yaml.safe_dump(settings, sort_keys=False)}")
    monkeypatch.setattr(rollback, "Stack", lambda name: stack)
    return stack


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    return lab(tmp_path, monkeypatch, CANARY)


def test_the_route_becomes_exactly_what_the_new_settings_say(
    canary: Stack, cluster: Cluster
) -> None:
    found = roll_back("example", "iris", because="errors")

    after = canary.settings.releases["iris"]
    assert cluster.rules["iris"] == wanted.rules("iris", after)
    assert (found.stable, found.verdict.rejected) == ("v1", ("v2",))
    assert after.variants["v2"].because == "errors"
    assert canary.file.read_text().startswith("# a comment\n")


def test_a_promotion_is_taken_back_to_what_was_stable_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    stack = lab(tmp_path, monkeypatch, PROMOTED)

    found = roll_back("example", "iris", because="slow")

    assert found.stable == stack.settings.releases["iris"].stable() == "v1"
    weights = [b["weight"] for b in cluster.rules["iris"][-1]["backendRefs"]]
    assert weights == [100]


def test_nothing_changes_when_the_good_variant_cannot_answer(
    canary: Stack, cluster: Cluster
) -> None:
    before = canary.file.read_bytes()
    cluster.down.add("iris-v1")

    with pytest.raises(LabError, match=r"v1 can't answer .*nothing was changed"):
        roll_back("example", "iris", because="errors")

    assert (canary.file.read_bytes(), cluster.writes) == (before, 0)


def test_a_machine_that_dies_after_the_route_leaves_the_reason_in_the_cluster(
    canary: Stack, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = canary.file.read_bytes()
    monkeypatch.setattr(rollback, "write_back", dies)
    with pytest.raises(KeyboardInterrupt):
        roll_back("example", "iris", because="errors")
    assert canary.file.read_bytes() == before

    status = judged("example", canary.settings, cluster.live(), {})
    [half_done] = status.half_done
    assert "v2 was taken back" in half_done
    assert "errors; the route says so, the settings do not yet" in half_done
    assert "`lab up example` finishes it" in half_done

    monkeypatch.undo()
    monkeypatch.setattr(rollback, "Routes", lambda *_: cluster)
    open_ = finish(canary)

    after = canary.settings.releases["iris"]
    assert after.variants["v2"].role == "rejected"
    assert cluster.rules["iris"] == wanted.rules("iris", after)
    close(canary, open_)
    assert cluster.verdicts() == finish(canary) == []


def test_a_machine_that_dies_after_the_settings_is_finished_without_another_edit(
    canary: Stack, cluster: Cluster
) -> None:
    roll_back("example", "iris", because="errors")
    written = canary.file.read_bytes()

    status = judged("example", canary.settings, cluster.live(), {})
    assert "Pulumi does not yet" in status.half_done[0]
    assert len(finish(canary)) == 1
    assert canary.file.read_bytes() == written


def test_several_candidates_that_were_taken_back_are_all_written_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    three = {
        "v1": {**variant(1), "traffic": 80},
        "v2": {**variant(2), "role": "candidate", "traffic": 10},
        "v3": {**variant(3), "role": "candidate", "traffic": 10},
    }
    stack = lab(tmp_path, monkeypatch, three)
    before = stack.file.read_bytes()
    roll_back("example", "iris", because="errors")
    stack.file.write_bytes(before)

    finish(stack)

    after = stack.settings.releases["iris"]
    assert [v.role for v in after.variants.values()] == [
        "stable",
        "rejected",
        "rejected",
    ]
    assert cluster.rules["iris"] == wanted.rules("iris", after)


def test_a_route_whose_weights_somebody_changed_is_told(canary: Stack) -> None:
    rules = wanted.rules("iris", canary.settings.releases["iris"])
    rules[-1]["backendRefs"][0]["weight"] = 50
    live = {"iris": {"metadata": {}, "spec": {"rules": rules}}}

    status = judged("example", canary.settings, live, {})

    assert "weights are not those of the settings" in status.half_done[0]
    assert [(v.wanted, v.live) for v in status.variants] == [(90, 50), (10, 10)]
