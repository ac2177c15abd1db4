"""The figures of releases, rehearsed on a gateway of the test's own; nothing is timed.

What would be a command's work is done at once: an edit that is applied, or a patch,
sets the weights of that gateway.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer.main

from labfactory.bench import (
    releases,
    releases_canary,
    releases_plan,
    releases_shadow,
    releases_traffic,
    releases_watch,
    report,
)
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME
from labfactory.bench.load import Load, Target, put_under_load
from labfactory.bench.release import MODEL
from labfactory.bench.releases_canary import (
    ANSWERS_NEW,
    ANSWERS_OLD,
    NEW,
    OLD,
    Canary,
    weighted,
)
from labfactory.bench.releases_watch import (
    Answer,
    bound,
    failed,
    share,
    silenced,
    watched,
)
from labfactory.cli import app
from labfactory.errors import LabError
from labfactory.progress import Progress
from labfactory.releases import changes, traffic
from labfactory.releases.models.registry import ModelVersion
from labfactory.settings.edit import edit
from labfactory.settings.new import new
from labfactory.stack import Stack
from model_templates.routes import rules
from stacks.schema import ReleaseConfig


@dataclass
class Gateway:
    """Answers for the variants by the weights that it was given last."""

    target: Target
    weights: dict[str, int] = field(default_factory=lambda: {OLD: 100})
    mirrors: bool = False
    copies: int = 0
    script: Iterator[str] = field(default_factory=lambda: iter(()))
    """How the next requests end instead: `503`, `hang up`, `close`."""
    place: Iterator[int] = field(default_factory=count)

    def follow(self, route_rules: list[dict[str, Any]]) -> None:
        route = {"spec": {"rules": route_rules}}
        self.weights = dict(traffic.read(MODEL, route).weights)
        filters = route_rules[-1]["filters"]
        self.mirrors = any(each["type"] == "RequestMirror" for each in filters)

    def answerer(self) -> str:
        """Who answers next: spread over the hundred as evenly as can be."""
        at = 37 * next(self.place) % 100
        return ANSWERS_NEW if at < self.weights.get(NEW, 0) else ANSWERS_OLD


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    gateway: Gateway

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        act = next(self.gateway.script, "")
        if act == "hang up":
            self.close_connection = True
            return
        self.gateway.copies += self.gateway.mirrors
        body = json.dumps({"predictions": [1], "served_by": self.gateway.answerer()})
        self.send_response(503 if act == "503" else 200)
        self.send_header("Content-Length", str(len(body)))
        if act == "close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    target = Target("127.0.0.1", server.server_port, "/p", "model.lab", [[1.0]])
    Handler.gateway = Gateway(target)
    yield Handler.gateway
    server.shutdown()
    server.server_close()
    thread.join()


class Ground:
    """A lab that is nothing but its settings."""

    def __init__(self, folder: Path, gateway: Gateway) -> None:
        self.stack = Stack(NAME, project=folder)
        self.gateway = gateway
        self.progress = Progress((folder / "progress").open("w"))
        self.said: list[tuple[str, ...]] = []
        self.stack.file.parent.mkdir()
        new(NAME, owner="bench", target="embedded", folder=self.stack.file.parent)

    def lab(self) -> Any:
        return SimpleNamespace(registry=self)

    def resolve(self, name: str, number: str) -> ModelVersion:
        digest = f"sha256:{int(number):064x}"
        artifact = f"s3://mlflow/1/models/m-{number}/artifacts"
        return ModelVersion(name, int(number), "r", artifact, digest)

    def run_artifact(self, run_id: str, path: str) -> bytes:
        return b'{"rows": [[1.0], [2.0]]}'

    def cluster_ip(self, namespace: str, service: str) -> str:
        return "127.0.0.1"

    def pulumi_up(self) -> float:
        self.gateway.follow(rules(MODEL, self.stack.settings.releases[MODEL]))
        return 0.0

    def pulumi(self, *words: str) -> str:
        self.said.append((*words, str(len(self.stack.settings.releases))))
        return ""


@pytest.fixture
def canary(
    tmp_path: Path, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Canary]:
    monkeypatch.setenv("LABFACTORY_HOME", str(tmp_path / "home"))
    ground = Ground(tmp_path, gateway)
    found = Canary(ground)  # type: ignore[arg-type]
    found.target = gateway.target

    def patch(*words: str) -> str:
        assert words[:5] == ("-n", NAME, "patch", "httproute", MODEL)
        gateway.follow(json.loads(words[-1])["spec"]["rules"])
        return ""

    found.kubectl = SimpleNamespace(run=patch)  # type: ignore[assignment]
    monkeypatch.setattr(found, "await_answer", lambda served_by: None)
    monkeypatch.setattr(releases_traffic, "SECOND", 0.05)
    monkeypatch.setattr(releases_traffic, "SETTLE", 0.6)
    monkeypatch.setattr(releases_watch, "QUIET", 0.2)
    found.apply(found.alone)
    yield found
    ground.progress._stream.close()


def answers(*given: tuple[float, str]) -> list[Answer]:
    return [Answer(at, 200 if who else 503, who) for at, who in given]


def release_of(canary: Canary) -> ReleaseConfig:
    return canary.ground.stack.settings.releases[MODEL]


def test_a_figure_without_a_floor_has_dashes_and_is_judged_by_its_value() -> None:
    none = Figure("failures", "", "requests", Aim(0, of="value"), (0,))

    assert report.row(none) == [
        "failures",
        "0 requests",
        "–",
        "–",
        "≤ 0 requests: met",
        "0-0 requests",
        "1",
    ]
    assert Figure.from_json(json.loads(json.dumps(none.as_json()))) == none


def test_a_ratio_to_nothing_never_meets_its_aim() -> None:
    assert not Figure("a", "", "s", Aim(100), (1.0,)).met
    assert not Figure("a", "b", "s", Aim(100), (1.0,), (0.0,)).met


def test_the_slowest_hundredth_is_left_out_of_p99() -> None:
    load = Load(1, [0.002] * 98 + [0.005, 9.0])

    assert (load.p50_ms, load.p99_ms) == (2, 5)


def test_a_paced_connection_sends_no_more_than_it_may(gateway: Gateway) -> None:
    load = put_under_load(gateway.target, connections=1, seconds=0.3, every=0.05)

    assert 1 <= len(load.latencies) <= 6


def test_every_answer_is_remembered_with_its_variant(gateway: Gateway) -> None:
    gateway.weights = {OLD: 63, NEW: 37}
    with watched(gateway.target, connections=1) as found:
        while len(found) < 100:
            time.sleep(0.001)
    assert failed(found) == 0
    assert share(found[:100], ANSWERS_NEW) == 0.37
    assert [a.at for a in found] == sorted(a.at for a in found)


def test_a_failure_is_counted_and_the_next_request_is_sent(gateway: Gateway) -> None:
    gateway.script = iter(["", "503", "hang up", "", "close", ""])
    with watched(gateway.target, connections=1) as found:
        while len(found) < 8:
            time.sleep(0.001)

    statuses = [answer.status for answer in found]
    assert statuses[:6] == [200, 503, 0, 200, 200, 200]
    assert {*statuses[6:]} == {200}
    assert failed(found) == 2


def test_a_server_that_is_not_there_fails_requests_until_it_is_stopped() -> None:
    with watched(Target("127.0.0.1", 1, "/p", "h", []), connections=2) as found:
        time.sleep(0.12)

    assert failed(found) == len(found)
    assert 2 <= len(found) < 100


def test_the_bound_of_the_split_is_the_binomial_one() -> None:
    low, high = 3576, 3825  # scipy.stats.binom.interval(0.99, 10_000, 0.37)

    assert bound(0.37, 10_000) == pytest.approx((high - low) / 2 / 10_000, rel=0.01)


def test_a_variant_is_silent_after_its_last_answer() -> None:
    found = answers((1, "bad"), (2.4, "bad"), (2.5, ""), (3, "good"), (2.2, "bad"))

    assert silenced(found, "bad", 2) == pytest.approx(0.4)
    with pytest.raises(LabError, match="bad answered nobody"):
        silenced(found, "bad", 2.5)
    with pytest.raises(LabError, match="answers still"):
        silenced(answers((1, "good"), (2.4, "bad"), (2.6, "good")), "bad", 2)


def test_the_weights_of_the_changes_are_all_there_are() -> None:
    percents = [releases_traffic.percent_of(number) for number in range(1, 102)]

    assert sorted(percents) == [*range(101)]
    assert min(abs(a - b) for a, b in pairwise(percents)) > 20


def test_a_weight_is_changed_in_the_route_and_in_nothing_else(canary: Canary) -> None:
    canary.apply(canary.candidate(10))
    before = release_of(canary)

    after = weighted(before, 37)

    assert {n: v.traffic for n, v in after.variants.items()} == {OLD: 63, NEW: 37}
    assert weighted(after, 10) == before
    wanted = canary.as_after(lambda tree: changes.weigh(tree, MODEL, {NEW: 37}))
    assert rules(MODEL, after) == rules(MODEL, wanted)


def test_what_is_tried_is_taken_back_to_the_byte(canary: Canary) -> None:
    before = canary.ground.stack.file.read_bytes()

    with canary.tried(canary.candidate(20)):
        assert release_of(canary).variants[NEW].traffic == 20
    assert canary.as_after(canary.shadow).variants[NEW].mirror == 100

    assert canary.ground.stack.file.read_bytes() == before


def test_every_part_is_what_bench_releases_measures() -> None:
    assert {part.__name__ for part in releases.PARTS} == {
        *("objects", "plan", "preview", "weights", "split", "way_back", "shadow")
    }


def test_the_commands_that_are_timed_are_those_of_the_command_line() -> None:
    command = typer.main.get_command(app)
    parsed = [
        command.commands[words[0]].make_context(words[0], list(words[1:])).params  # type: ignore[attr-defined]
        for words in (releases_plan.PLAN, releases_traffic.ROLLBACK)
    ]

    assert [params["lab"] for params in parsed] == [NAME, NAME]
    assert parsed[1]["release"] == MODEL
    assert parsed[1]["variant"] is None


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(
        LabError, match=r"(?s)`lab nothing` ends with exit code 2: .*No"
    ):
        releases_canary.lab("nothing")


def test_failures_are_counted_while_weights_change(
    canary: Canary, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases_traffic, "CHANGES", 4)
    monkeypatch.setattr(releases_traffic, "REQUESTS", 100)
    gateway.script = iter([""] * 20 + ["503"])

    [figure] = releases_traffic.weights(canary, 3)

    assert figure.values == (1,)
    assert not figure.met
    assert ", 4 changes" in figure.note or ", 5 changes" in figure.note
    assert gateway.weights == {OLD: 50, NEW: 50}


def test_weights_that_nobody_follows_are_no_figure() -> None:
    with pytest.raises(LabError, match=f"only {ANSWERS_OLD} answered"):
        releases_traffic.failures(answers((1, ANSWERS_OLD), (2, "")), 40)


def test_the_split_is_measured_in_units_of_the_bound(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases_traffic, "SAMPLE", 200)
    [exact] = releases_traffic.split(canary, 2)
    assert len(exact.values) == 2
    assert exact.met

    unfair = answers(*[(1, ANSWERS_NEW)] * 42, *[(1, ANSWERS_OLD)] * 58) * 100
    found = releases_traffic.deviation([unfair])

    assert found.value == pytest.approx(0.05 / bound(0.37, 10_000))
    assert not found.met
    assert found.note == "42.0 % of 10,000 requests each"


def test_a_rollback_is_timed_beside_a_patch_that_leaves_the_same_route(
    canary: Canary, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []

    def lab(*words: str) -> None:
        assert words == releases_traffic.ROLLBACK
        time.sleep(0.1)
        canary.apply(
            lambda tree: changes.roll_back(tree, MODEL, because="x", variant=None)
        )
        left.append(rules(MODEL, release_of(canary)))

    turned = canary.turn

    def turn(release: ReleaseConfig) -> None:
        time.sleep(0.1)
        left.append(rules(MODEL, release))
        turned(release)

    monkeypatch.setattr(releases_traffic, "lab", lab)
    monkeypatch.setattr(canary, "turn", turn)

    ratio, seconds = releases_traffic.way_back(canary, 1)

    by_rollback, by_patch, at_the_end = left
    assert by_rollback == by_patch
    assert at_the_end == rules(MODEL, release_of(canary))
    assert gateway.weights == {OLD: 50, NEW: 50}
    assert 0 < ratio.value < releases_traffic.SETTLE
    assert (ratio.aim, seconds.aim) == (Aim(1.5), Aim(2, of="value"))
    assert ratio.note.startswith("0 of ")


def test_a_shadow_is_measured_with_and_without_copies(
    canary: Canary, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases_shadow, "SECONDS", 0.2)
    monkeypatch.setattr(releases_shadow, "SETTLE", 0)
    monkeypatch.setattr(releases_shadow, "TURNS", 1)
    monkeypatch.setattr(releases_shadow, "rows_answered", lambda _: gateway.copies)

    p50, p99 = releases_shadow.shadow(canary, 2)

    assert len(p50.values) == len(p99.floors) == 2
    assert gateway.mirrors
    assert gateway.weights == {OLD: 100}


def test_a_shadow_that_gets_no_copies_is_no_figure() -> None:
    load = Load(1, [0.1] * 100)

    releases_shadow.figures([load], [load], 101)
    for copied in (0, 50, 200):
        with pytest.raises(LabError, match=f"answered {copied} copies of 100"):
            releases_shadow.figures([load], [load], copied)


def test_the_rows_of_a_model_server_are_read_out_of_its_metrics() -> None:
    text = """\
# TYPE lab_model_predictions_total counter
lab_model_predictions_total{model="m",served_by="m-v2"} 1234.0
lab_model_predictions_created{model="m",served_by="m-v2"} 1.7e+09
"""

    assert releases_shadow.counted(text) == 1234
    assert releases_shadow.counted("") == 0


def test_touched_and_replaced_objects_are_counted(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    previews = iter([{"create": 1, "delete": 1, "update": 1}, {"update": 1}])
    tried = []

    def preview(stack: Stack) -> dict[str, int]:
        variants = stack.settings.releases[MODEL].variants
        tried.append({name: variant.traffic for name, variant in variants.items()})
        return next(previews)

    monkeypatch.setattr(Stack, "changes", preview)

    bump, weight, swapped = releases_plan.objects(canary, 3)

    assert tried == [{NEW: 100}, {OLD: 80, NEW: 20}]
    assert [bump.value, weight.value, swapped.value] == [3, 1, 0]
    assert bump.note == "1 create, 1 delete, 1 update"
    assert bump.met
    assert weight.met
    assert swapped.met
    assert releases_plan.replaced({"replace": 2, "create-replacement": 1}) == 3


def test_a_plan_of_a_hundred_releases_is_timed_beside_its_preview(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = []

    def lab(*words: str, codes: tuple[int, ...]) -> None:
        planned.append((words, codes, len(canary.ground.stack.settings.releases)))

    monkeypatch.setattr(releases_plan, "lab", lab)
    [figure] = releases_plan.plan(canary, 1)

    assert planned == [(("plan", NAME), (2,), 100)]
    assert canary.ground.said[-1][-1] == "100"  # type: ignore[attr-defined]
    assert figure.note == "99 of them new"
    assert [*canary.ground.stack.settings.releases] == [MODEL]


def test_previews_of_1_10_and_100_more_releases_give_a_slope(canary: Canary) -> None:
    releases_plan.preview(canary, 1)

    words = ("preview", "--json", "--show-sames", "--stack", NAME)
    assert canary.ground.said == [(*words, n) for n in ("2", "11", "101")]  # type: ignore[attr-defined]

    figure = releases_plan.per_release({1: [2.0, 3.0], 10: [2.6, 3.6], 100: [8.0, 9.0]})
    assert figure.value == pytest.approx(6000 / 99)
    assert not figure.met
    assert figure.note == (
        "2.50 s for 1, 3.10 s for 10, 8.50 s for 100; up to 100 it grows 0.91 x as "
        "fast as up to 10"
    )


def test_copies_of_a_release_are_valid_settings(canary: Canary) -> None:
    found = edit(
        canary.ground.stack.file,
        lambda tree: releases_plan.filled(tree, canary.old, 3),
    ).settings

    assert [*found.releases] == [MODEL, "copy-000", "copy-001", "copy-002"]
    assert len({r.variants[OLD].digest for r in found.releases.values()}) == 1
