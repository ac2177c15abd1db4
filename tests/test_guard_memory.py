"""What the guard remembers: it outlives the guard, and bears with what it finds."""

from __future__ import annotations

import json

import pytest

from labfactory.guard.cluster import Cluster
from labfactory.guard.memory import (
    ACTED,
    DECISIONS,
    Decided,
    Remembered,
    Retrained,
)
from labfactory.releases.decisions.observed import Alarm, Decision, State
from tests.guard_parts import Kubernetes, deploy, release, route_path

MEMORY = Remembered(
    state=State(last=12.5, trials={"v2": {"n": 3}}),
    decisions=(
        Decided("2026-01-01T00:00:00+00:00", "promote", "good", "v2", 25, {"n": "3"}),
    ),
    alarms=(Alarm("ModelDecayed", "it has", "v1"),),
    phase="rollout",
    retrained=Retrained("retrain-iris-1", "2026-01-01T00:00:00+00:00", 4, 5),
    acted=("2026-01-01T00:00:00+00:00",),
)


def hold(reason: str, *alarms: Alarm) -> Decision:
    return Decision("hold", reason, "v2", alarms=alarms)


def after(memory: Remembered, decision: Decision, at: str) -> Remembered:
    return memory.having(decision, State(), phase="rollout", at=at)


def cluster_with(text: str | None) -> tuple[Kubernetes, Cluster]:
    kubernetes = Kubernetes()
    deploy(kubernetes, "iris", release())
    if text is not None:
        found = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "guard-iris",
                "labels": {"labfactory.io/guard": "iris"},
            },
            "data": {"state": text},
        }
        kubernetes.put("v1/configmaps/guard-iris", found)
    return kubernetes, Cluster(kubernetes.client())


def test_what_is_written_is_what_is_read() -> None:
    assert Remembered.read(MEMORY.written()) == MEMORY
    assert Remembered.read(Remembered().written()) == Remembered()


def test_a_later_guard_s_words_are_left_out() -> None:
    found = json.loads(MEMORY.written())
    found["mood"] = found["alarms"][0]["colour"] = found["retrained"]["cost"] = 1

    assert Remembered.read(json.dumps(found)) == MEMORY


def test_an_earlier_guard_s_memory_is_enough() -> None:
    found = Remembered.read('{"state": {"last": 1, "trials": {}}}')

    assert found == Remembered(state=State(last=1.0))


BROKEN = {
    "empty": "",
    "cut": '{"state": {"la',
    "null": "null",
    "list": "[]",
    "no state": "{}",
    "state is text": '{"state": "x"}',
    "decisions are text": '{"state": {"last": 1, "trials": {}}, "decisions": "x"}',
    "decision without time": '{"state": {"last": 1, "trials": {}}, "decisions": [{}]}',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_memory_is_told_and_the_release_is_watched_anew(text: str) -> None:
    kubernetes, cluster = cluster_with(text)

    found, broken = cluster.memories()

    assert found == {}
    assert [sentence.split(":")[0] for sentence in broken] == ["release 'iris'"]
    cluster.remember("iris", MEMORY, kubernetes.objects[route_path("iris")])
    assert Cluster(kubernetes.client()).memories() == ({"iris": MEMORY}, [])


def test_decisions_that_say_the_same_are_one_that_keeps_its_time() -> None:
    memory = after(Remembered(), hold("3 of 500 requests"), "t1")
    memory = after(memory, hold("9 of 500 requests"), "t2")
    memory = after(memory, Decision("roll_back", "errors", "v2"), "t3")

    told = [(each.at, each.act, each.reason) for each in memory.decisions]
    assert told == [("t1", "hold", "9 of 500 requests"), ("t3", "roll_back", "errors")]


def test_a_memory_is_bounded() -> None:
    memory = Remembered()
    for number in range(100):
        decision = Decision("promote", "good", "v2", number)
        memory = after(memory, decision, f"t{number}").acting(f"t{number}")

    assert len(memory.decisions) == DECISIONS
    assert len(memory.acted) == ACTED
    assert memory.decisions[-1].at == memory.acted[-1] == "t99"


def test_only_what_a_person_would_be_told_differs() -> None:
    memory = after(Remembered(), hold("3 of 500"), "t1")

    assert not after(memory, hold("4 of 500"), "t2").differs(memory)
    assert after(memory, hold("4", Alarm("GuardBlind", "why")), "t2").differs(memory)
    assert memory.acting("t2").differs(memory)


def test_a_memory_goes_with_its_route() -> None:
    kubernetes, cluster = cluster_with(None)
    route = kubernetes.objects[route_path("iris")]

    cluster.remember("iris", MEMORY, route)

    [owner] = kubernetes.of("configmaps")["guard-iris"]["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("HTTPRoute", route["metadata"]["uid"])


def test_what_sync_notes_at_the_same_time_is_kept() -> None:
    kubernetes, cluster = cluster_with(MEMORY.written())
    cluster.memories()
    noted = json.loads(MEMORY.written())
    noted["retrained"]["taken_at"] = "now"
    found = kubernetes.objects["v1/configmaps/guard-iris"]
    kubernetes.put(
        "v1/configmaps/guard-iris", {**found, "data": {"state": json.dumps(noted)}}
    )

    told = after(MEMORY, hold("x"), "t9")
    written = cluster.remember("iris", told, kubernetes.objects[route_path("iris")])

    assert written.retrained
    assert written.retrained.taken_at == "now"
    assert Cluster(kubernetes.client()).memories() == ({"iris": written}, [])


def test_a_memory_that_somebody_deleted_is_written_again() -> None:
    kubernetes, cluster = cluster_with(MEMORY.written())
    cluster.memories()
    del kubernetes.objects["v1/configmaps/guard-iris"]

    cluster.remember("iris", MEMORY, kubernetes.objects[route_path("iris")])

    assert Cluster(kubernetes.client()).memories() == ({"iris": MEMORY}, [])
