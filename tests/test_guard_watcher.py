"""The loop around the engine, on a cluster that is away, changes or is shared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest

from labfactory.errors import LabError
from labfactory.guard import wanted
from labfactory.guard.alarms import Raised
from labfactory.guard.alerts import Alerts
from labfactory.guard.cluster import Cluster
from labfactory.guard.figures import Figures
from labfactory.guard.lease import Leadership
from labfactory.guard.reader import Reader
from labfactory.guard.retraining import Retraining
from labfactory.guard.watcher import Parts, Watcher
from labfactory.releases import traffic
from labfactory.releases.decisions.guard import decide
from labfactory.releases.decisions.observed import (
    Alarm,
    Counts,
    Decision,
    Observed,
    State,
)
from labfactory.releases.routes import Verdict, progress_on, verdicts_on
from model_templates.routes import rules
from stacks.schema import ReleaseConfig
from tests.guard_parts import (
    Kubernetes,
    Partner,
    deploy,
    release,
    route_path,
    served,
)
from tests.harness import variant

INTERVAL = 5.0
HOLD = Decision("hold", "too few requests")
BAD = Decision("roll_back", "errors", "v2", evidence={"errors": "30 of 100"})
MORE = Decision("promote", "good", "v2", 25)
ALL = Decision("promote", "good", "v2", 100)


class Clock:
    def __init__(self) -> None:
        self.monotonic = 100.0
        self.wall = 1_800_000_000.0

    def tick(self) -> float:
        return self.monotonic

    def now(self) -> float:
        return self.wall

    def pass_(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


class Measured:
    """A reader with something new in each round, or in trouble."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.has_begun = True
        self.odd = 0
        self.forgotten = 0

    def poll(self) -> bool:
        return self.trouble is None

    def take(
        self, releases: Mapping[str, ReleaseConfig], closely: object
    ) -> dict[str, Observed]:
        seen = Observed(1.0, 5.0, {"v2": Counts(requests=10)}, trouble=self.trouble)
        return dict.fromkeys(releases, seen)

    def forget(self) -> None:
        self.forgotten += 1


class Engine:
    """Decides as it is told, by release; it counts what it was shown in its state."""

    def __init__(self) -> None:
        self.says: dict[str, Decision | Exception] = {}
        self.asked: list[tuple[str, Mapping[str, int], Observed, int]] = []

    def __call__(
        self,
        name: str,
        settings: ReleaseConfig,
        live: Mapping[str, int],
        state: State,
        seen: Observed,
        *,
        now: float,
        budget: int,
    ) -> tuple[Decision, State]:
        self.asked.append((name, live, seen, budget))
        says = self.says.get(name, HOLD)
        if isinstance(says, Exception):
            raise says
        requests = sum(each.requests for each in seen.counts.values())
        known = int(state.trials.get("v2", {}).get("n", 0)) + requests
        if says.act != "hold" and budget < 1:
            says = Decision("hold", "no action is left", alarms=(Alarm("Spent", "x"),))
        return says, State(seen.time, {"v2": {"n": known, "act": says.act}})


class Said:
    """Hears alarms."""

    def __init__(self) -> None:
        self.raised: list[Raised] = []

    def say(self, raised: list[Raised]) -> None:
        self.raised = raised

    def names(self) -> list[tuple[str, str]]:
        return sorted((each.release, each.alarm.name) for each in self.raised)


class Models:
    """A registry of models."""

    def __init__(self) -> None:
        self.version = 4

    def newest(self, model: str) -> int:
        return self.version


class Guard:
    """One guard's process; several share a cluster and the time."""

    def __init__(
        self,
        bench: Bench,
        name: str = "guard-1",
        reader: Any = None,
        engine: Any = None,
    ) -> None:
        self.measured = Measured()
        self.said, self.log = Said(), list[dict[str, Any]]()
        client = bench.kubernetes.client()
        cluster = Cluster(client)
        models: Any = bench.models
        said: Any = self.said
        reading: Any = reader or self.measured
        self.leadership = Leadership(client, name, clock=bench.clock.tick)
        self.figures = Figures(clock=bench.clock.tick)
        parts = Parts(
            reader=reading,
            cluster=cluster,
            leadership=self.leadership,
            alerts=said,
            retraining=Retraining(cluster, models, now=bench.clock.now),
            figures=self.figures,
            decide=engine or bench.engine,
        )
        self.watcher = Watcher(
            parts,
            interval=INTERVAL,
            actions_per_hour=6,
            clock=bench.clock.tick,
            now=bench.clock.now,
            log=lambda line: self.log.append(json.loads(line)),
        )

    def events(self) -> list[str]:
        return [line["event"] for line in self.log]


class Bench:
    """A lab with one release, and one guard or more."""

    def __init__(self, **settings: Any) -> None:
        self.clock, self.kubernetes = Clock(), Kubernetes()
        self.engine, self.models = Engine(), Models()
        deploy(self.kubernetes, "iris", release(**settings))
        self.guard = Guard(self)

    def rounds(self, count: int = 1, *guards: Guard) -> None:
        for _ in range(count):
            for guard in guards or (self.guard,):
                guard.watcher.tick()
            self.clock.pass_(INTERVAL)

    def route(self, name: str = "iris") -> dict[str, Any]:
        return self.kubernetes.objects[route_path(name)]

    def weights(self, name: str = "iris") -> Mapping[str, int]:
        return traffic.read(name, self.route(name)).weights

    def verdicts(self, name: str = "iris") -> list[Verdict]:
        return verdicts_on({name: self.route(name)})

    def memory(self, name: str = "iris") -> dict[str, Any]:
        found = self.kubernetes.of("configmaps")[f"guard-{name}"]
        memory: dict[str, Any] = json.loads(found["data"]["state"])
        return memory

    def changes(self) -> list[str]:
        """Writes of routes."""
        return [path for _, path in self.kubernetes.writes if "httproutes" in path]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_bad_candidate_loses_its_requests_and_the_route_says_why(
    bench: Bench,
) -> None:
    bench.engine.says["iris"] = BAD

    bench.rounds()

    assert bench.weights() == {"v1": 100}
    [verdict] = bench.verdicts()
    assert (verdict.rejected, verdict.because, verdict.by) == (
        ("v2",),
        "errors",
        "guard",
    )
    assert verdict.evidence == {"errors": "30 of 100"}
    assert len(bench.changes()) == 1


def test_the_route_is_then_what_sync_and_pulumi_will_write(bench: Bench) -> None:
    bench.engine.says["iris"] = BAD
    bench.rounds()

    synced = wanted.taken_back("iris", release(), "v2", "errors")

    assert bench.route()["spec"]["rules"] == rules("iris", synced)


def test_a_good_candidate_gets_more_and_at_last_everything(bench: Bench) -> None:
    for decision, weights in (
        (MORE, {"v1": 75, "v2": 25}),
        (ALL, {"v1": 0, "v2": 100}),
    ):
        bench.engine.says["iris"] = decision
        bench.rounds()
        assert bench.weights() == weights
    step = progress_on({"iris": bench.route()})["iris"]
    assert (step.variant, step.traffic, step.because) == ("v2", 100, "good")


def test_what_goes_bad_after_its_promotion_is_taken_back_too(bench: Bench) -> None:
    bench.engine.says["iris"] = ALL
    bench.rounds()
    bench.engine.says["iris"] = BAD
    bench.rounds()

    assert bench.weights() == {"v1": 100}
    assert progress_on({"iris": bench.route()}) == {}


def test_a_promoted_variant_that_the_settings_know_goes_back_to_the_previous(
    bench: Bench,
) -> None:
    variants = {
        "v1": {**variant(1), "role": "previous", "traffic": 0},
        "v2": {**variant(2), "traffic": 100},
    }
    settings = ReleaseConfig.model_validate(
        {"template": "mlflow", "variants": variants}
    )
    deploy(bench.kubernetes, "iris", settings)
    bench.engine.says["iris"] = BAD

    bench.rounds()

    assert bench.weights() == {"v1": 100}


def test_nothing_is_done_twice(bench: Bench) -> None:
    bench.engine.says["iris"] = BAD
    bench.rounds(5)

    assert len(bench.changes()) == len(bench.verdicts()) == 1


def test_who_only_advises_changes_nothing() -> None:
    bench = Bench(guard={"mode": "advise"})
    for decision in (BAD, MORE):
        bench.engine.says["iris"] = decision
        bench.rounds()

    assert bench.changes() == []


def test_nothing_goes_to_a_variant_that_cannot_answer(bench: Bench) -> None:
    service = "serving.kserve.io/v1beta1/inferenceservices/iris-v1"
    bench.kubernetes.objects[service]["status"]["conditions"] = []
    bench.engine.says["iris"] = BAD
    bench.rounds(2)
    assert bench.changes() == []

    condition = {"type": "Ready", "status": "True"}
    bench.kubernetes.objects[service]["status"]["conditions"] = [condition]
    bench.engine.says["iris"] = HOLD  # whatever was decided is still to be done
    bench.rounds()

    assert bench.weights() == {"v1": 100}


def test_a_guard_killed_before_it_remembers_finds_its_verdict_on_the_route(
    bench: Bench,
) -> None:
    bench.engine.says["iris"] = BAD
    bench.kubernetes.refused["configmaps"] = 500
    bench.rounds()
    assert bench.kubernetes.of("configmaps") == {}

    bench.kubernetes.refused.clear()
    bench.clock.pass_(60)
    second = Guard(bench, "guard-2")
    bench.rounds(2, second)  # it sees the lease for the first time, and waits
    bench.clock.pass_(20)
    bench.rounds(3, second)

    assert second.leadership.held()
    assert len(bench.changes()) == 1
    assert bench.memory()["phase"] == "taken back"
    # The action that nobody remembered counts.
    assert bench.engine.asked[-1][3] == 5


def test_the_cluster_is_away_for_a_minute_and_nothing_is_lost(bench: Bench) -> None:
    bench.rounds()
    bench.kubernetes.is_away = True
    bench.engine.says["iris"] = BAD
    bench.rounds(12)
    assert bench.weights() == {"v1": 90, "v2": 10}

    bench.kubernetes.is_away = False
    bench.guard.measured.trouble = "Prometheus is away"
    bench.engine.says["iris"] = HOLD
    bench.rounds(3)

    assert bench.weights() == {"v1": 100}
    assert bench.memory()["state"]["trials"]["v2"]["n"] >= 100
    assert [*bench.guard.events()].count("trouble is over") >= 2


def test_a_route_that_changed_meanwhile_is_read_and_judged_anew(bench: Bench) -> None:
    bench.rounds()
    after = release(
        variants={
            "v1": {**variant(1), "traffic": 100},
            "v2": {**variant(2), "role": "rejected", "because": "a person said so"},
        }
    )
    bench.engine.says["iris"] = MORE
    for _ in range(3):
        bench.kubernetes.meanwhile.append(
            lambda: deploy(bench.kubernetes, "iris", after)
        )
    bench.rounds()
    bench.kubernetes.meanwhile.clear()
    bench.rounds()

    assert bench.weights() == {"v1": 100}
    assert progress_on({"iris": bench.route()}) == {}


def test_a_step_that_was_not_made_is_not_remembered_as_made(bench: Bench) -> None:
    bench.engine.says["iris"] = MORE
    bench.kubernetes.refused["httproutes"] = 403
    bench.rounds()

    assert bench.memory()["acted"] == []
    assert bench.memory()["state"]["trials"]["v2"] == {"n": 10, "act": "hold"}


def test_two_releases_that_fail_at_once_are_both_taken_back(bench: Bench) -> None:
    deploy(bench.kubernetes, "wine", release())
    deploy(bench.kubernetes, "ant", release())
    bench.engine.says = {"ant": MORE, "iris": BAD, "wine": BAD}

    bench.rounds()

    assert bench.weights("iris") == bench.weights("wine") == {"v1": 100}
    assert [path.rpartition("/")[2] for path in bench.changes()] == [
        *sorted(["iris", "wine"], key=[*bench.kubernetes.of("httproutes")].index),
        "ant",
    ]


def test_one_release_that_cannot_be_judged_does_not_blind_the_others(
    bench: Bench,
) -> None:
    for name in ("a", "z"):
        deploy(bench.kubernetes, name, release())
    bench.engine.says = {"a": ZeroDivisionError("no"), "z": BAD}
    broken = bench.kubernetes.objects[route_path("iris")]["metadata"]["annotations"]
    broken["labfactory.io/settings"] = '{"template": 7}'

    bench.rounds(2)

    assert bench.weights("z") == {"v1": 100}
    assert bench.guard.said.names() == [
        ("a", "GuardBlind"),
        ("iris", "GuardBlind"),
        ("z", "ReleaseTakenBack"),
    ]


def test_no_more_than_the_set_number_of_actions_an_hour(bench: Bench) -> None:
    names = [f"r{number}" for number in range(9)]
    for name in names:
        deploy(bench.kubernetes, name, release())
        bench.engine.says[name] = BAD
    bench.rounds(3)
    assert sum(bench.weights(name) == {"v1": 100} for name in names) == 6
    assert ("r8", "Spent") in bench.guard.said.names()

    bench.clock.pass_(3600)
    bench.rounds(2)

    assert all(bench.weights(name) == {"v1": 100} for name in names)


def test_a_clock_that_is_put_back_gives_no_actions_back(bench: Bench) -> None:
    bench.engine.says["iris"] = BAD
    bench.rounds()
    bench.clock.wall -= 86_400
    bench.rounds()

    assert bench.engine.asked[-1][3] == 5


def test_only_one_of_two_guards_acts(bench: Bench) -> None:
    second = Guard(bench, "guard-2")
    bench.rounds(8, bench.guard, second)

    assert (bench.guard.leadership.held(), second.leadership.held()) == (True, False)
    assert {name for name, *_ in bench.engine.asked} == {"iris"}
    assert len(bench.engine.asked) == 8


def test_a_guard_that_is_told_to_stop_lets_the_next_begin_at_once(
    bench: Bench,
) -> None:
    second = Guard(bench, "guard-2")
    bench.rounds(1, bench.guard, second)
    bench.guard.leadership.release()
    bench.rounds(1, second)

    assert second.leadership.held()
    assert not bench.guard.leadership.held()


def test_a_guard_that_is_cut_off_stops_before_the_next_one_begins(
    bench: Bench,
) -> None:
    second = Guard(bench, "guard-2")
    bench.rounds(1, bench.guard, second)
    alone = []
    for _ in range(30):
        bench.clock.pass_(1)
        bench.kubernetes.is_away = True
        bench.guard.watcher.tick()
        bench.kubernetes.is_away = False
        second.watcher.tick()
        alone.append((bench.guard.leadership.held(), second.leadership.held()))

    assert (True, True) not in alone
    assert alone[-1] == (False, True)
    bench.engine.says["iris"] = BAD
    bench.clock.pass_(2)
    bench.guard.watcher.tick()
    assert bench.changes() == []
    assert bench.guard.events()[-1] == "stands by"


def test_a_new_guard_goes_on_with_what_was_remembered(bench: Bench) -> None:
    bench.rounds(20)
    bench.guard.leadership.release()
    n = bench.memory()["state"]["trials"]["v2"]["n"]
    assert n >= 100

    second = Guard(bench, "guard-2")
    bench.rounds(1, second)
    bench.clock.pass_(60)
    bench.rounds(1, second)

    assert bench.memory()["state"]["trials"]["v2"]["n"] == n + 20


def test_memories_are_written_when_they_tell_something_or_each_minute(
    bench: Bench,
) -> None:
    bench.rounds(25)  # two minutes

    writes = [path for _, path in bench.kubernetes.writes if "configmaps" in path]
    assert len(writes) == 3


def test_a_release_that_is_gone_is_forgotten(bench: Bench) -> None:
    bench.engine.says["iris"] = Decision("hold", "x", alarms=(Alarm("Slow", "x"),))
    bench.rounds()
    assert bench.guard.said.names() == [("iris", "Slow")]
    del bench.kubernetes.objects[route_path("iris")]
    bench.rounds()

    assert bench.guard.said.names() == []


def test_without_measurements_rounds_go_on(bench: Bench) -> None:
    bench.guard.measured.trouble = "Prometheus is away"
    bench.rounds(6)

    assert [seen.trouble for _, _, seen, _ in bench.engine.asked] == [
        "Prometheus is away"
    ] * 2


def test_a_reason_of_any_length_fits_into_the_settings(bench: Bench) -> None:
    bench.engine.says["iris"] = Decision("roll_back", "so\n slow " * 100, "v2")
    bench.rounds()

    [verdict] = bench.verdicts()
    assert len(verdict.because) <= 300
    assert wanted.taken_back("iris", release(), "v2", verdict.because)


def test_another_candidate_keeps_what_it_has() -> None:
    settings = release(
        variants={
            "v1": {**variant(1), "traffic": 80},
            "v2": {**variant(2), "role": "candidate", "traffic": 10},
            "v3": {**variant(3), "role": "candidate", "traffic": 10},
        }
    )

    after = wanted.given("iris", settings, {"v1": 65, "v2": 10, "v3": 25}, "v2", 50)

    assert {n: v.traffic for n, v in after.variants.items()} == {
        "v1": 25,
        "v2": 50,
        "v3": 25,
    }


def test_decay_starts_one_training_and_its_version_is_found() -> None:
    rule = {"arguments": ["--dataset", "iris", "--name", "iris"]}
    bench = Bench(retrain=rule)
    bench.kubernetes.put(
        "batch/v1/cronjobs/retrain-iris",
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "retrain-iris"},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": {}}}}},
        },
    )
    bench.engine.says["iris"] = Decision("hold", "decayed", retrain=True)
    bench.rounds(20)
    [(name, job)] = bench.kubernetes.of("jobs").items()
    assert bench.memory()["retrained"]["job"] == name
    assert bench.memory()["retrained"]["version"] is None

    bench.models.version = 5
    job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    bench.rounds(20)

    assert bench.memory()["retrained"]["version"] == 5
    assert [*bench.kubernetes.of("jobs")] == [name]


def test_a_training_that_registers_nothing_is_an_alarm() -> None:
    bench = Bench(retrain={"arguments": ["--x"]})
    bench.kubernetes.put(
        "batch/v1/cronjobs/retrain-iris",
        {
            "metadata": {"name": "retrain-iris"},
            "spec": {"jobTemplate": {"spec": {}}},
        },
    )
    bench.engine.says["iris"] = Decision("hold", "decayed", retrain=True)
    bench.rounds()
    [job] = bench.kubernetes.of("jobs").values()
    job["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    bench.rounds(10)

    assert bench.guard.said.names() == [("iris", "RetrainingFailed")]


def test_the_guard_tells_of_itself(bench: Bench) -> None:
    bench.rounds(2)
    with bench.guard.figures.served(0, "127.0.0.1") as port:
        url = f"http://127.0.0.1:{port}"
        told = httpx.get(f"{url}/metrics", trust_env=False).text
        alive = httpx.get(f"{url}/healthz", trust_env=False).status_code
        bench.clock.pass_(61)
        stuck = httpx.get(f"{url}/healthz", trust_env=False).status_code

    assert 'lab_guard_decisions_total{act="hold",release="iris"} 2.0' in told
    assert 'lab_guard_holding{release="iris"} 1.0' in told
    assert "lab_guard_leader 1.0" in told
    assert "lab_guard_round_timestamp_seconds 1.800000005e+09" in told
    assert (alive, stuck) == (200, 503)


def measure(
    prometheus: Partner, at: float, sent: Mapping[str, tuple[int, int]]
) -> None:
    """Let the gateway have sent so many good and bad answers by variant."""
    for name, (good, bad) in sent.items():
        of = {"job": "gateway", "instance": "envoy", "release": "iris"}
        for code, count in (("2", good), ("5", bad)):
            more = {"envoy_response_code_class": code, "variant": name}
            prometheus.sample(
                at, count, __name__="envoy_cluster_upstream_rq_xx", **of, **more
            )


def test_with_the_real_parts_a_candidate_that_fails_is_gone_after_two_looks(
    bench: Bench,
) -> None:
    with served(Partner()) as prometheus:
        reader = Reader(prometheus.url, interval=INTERVAL, clock=bench.clock.tick)
        guard = Guard(bench, reader=reader, engine=decide)
        good = bad = 0
        for _ in range(20):
            good += 50
            sent = {"v1": (9 * good, 0), "v2": (good, bad)}
            measure(prometheus, bench.clock.wall, sent)
            bench.rounds(1, guard)
        assert bench.changes() == []

        looks = 0
        while not bench.changes() and looks < 10:
            looks += 1
            good, bad = good + 25, bad + 25
            sent = {"v1": (18 * good, 0), "v2": (good, bad)}
            measure(prometheus, bench.clock.wall, sent)
            bench.rounds(1, guard)
        reader.__exit__()

    assert looks <= 2
    assert bench.weights() == {"v1": 100}
    [verdict] = bench.verdicts()
    assert verdict.evidence


@pytest.fixture
def alertmanager() -> Iterator[Partner]:
    with served(Partner()) as partner:
        partner.body = b"{}"
        yield partner


def alarms(partner: Partner) -> list[list[str]]:
    return [[each["labels"]["alertname"] for each in post] for post in partner.got]


def test_an_alarm_is_posted_at_once_and_each_minute_and_ended(
    alertmanager: Partner,
) -> None:
    now = [0.0]
    raised = [Raised("iris", Alarm("ReleaseTakenBack", "errors", "v2"), {"n": "3"})]
    with Alerts(alertmanager.url, "lab", clock=lambda: now[0]) as alerts:
        for _ in range(61):
            assert alerts.say(raised) is None
            now[0] += 1
        alerts.say([])
        alerts.say([])

    first, _, last = [post[0] for post in alertmanager.got]
    assert first["labels"] == {
        "alertname": "ReleaseTakenBack",
        "lab": "lab",
        "release": "iris",
        "variant": "v2",
        "severity": "page",
    }
    assert first["annotations"] == {
        "summary": "release iris: errors",
        "description": "n: 3",
    }
    assert first["endsAt"] > last["endsAt"]


def test_an_alertmanager_that_is_away_is_tried_again_and_holds_nobody_up(
    alertmanager: Partner,
) -> None:
    now = [0.0]
    raised = [Raised("iris", Alarm("ModelDecayed", "x"))]
    alertmanager.status = 503
    with Alerts(alertmanager.url, "lab", clock=lambda: now[0]) as alerts:
        first = alerts.say(raised)
        for _ in range(9):
            now[0] += 1
            alerts.say(raised)
        assert len(alertmanager.got) == 1
        alertmanager.status = 200
        now[0] += 1
        assert alerts.say(raised) is None

    assert first == "Alertmanager answers with status 503"
    assert alarms(alertmanager) == [["ModelDecayed"], ["ModelDecayed"]]


def test_a_promotion_of_what_is_no_candidate_is_refused() -> None:
    with pytest.raises(LabError):
        wanted.given("iris", release(), {}, "v1", 50)


def test_an_error_of_any_kind_is_told_and_the_loop_goes_on(bench: Bench) -> None:
    class Stop:
        left = 3

        def is_set(self) -> bool:
            self.left -= 1
            return self.left < 0

        def wait(self, _: float) -> None:
            pass

    def broken(*_: object) -> bool:
        raise RuntimeError("unforeseen")

    poll: Callable[..., bool] = broken
    bench.guard.measured.poll = poll  # type: ignore[method-assign]
    bench.guard.watcher.run(Stop())  # type: ignore[arg-type]

    assert bench.guard.events().count("error") == 3
    assert not bench.guard.leadership.held()


def test_the_first_measurement_decides_nothing(bench: Bench) -> None:
    bench.guard.measured.has_begun = False

    bench.rounds()

    assert bench.engine.asked == []
