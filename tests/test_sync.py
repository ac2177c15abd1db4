"""What was decided on live routes becomes settings and commits, once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import pytest

from labfactory.errors import LabError
from labfactory.guard.memory import Decided, Remembered, Retrained
from labfactory.releases import changes, watched
from labfactory.releases import edit as releasing
from labfactory.releases import sync as engine
from labfactory.releases.carried import carried
from labfactory.releases.routes import PROGRESS, REJECTED, VERDICT, Progress
from labfactory.releases.sync import close, finish, show, sync
from labfactory.settings import history
from labfactory.settings.edit import edit
from labfactory.stack import Stack
from tests.fake_routes import NOW, Cluster, a_lab, git, kept_in_git, release

WATCHED: Mapping[str, Any] = {"monitoring": {}, "guard": {}}
STEPS = {"guard": {"steps": [10, 25, 50, 100], "drift": {}}}
RETRAIN = {"retrain": {"arguments": ["iris"]}}
CANDIDATE = {"role": "candidate", "traffic": 10}


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    iris = release({"traffic": 90}, CANDIDATE, **STEPS, **RETRAIN)
    found = kept_in_git(a_lab(tmp_path, {"iris": iris}, **WATCHED))
    monkeypatch.setattr(engine, "Stack", lambda name: found)
    return found


@pytest.fixture
def cluster(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster(stack)
    monkeypatch.setattr(engine, "connect", found.routes)
    return found


class Memories:
    """What the guard remembers, in the place of its ConfigMaps."""

    def __init__(self) -> None:
        self.found: dict[str, Remembered] = {}
        self.taken: list[tuple[str, str]] = []

    def read(self) -> tuple[dict[str, Remembered], list[str]]:
        return self.found, []

    def take(self, release: str, job: str, at: str) -> None:
        self.taken.append((release, job))
        made = Retrained(job, NOW, version=7, taken_at=at)
        self.found[release] = Remembered(retrained=made)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def memories(monkeypatch: pytest.MonkeyPatch) -> Memories:
    found = Memories()
    monkeypatch.setattr(watched, "Memories", lambda *_: found)
    return found


def variants(stack: Stack) -> dict[str, tuple[str, int]]:
    found = stack.settings.releases["iris"].variants
    return {name: (each.role, each.traffic) for name, each in found.items()}


def subjects(stack: Stack) -> list[str]:
    """Subjects of the commits, without the first, newest last."""
    return git(stack.project, "log", "--reverse", "--format=%s").splitlines()[1:]


def notes(cluster: Cluster) -> set[str]:
    """What the route carries."""
    annotations: Mapping[str, str] = cluster.live()["iris"]["metadata"]["annotations"]
    return {VERDICT, REJECTED, PROGRESS} & annotations.keys()


def by_hand(stack: Stack, operation: Any) -> None:
    """Change the settings as a person does, without a commit."""
    edit(stack.file, operation).write()


def test_a_verdict_becomes_one_commit_with_reason_and_evidence(
    stack: Stack, cluster: Cluster
) -> None:
    cluster.rejects("v2")

    [told] = sync("example").written

    assert variants(stack) == {"v1": ("stable", 100), "v2": ("rejected", 0)}
    assert "v2 was taken back by guard" in told
    assert git(stack.project, "log", "-1", "--format=%an%n%B") == (
        "On Call\nRoll back iris: v2 taken back\n\nerrors\n\n"
        f"Rolled-back-by: guard\nRolled-back-at: {NOW}\nErrors: 9"
    )


def test_a_step_becomes_one_commit_with_the_numbers_that_the_guard_remembers(
    stack: Stack, cluster: Cluster, memories: Memories
) -> None:
    step = cluster.promotes("v2", 25)
    decided = Decided(NOW, "promote", "well", "v2", 25, {"requests": "400"})
    memories.found["iris"] = Remembered(decisions=(decided,))

    sync("example")

    assert variants(stack) == {"v1": ("stable", 75), "v2": ("candidate", 25)}
    assert git(stack.project, "log", "-1", "--format=%B") == (
        f"Send v2=25 per cent of iris's requests\n\n{step.because}\n\n"
        f"Promoted-by: guard\nPromoted-at: {NOW}\nRequests: 400"
    )


def test_a_step_to_all_requests_is_a_promotion(stack: Stack, cluster: Cluster) -> None:
    cluster.promotes("v2", 100)

    sync("example")

    assert variants(stack) == {"v1": ("previous", 0), "v2": ("stable", 100)}
    assert subjects(stack) == ["Promote iris v2"]


@pytest.mark.parametrize("decide", ["rejects", "promotes"])
def test_a_second_run_writes_nothing(
    stack: Stack, cluster: Cluster, decide: str
) -> None:
    cluster.rejects("v2") if decide == "rejects" else cluster.promotes("v2", 25)
    assert show("example") == 2

    assert show("example") == 0
    assert len(subjects(stack)) == 1


@pytest.mark.parametrize("decide", ["rejects", "promotes"])
def test_one_that_dies_before_the_commit_is_finished_by_the_next(
    stack: Stack, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, decide: str
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    cluster.rejects("v2") if decide == "rejects" else cluster.promotes("v2", 25)
    with monkeypatch.context() as patched:
        patched.setattr(history, "record", dies)
        with pytest.raises(KeyboardInterrupt):
            sync("example")
    written = stack.file.read_bytes()
    assert subjects(stack) == []

    assert len(sync("example").written) == 1
    assert stack.file.read_bytes() == written
    assert len(subjects(stack)) == 1
    assert sync("example").written == ()


@pytest.mark.parametrize("decide", ["rejects", "promotes"])
def test_the_route_is_cleared_when_pulumi_agrees_and_not_before(
    stack: Stack, cluster: Cluster, decide: str
) -> None:
    cluster.rejects("v2") if decide == "rejects" else cluster.promotes("v2", 25)
    carries = notes(cluster)

    assert sync("example").open == ("iris",)
    assert notes(cluster) == carries

    cluster.up()  # by hand, by CI: nobody has told `lab`
    assert sync("example").open == ()
    assert notes(cluster) == set()


def test_what_happens_on_a_route_while_pulumi_works_stays_on_it(
    stack: Stack, cluster: Cluster
) -> None:
    cluster.promotes("v2", 25)
    finish(stack)
    cluster.up()
    cluster.rejects("v2")

    close(stack)

    assert notes(cluster) == {VERDICT, REJECTED}
    sync("example")
    assert variants(stack)["v2"] == ("rejected", 0)


def test_a_promotion_that_was_taken_back_before_it_was_written_never_was(
    stack: Stack, cluster: Cluster
) -> None:
    cluster.promotes("v2", 100)
    cluster.rejects("v2")

    sync("example")

    assert variants(stack) == {"v1": ("stable", 100), "v2": ("rejected", 0)}
    assert subjects(stack) == ["Roll back iris: v2 taken back"]


def test_a_verdict_wins_over_a_step_of_the_same_variant(
    stack: Stack, cluster: Cluster
) -> None:
    verdict = cluster.rejects("v2")
    late = Progress("v2", 50, NOW, "well").written()
    cluster.client.routes["iris"]["metadata"]["annotations"][PROGRESS] = late

    [each] = carried(cluster.live())

    assert each.verdicts == (verdict,)
    assert each.of_progress(stack.settings) is None


def test_a_promotion_that_is_written_is_taken_back_to_the_previous_variant(
    stack: Stack, cluster: Cluster
) -> None:
    cluster.promotes("v2", 100)
    sync("example")
    cluster.up()
    cluster.rejects("v2")

    sync("example")

    assert variants(stack) == {"v1": ("stable", 100), "v2": ("rejected", 0)}
    assert subjects(stack) == ["Promote iris v2", "Roll back iris: v2 taken back"]


def test_steps_that_nobody_applied_follow_each_other(
    stack: Stack, cluster: Cluster
) -> None:
    for traffic in (25, 50, 100):
        cluster.promotes("v2", traffic)
        assert sync("example").left == ()

    assert variants(stack)["v2"] == ("stable", 100)
    assert len(subjects(stack)) == 3


def as_shadow(tree: Any) -> Any:
    found = tree["releases"]["iris"]["variants"]
    found["v1"]["traffic"] = 100
    found["v2"].update(role="shadow", traffic=0, mirror=5)
    return tree


def without(tree: Any) -> Any:
    found = tree["releases"]["iris"]["variants"]
    found["v1"]["traffic"] = 100
    del found["v2"]
    return tree


EDITS: dict[str, tuple[Any, str]] = {
    "stopped": (
        lambda tree: changes.weigh(tree, "iris", {"v2": 0}),
        "edited meanwhile and give it 0",
    ),
    "given another share": (
        lambda tree: changes.weigh(tree, "iris", {"v2": 20}),
        "edited meanwhile and give it 20",
    ),
    "made a shadow": (as_shadow, "in the settings it is a shadow meanwhile"),
    "removed": (without, "v2 is in the settings no more"),
}


@pytest.mark.parametrize("case", EDITS)
def test_a_person_s_edit_is_never_overwritten(
    stack: Stack, cluster: Cluster, case: str
) -> None:
    operation, told = EDITS[case]
    cluster.promotes("v2", 50)
    by_hand(stack, operation)
    edited = stack.file.read_bytes()

    found = sync("example")

    assert stack.file.read_bytes() == edited
    assert told in found.left[0]
    assert found.written == ()
    assert show("example") == 1
    cluster.up()
    assert sync("example").left == ()
    assert notes(cluster) == set()


def test_an_edit_of_something_else_is_not_in_the_way(
    stack: Stack, cluster: Cluster
) -> None:
    def more(tree: Any) -> Any:
        tree["releases"]["iris"]["replicas"] = 3
        return tree

    cluster.promotes("v2", 50)
    by_hand(stack, more)

    sync("example")

    assert variants(stack)["v2"] == ("candidate", 50)
    assert stack.settings.releases["iris"].replicas == 3


def test_a_step_that_somebody_has_undone_on_the_route_is_not_written(
    stack: Stack, cluster: Cluster
) -> None:
    cluster.promotes("v2", 50)
    backends = cluster.client.routes["iris"]["spec"]["rules"][-1]["backendRefs"]
    backends[0]["weight"], backends[1]["weight"] = 95, 5

    [told] = sync("example").left

    assert "the route gives it 5 per cent now" in told
    assert variants(stack)["v2"] == ("candidate", 10)


def test_a_step_that_pulumi_took_back_unknowingly_is_forgotten(
    stack: Stack, cluster: Cluster
) -> None:
    cluster.promotes("v2", 50)
    cluster.up()

    assert sync("example") == engine.Synced()
    assert notes(cluster) == set()


def test_nothing_is_applied_while_a_variant_that_was_taken_back_would_return(
    stack: Stack, cluster: Cluster
) -> None:
    by_hand(stack, lambda tree: changes.promote(tree, "iris", "v2"))
    cluster.up()
    cluster.rejects("v2")
    by_hand(stack, lambda tree: changes.retire(tree, "iris", "v1"))

    with pytest.raises(LabError, match="has nothing to go back to"):
        finish(stack)


def test_trouble_with_one_release_is_not_in_the_way_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {name: release({"traffic": 90}, CANDIDATE) for name in ("iris", "wine")}
    stack = kept_in_git(a_lab(tmp_path, both))
    cluster = Cluster(stack)
    monkeypatch.setattr(engine, "Stack", lambda name: stack)
    monkeypatch.setattr(engine, "connect", cluster.routes)
    cluster.promotes("v2", 50)
    cluster.rejects("v2", "wine")
    by_hand(stack, without)

    found = sync("example")

    assert "release iris" in found.left[0]
    wine = stack.settings.releases["wine"].variants
    assert wine["v2"].role == "rejected"


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the gates were asked to admit; they admit everything."""
    found: list[dict[str, Any]] = []

    def write_release(lab: str, model: str, version: str, **asked: Any) -> bool:
        found.append({"lab": lab, "model": model, "version": version, **asked})
        return True

    monkeypatch.setattr(releasing, "write_release", write_release)
    return found


def test_what_was_trained_anew_enters_with_the_first_step_and_once(
    stack: Stack, cluster: Cluster, memories: Memories, released: list[dict[str, Any]]
) -> None:
    memories.found["iris"] = Remembered(retrained=Retrained("job-1", NOW, version=7))

    [told] = sync("example", push=True).written

    assert "version 7, trained anew by job-1, is a candidate with 10 per cent" in told
    asked = {"lab": "example", "model": "iris", "version": "7"}
    assert released == [{**asked, "traffic": 10, "push": True}]
    assert memories.taken == [("iris", "job-1")]
    assert sync("example").written == ()
    assert len(released) == 1


def test_what_the_gates_refuse_stays_out_and_is_told(
    stack: Stack,
    cluster: Cluster,
    memories: Memories,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(*_: object, **__: object) -> bool:
        raise LabError("version 7 breaks the contract of the stable variant")

    monkeypatch.setattr(releasing, "write_release", refuses)
    memories.found["iris"] = Remembered(retrained=Retrained("job-1", NOW, version=7))
    before = stack.file.read_bytes()

    for _ in range(2):
        [told] = sync("example").left
        assert "trained anew and is not in the settings" in told
        assert "breaks the contract" in told

    assert stack.file.read_bytes() == before
    assert memories.taken == []


@pytest.mark.parametrize(
    "made",
    [None, Retrained("job-1", NOW), Retrained("job-1", NOW, failed=True)],
    ids=["never", "still training", "failed"],
)
def test_nothing_is_released_before_a_training_has_made_it(
    stack: Stack,
    cluster: Cluster,
    memories: Memories,
    released: list[dict[str, Any]],
    made: Retrained | None,
) -> None:
    memories.found["iris"] = Remembered(retrained=made)

    assert sync("example") == engine.Synced()
    assert released == []


def test_an_advising_guard_s_candidate_gets_no_requests_by_itself(
    stack: Stack, cluster: Cluster, memories: Memories, released: list[dict[str, Any]]
) -> None:
    def advise(tree: Any) -> Any:
        tree["releases"]["iris"]["guard"]["mode"] = "advise"
        return tree

    by_hand(stack, advise)
    memories.found["iris"] = Remembered(retrained=Retrained("job-1", NOW, version=7))

    sync("example")

    assert released[0]["traffic"] == 0


def test_a_long_reason_is_whole_in_the_commit_and_short_in_the_settings(
    stack: Stack, cluster: Cluster
) -> None:
    verdict = replace(cluster.rejects("v2"), because="x" * 400)
    annotations = cluster.client.routes["iris"]["metadata"]["annotations"]
    annotations[VERDICT] = json.dumps([asdict(verdict)])

    assert sync("example").left == ()

    because = stack.settings.releases["iris"].variants["v2"].because
    assert because
    assert len(because) == 300
    assert "x" * 400 in git(stack.project, "log", "-1", "--format=%B")
