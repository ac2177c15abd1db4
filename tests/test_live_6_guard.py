"""The lab watches itself: measurements, alerts, and releases that are taken back."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from kubernetes import client

from labfactory import environment
from labfactory.bench import partner
from labfactory.bench.partner import Partner
from labfactory.demo.story import CLASSIFIER, Demo, Example, only
from labfactory.releases import changes, feedback
from labfactory.releases.routes import Progress, Verdict, connect, progress_on
from labfactory.releases.simulation import trace_recorder
from labfactory.releases.simulation.simulate import simulate
from labfactory.releases.simulation.traces import Recorded
from labfactory.releases.status import status
from labfactory.releases.sync import sync
from tests.live_lab import core, eventually, pods, pulumi

pytestmark = pytest.mark.live

SCORE = "score"
JOBS = {
    "alertmanager",
    "database",
    "gateway",
    "guard",
    "models",
    "node",
    "prometheus",
    "state",
    "storage",
    "tracking",
}
PROMETHEUS_KIND = "stateful_set"
INTERVAL = 5.0
"""Seconds between two measurements, by default."""


@pytest.fixture(scope="module")
def somebody(lab: Demo) -> Iterator[Partner]:
    """Whoever hears of alerts, and whose endpoints fail when they are told to."""
    lab.outputs = lab.apply()
    image = lab.outputs["lab_image"]
    with partner.partner(lab.settings.cluster.context, image) as found:
        yield found


def set_up(demo: Demo, rules: dict[str, Any], **variants: dict[str, Any]) -> None:
    """Release the partner's endpoints, watched by `rules`."""

    def operation(tree: dict[str, Any]) -> dict[str, Any]:
        receivers = {"partner": {"kind": "webhook", "url": partner.ALERTS}}
        tree["monitoring"] = {**tree["monitoring"], "receivers": receivers}
        tree["guard"] = {"actions_per_hour": 60}
        # Failures on purpose use up an error budget, and nothing more is promoted.
        for agreement in tree["agreements"].values():
            agreement.pop("objectives", None)
        tree["releases"][SCORE] = {
            "template": "mlflow",
            **({"guard": rules} if rules else {}),
            "variants": {
                name: {**partner.variant(name), **said}
                for name, said in variants.items()
            },
        }
        return tree

    demo.edit(operation)
    demo.outputs = demo.apply()


@dataclass
class Caller:
    """What callers got: statuses, and who answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    last: dict[str, float] = field(default_factory=dict)
    """Moment of the last answer of each variant, and of the last failure."""


@contextmanager
def calling(demo: Demo, *, a_second: float = 60, threads: int = 3) -> Iterator[Caller]:
    """Ask the release all the time meanwhile."""
    found = Caller()
    stop = threading.Event()
    lock = threading.Lock()

    def keep_asking() -> None:
        with httpx.Client(
            base_url=demo.outputs["gateway_url"],
            headers={"Host": demo.outputs["model_hosts"][SCORE]},
            timeout=10,
            trust_env=False,
        ) as http:
            while not stop.wait(threads / a_second):
                answer = http.post(
                    f"/v1/models/{SCORE}:predict", json={"instances": [[1.0]]}
                )
                who = answer.json()["served_by"] if answer.is_success else "nobody"
                with lock:
                    found.statuses[answer.status_code] += 1
                    found.last[who] = time.monotonic()

    running = [threading.Thread(target=keep_asking) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in running:
            thread.join()


def measured(demo: Demo, query: str) -> list[dict[str, Any]]:
    """The samples that Prometheus answers a query with."""
    answer = httpx.get(
        f"{demo.outputs['monitoring_url']}/api/v1/query",
        params={"query": query},
        timeout=10,
        trust_env=False,
    )
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def targets(demo: Demo) -> list[dict[str, Any]]:
    """What Prometheus asks for measurements at this moment, and whether it answers."""
    answer = httpx.get(
        f"{demo.outputs['monitoring_url']}/api/v1/targets",
        params={"state": "active"},
        timeout=10,
        trust_env=False,
    )
    found: list[dict[str, Any]] = answer.json()["data"]["activeTargets"]
    return found


def number(demo: Demo, query: str) -> float:
    return sum(float(sample["value"][1]) for sample in measured(demo, query))


def verdicts(demo: Demo) -> list[Verdict]:
    with connect(demo.settings.cluster.context, demo.settings.name) as routes:
        return [found for found in routes.verdicts() if found.release == SCORE]


def progress(demo: Demo) -> Progress | None:
    with connect(demo.settings.cluster.context, demo.settings.name) as routes:
        return progress_on(routes.live()).get(SCORE)


def alerted(somebody: Partner, name: str, **labels: str) -> Callable[[], bool]:
    """Whether an alert has come that fires."""
    wanted = {"alertname": name, **labels}
    return lambda: any(
        wanted.items() <= alert["labels"].items() and alert["status"] == "firing"
        for alert in somebody.alerts()
    )


def guard_pods(demo: Demo) -> list[Any]:
    return [p for p in pods(demo) if (p.metadata.labels or {}).get("app") == "guard"]


def test_every_part_of_the_lab_is_measured(lab: Demo, somebody: Partner) -> None:
    set_up(lab, {}, good={"role": "stable", "traffic": 100})

    def every_part() -> bool:
        # Not the series `up`: a Prometheus that was away takes what it last said of
        # pods that are gone meanwhile for the truth, for five minutes.
        found = targets(lab)
        assert {each["labels"]["job"] for each in found} >= JOBS
        assert [each for each in found if each["health"] != "up"] == []
        return True

    eventually("every part is measured", every_part, within=180)
    with calling(lab):
        for series in (
            'envoy_cluster_upstream_rq_total{release="score",variant="good"} > 0',
            'lab_model_predictions_total{release="score",variant="good"} > 0',
            f'lab_model_logged_timestamp_seconds{{release="{CLASSIFIER.model}"}} > 0',
            "minio_cluster_capacity_usable_total_bytes > 0",
            "pg_up == 1",
            "container_memory_working_set_bytes > 0",
        ):
            eventually(series, partial(measured, lab, series), within=60)


def test_a_candidate_that_begins_to_fail_is_taken_back_without_a_hand(
    lab: Demo, somebody: Partner
) -> None:
    somebody.behave("new")
    set_up(
        lab,
        {},
        good={"role": "stable", "traffic": 90},
        new={"role": "candidate", "traffic": 10},
    )
    with calling(lab) as callers:
        requests = 'envoy_cluster_upstream_rq_total{release="score",variant="new"}'
        eventually("it is measured", lambda: number(lab, requests) > 30, within=120)
        time.sleep(2 * INTERVAL)
        assert set(callers.statuses) == {200}
        candidate = lab.settings.releases[SCORE]
        somebody.behave("new", status=500)
        [verdict] = eventually("it is taken back", lambda: verdicts(lab), within=60)
        time.sleep(3)
        callers.statuses.clear()
        time.sleep(3)
        assert set(callers.statuses) == {200}

    assert verdict.rejected == ("new",)
    assert verdict.by == "guard"
    assert "error" in verdict.because
    failures = (
        'envoy_cluster_upstream_rq_xx{variant="good",envoy_response_code_class="5"}'
    )
    assert number(lab, failures) == 0
    eventually(
        "whoever is on call hears of it",
        alerted(somebody, "ReleaseTakenBack", release=SCORE, variant="new"),
        within=60,
    )
    now = time.time()
    looks = trace_recorder.record(
        lab.outputs["monitoring_url"],
        SCORE,
        start=now - 90,
        end=now,
        interval=INTERVAL,
    )
    log = simulate(SCORE, candidate, Recorded(looks), interval=INTERVAL, budget=6)
    assert log.ended == "rolled back"


def test_nothing_brings_it_back_before_the_settings_say_so(
    lab: Demo, somebody: Partner
) -> None:
    assert [found.rejected for found in verdicts(lab)] == [("new",)]
    unchanged = pulumi(lab, "up", "--yes", "--skip-preview", "--stack", lab.stack.name)
    assert unchanged.returncode == 0, unchanged.stdout
    assert "unchanged" in unchanged.stdout
    with calling(lab) as callers:
        time.sleep(2)
    assert set(callers.last) == {f"{SCORE}-good"}

    good = lab.stack.file.read_bytes()
    lab.edit(lambda tree: changes.weigh(tree, SCORE, {"new": 30}))
    refused = pulumi(lab, "preview", "--stack", lab.stack.name)
    lab.stack.file.write_bytes(good)

    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    assert f"{SCORE}-new-predictor was taken back" in " ".join(said.split())
    assert "lab sync" in said


def test_sync_writes_the_reason_and_pulumi_agrees(lab: Demo) -> None:
    [told] = [each for each in status(lab.stack.name).half_done if SCORE in each]
    assert "lab sync" in told

    done = sync(lab.stack.name)

    assert len(done.written) == 1
    new = lab.settings.releases[SCORE].variants["new"]
    assert new.role == "rejected"
    assert "error" in (new.because or "")
    lab.outputs = lab.apply()
    assert verdicts(lab) == []
    assert lab.stack.changes() == {}
    assert sync(lab.stack.name).written == ()


def test_a_good_candidate_gets_all_requests_and_is_taken_back_when_it_goes_bad(
    lab: Demo, somebody: Partner
) -> None:
    somebody.behave("better")
    rules = {"steps": [10, 50], "step_seconds": 10, "step_requests": 40}
    set_up(
        lab,
        rules,
        good={"role": "stable", "traffic": 90},
        better={"role": "candidate", "traffic": 10},
    )

    def has_all() -> bool:
        found = progress(lab)
        return found is not None and found.traffic == 100

    with calling(lab) as callers:
        eventually("it has all requests", has_all, within=240)
        assert set(callers.statuses) == {200}
        sync(lab.stack.name)
        variants = lab.settings.releases[SCORE].variants
        assert (variants["better"].role, variants["good"].role) == (
            "stable",
            "previous",
        )
        lab.outputs = lab.apply()
        assert progress(lab) is None
        assert lab.stack.changes() == {}
        time.sleep(2 * INTERVAL)
        somebody.behave("better", status=500)
        [verdict] = eventually("it is taken back", lambda: verdicts(lab), within=60)
        time.sleep(3)
        callers.last.clear()
        time.sleep(3)
        assert set(callers.last) == {f"{SCORE}-good"}

    assert verdict.rejected == ("better",)
    sync(lab.stack.name)
    lab.outputs = lab.apply()
    variants = lab.settings.releases[SCORE].variants
    assert (variants["better"].role, variants["good"].role) == ("rejected", "stable")
    assert lab.stack.changes() == {}


def scale(demo: Demo, kind: str, name: str, replicas: int) -> None:
    with environment.kubernetes(demo.settings.cluster.context) as api:
        patch = getattr(client.AppsV1Api(api), f"patch_namespaced_{kind}_scale")
        patch(name, demo.settings.name, {"spec": {"replicas": replicas}})


def test_without_measurements_it_holds_and_says_so_and_then_goes_on(
    lab: Demo, somebody: Partner
) -> None:
    somebody.behave("next")
    set_up(
        lab,
        {},
        good={"role": "stable", "traffic": 90},
        next={"role": "candidate", "traffic": 10},
    )
    with calling(lab):
        requests = 'envoy_cluster_upstream_rq_total{release="score",variant="next"}'
        eventually("it is measured", lambda: number(lab, requests) > 30, within=120)
        scale(lab, PROMETHEUS_KIND, "prometheus", 0)
        somebody.behave("next", status=500)
        eventually("it is blind", alerted(somebody, "GuardBlind"), within=120)
        assert verdicts(lab) == []
        scale(lab, PROMETHEUS_KIND, "prometheus", 1)
        [verdict] = eventually("it is taken back", lambda: verdicts(lab), within=180)
    assert verdict.rejected == ("next",)
    sync(lab.stack.name)
    lab.outputs = lab.apply()


def test_of_two_guards_one_watches_and_the_other_takes_over(
    lab: Demo, somebody: Partner
) -> None:
    def holder() -> str | None:
        with environment.kubernetes(lab.settings.cluster.context) as api:
            leases = client.CoordinationV1Api(api)
            lease = leases.read_namespaced_lease("guard", lab.settings.name)
        found: str | None = lease.spec.holder_identity
        return found

    scale(lab, "deployment", "guard", 2)
    eventually("two guards", lambda: len(guard_pods(lab)) == 2, within=60)
    first = eventually("one leads", holder)

    core(lab).delete_namespaced_pod(first, lab.settings.name, grace_period_seconds=0)

    eventually("another leads", lambda: holder() not in (None, "", first), within=90)
    scale(lab, "deployment", "guard", 1)


def predicted(demo: Demo, release: str, rows: list[Any]) -> dict[str, Any]:
    """What each row is predicted to be, by the id of its request."""
    with httpx.Client(
        base_url=demo.outputs["gateway_url"],
        headers={"Host": demo.outputs["model_hosts"][release]},
        trust_env=False,
    ) as http:

        def answered() -> dict[str, Any]:
            path = f"/v1/models/{release}:predict"
            found = [http.post(path, json={"instances": [row]}) for row in rows]
            return {
                answer.headers["x-request-id"]: answer.json()["predictions"][0]
                for answer in found
                if answer.is_success
            }

        found: dict[str, Any] = eventually("predictions", answered)
    assert len(found) == len(rows)
    return found


def post(demo: Demo, release: str, labels: dict[str, Any], file: Path) -> None:
    """Post labels by request id, as a person does."""
    with file.open("w", newline="") as opened:
        lines = csv.writer(opened)
        lines.writerow(["request_id", "label"])
        lines.writerows(labels.items())
    told = eventually(
        "labels are taken",
        lambda: feedback.post(demo.stack.name, release, str(file)),
        within=60,
    )
    assert (told.taken, told.refused) == (len(labels), [])


def test_labels_that_are_posted_count_for_who_predicted(
    lab: Demo, somebody: Partner, tmp_path: Path
) -> None:
    somebody.behave("good", value=1.0)
    set_up(lab, {"quality": {"at_least": 0.5}}, good={"role": "stable", "traffic": 100})
    found = predicted(lab, SCORE, [[1.0]] * 40)
    labels = {id_: 1.0 if n % 4 else 0.0 for n, id_ in enumerate(found)}

    post(lab, SCORE, labels, tmp_path / "labels.csv")

    eventually(
        "they are counted",
        lambda: (
            number(lab, 'lab_feedback_labelled_total{variant="good"}') == 40
            and number(lab, 'lab_feedback_wrong_total{variant="good"}') == 10
        ),
        within=90,
    )


def test_a_model_that_decays_is_trained_anew_and_the_new_one_is_a_candidate(
    lab: Demo, somebody: Partner, tmp_path: Path
) -> None:
    # A model of its own: the same data and the same program make no second version.
    example = Example("decaying", CLASSIFIER.dataset)
    model = example.model
    lab.train(example, 1)
    first = lab.registry.resolve(model, "1")
    before = max(lab.registry.versions(model))
    words = ["--dataset", example.dataset, "--grid", "better", "--name", model]

    def watched(tree: dict[str, Any]) -> dict[str, Any]:
        tree = only(tree, model, first)
        tree["releases"][model]["guard"] = {"quality": {"at_least": 0.9}}
        tree["releases"][model]["retrain"] = {"arguments": words}
        return tree

    lab.edit(watched)
    lab.outputs = lab.apply()
    expected = json.loads(lab.registry.run_artifact(first.run_id, "expected.json"))
    rows = [expected["rows"][n % len(expected["rows"])] for n in range(60)]
    opposite = {"benign": "malignant", "malignant": "benign"}

    found = predicted(lab, model, rows)
    wrong = {id_: opposite[each] for id_, each in found.items()}
    post(lab, model, wrong, tmp_path / "labels.csv")

    eventually(
        "whoever is on call hears of it",
        alerted(somebody, "ModelDecayed", release=model),
        within=120,
    )
    eventually(
        "a new version",
        lambda: max(lab.registry.versions(model)) > before,
        within=240,
    )

    def candidate() -> bool:
        sync(lab.stack.name)
        roles = {
            variant.version: variant.role
            for variant in lab.settings.releases[model].variants.values()
        }
        return roles.get(before + 1) == "candidate"

    eventually("it is a candidate", candidate, within=120)
    assert lab.stack.preview()
