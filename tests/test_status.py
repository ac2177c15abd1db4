"""The status of a lab: what it compares, whom it asks, and how it reads."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from rich.console import Console
from rich.live import Live

from labfactory.errors import LabError
from labfactory.guard.memory import Decided, Remembered, Retrained
from labfactory.releases import changes, watched
from labfactory.releases import status as engine
from labfactory.releases.decisions.observed import Alarm
from labfactory.releases.status import Status, judged, show
from labfactory.releases.status_shown import age, screen
from labfactory.releases.watched import Alert, Health, Memories, Seen, alerts, look
from labfactory.settings.edit import edit
from labfactory.stack import Stack
from tests.fake_routes import Cluster, a_lab, release

CANDIDATE = {"role": "candidate", "traffic": 10}
NOON = 1_795_262_400.0
"""2026-11-21 12:00:00 UTC."""


def at(clock: str) -> str:
    return f"2026-11-21T{clock}+00:00"


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return a_lab(
        tmp_path,
        {"iris": release({"traffic": 90}, CANDIDATE), "wine": release({})},
        monitoring={},
        guard={},
    )


@pytest.fixture
def cluster(stack: Stack) -> Cluster:
    return Cluster(stack)


MEMORY = Remembered(
    phase="canary of v2",
    decisions=(
        Decided(at("08:00:00"), "promote", "500 requests, no worse than v1", "v2", 5),
        Decided(at("09:00:00"), "promote", "500 requests, no worse than v1", "v2", 10),
        Decided(
            at("11:59:48"),
            "hold",
            "v2 has answered 311 of the 500 requests that a step needs, and has been "
            "observed for 240 of 600 seconds [no data of `errors`]",
            "v2",
        ),
    ),
    alarms=(Alarm("ModelDrift", "column `petal_width` has drifted (0.31)", "v1"),),
)
SEEN = Seen(
    memories={"iris": MEMORY},
    health={
        ("iris", "v1"): Health(requests=18.24, errors=0.0, p95=0.0213),
        ("iris", "v2"): Health(requests=2.0, errors=0.0123, p95=0.5),
    },
    alerts=(
        Alert("ModelDrift", {"release": "iris"}, "told above", at("11:00:00")),
        Alert(
            "VolumeAlmostFull",
            {"severity": "page"},
            "the volume minio is 93 % full",
            at("11:30:00"),
        ),
    ),
    away=("Prometheus does not answer (ConnectTimeout)",),
)


def drawn(found: Status, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(
        screen("demo", found, now=NOON)
    )
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def found_now(cluster: Cluster, seen: Seen = SEEN) -> Status:
    ready = {"iris-v1": True, "wine-v1": True}
    return judged("demo", cluster.stack.settings, cluster.live(), ready, seen)


@pytest.mark.parametrize("width", [80, 100])
def test_the_screen_reads_well(cluster: Cluster, width: int) -> None:
    cluster.promotes("v2", 25)

    text = drawn(found_now(cluster), width)

    golden = Path(__file__).parent / "golden" / f"status-{width}.txt"
    assert text + "\n" == golden.read_text()
    assert max(map(len, text.splitlines())) <= width


def test_a_lab_that_nobody_watches_has_no_blank_columns(cluster: Cluster) -> None:
    text = drawn(found_now(cluster, Seen()), 80)

    assert "req/s" not in text
    assert "guard" not in text


def test_a_step_that_the_settings_do_not_say_is_half_done(cluster: Cluster) -> None:
    cluster.promotes("v2", 25)

    [told] = found_now(cluster).half_done

    assert "the guard gave v2 25 per cent" in told
    assert "the settings say 10; `lab sync demo` writes it" in told


def test_what_pulumi_has_applied_is_only_to_be_cleared(cluster: Cluster) -> None:
    cluster.rejects("v2")
    edit(
        cluster.stack.file,
        lambda tree: changes.roll_back(tree, "iris", because="errors"),
    ).write()
    assert "Pulumi does not yet" in found_now(cluster).half_done[0]

    cluster.up()
    assert "`lab sync demo` clears the route" in found_now(cluster).half_done[0]


def test_the_json_has_all_that_the_screen_has(
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(engine, "status", lambda lab: found_now(cluster))

    show("demo", json=True)

    found = json.loads(capsys.readouterr().out)
    assert found["guard"][0]["last"]["act"] == "hold"
    assert [each["traffic"] for each in found["guard"][0]["acted"]] == [10, 5]
    assert found["variants"][1]["health"] == asdict(SEEN.health["iris", "v2"])
    assert found["alerts"][1]["name"] == "VolumeAlmostFull"
    assert found["away"] == list(SEEN.away)


def test_watching_goes_on_while_the_cluster_is_away(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Callable[[], Status]] = [
        lambda: found_now(cluster),
        lambda: away(),
        lambda: found_now(cluster),
    ]
    shown: list[Any] = []

    def away() -> Status:
        raise LabError("the cluster does not answer")

    def pause(_: float) -> None:
        if not looks:
            raise KeyboardInterrupt

    monkeypatch.setattr(engine, "Stack", lambda lab: cluster.stack)
    monkeypatch.setattr(engine, "_outputs", lambda stack: {})
    monkeypatch.setattr(engine, "_looked", lambda *_: looks.pop(0)())
    monkeypatch.setattr(Live, "update", lambda self, drawn, **_: shown.append(drawn))

    engine._watch("demo", pause=pause)

    assert len(shown) == 3
    assert "does not answer" in str(shown[1])


def test_a_screen_that_is_renewed_is_not_json() -> None:
    with pytest.raises(LabError, match="choose one"):
        show("demo", json=True, watch=True)


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, Any]]]:
    """An address, and what it answers by path."""
    answers: dict[str, Any] = {}

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            self.send_response(200 if found is not None else 404)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as served:
        Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}", answers
        served.shutdown()


def test_alerts_that_fire_are_listed_oldest_first(
    server: tuple[str, dict[str, Any]],
) -> None:
    url, answers = server
    answers["/api/v2/alerts"] = [
        firing("Second", "2026-11-21T11:00:00.000Z", release="iris"),
        firing("Watchdog", "2026-11-21T09:00:00.000Z", severity="none"),
        firing("First", "2026-11-21T10:00:00.000Z"),
    ]

    found = alerts(url)

    assert [alert.name for alert in found] == ["First", "Second"]
    assert found[1].summary == "about Second"
    assert age(found[1].since, NOON) == "1 h"


def firing(name: str, since: str, **labels: str) -> dict[str, Any]:
    return {
        "labels": {"alertname": name, **labels},
        "annotations": {"summary": f"about {name}"},
        "startsAt": since,
    }


def test_who_is_away_is_told_and_the_rest_is_shown(
    stack: Stack, server: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, answers = server
    sample = {"metric": {"release": "iris", "variant": "v1"}, "value": [0, "2.5"]}
    answers["/api/v1/query"] = {"data": {"result": [sample]}}
    memories = ({"iris": MEMORY}, ["wine can't be read"])
    monkeypatch.setattr(watched, "_memories", lambda settings: memories)

    seen = look(stack.settings, {"monitoring_url": url, "alerts_url": url})

    assert seen.health["iris", "v1"].requests == 2.5
    assert seen.memories == {"iris": MEMORY}
    assert seen.alerts == ()
    assert seen.away == (
        "wine can't be read",
        "Alertmanager does not answer (HTTPStatusError)",
    )


class ConfigMaps:
    """One ConfigMap of the guard, which writes first for so many `conflicts`."""

    def __init__(self, memory: Remembered, conflicts: int) -> None:
        self.text = memory.written()
        self.conflicts = conflicts

    def get(self, *_: object) -> Any:
        return SimpleNamespace(data={"state": self.text})

    def replace(self, found: Any) -> None:
        if self.conflicts:
            self.conflicts -= 1
            answer = httpx2.Response(409, request=httpx2.Request("PUT", "http://x"))
            raise httpx2.HTTPStatusError("", request=answer.request, response=answer)
        self.text = found.data["state"]


def memories_of(cluster: ConfigMaps) -> Memories:
    found = Memories.__new__(Memories)
    found._where, found._cluster = "the cluster", cluster
    return found


def taken(memory: Remembered, conflicts: int = 0) -> str | None:
    cluster = ConfigMaps(memory, conflicts)
    memories_of(cluster).take("iris", "job-1", at("12:00:00"))
    made = Remembered.read(cluster.text).retrained
    return made.taken_at if made else None


def test_what_was_taken_is_noted_though_the_guard_writes_at_the_same_time() -> None:
    made = Remembered(retrained=Retrained("job-1", at("10:00:00"), version=7))

    assert taken(made, conflicts=2) == at("12:00:00")
    with pytest.raises(LabError, match="again and again"):
        taken(made, conflicts=watched.TRIES)


def test_a_training_that_began_meanwhile_is_not_taken() -> None:
    assert taken(Remembered(retrained=Retrained("job-2", at("11:00:00")))) is None


@pytest.mark.parametrize(
    ("before", "told"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h")],
)
def test_an_age_is_told_in_its_largest_unit(before: int, told: str) -> None:
    hours, rest = divmod(43200 - before, 3600)

    assert age(at(f"{hours:02}:{rest // 60:02}:{rest % 60:02}"), NOON) == told
