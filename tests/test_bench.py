"""What `lab bench` makes of its measurements; nothing here is timed."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from labfactory import bench
from labfactory.bench import program, report
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.kubectl import name_of
from labfactory.bench.load import Target, complete, put_under_load
from labfactory.bench.memory import proportional_kib
from labfactory.bench.rendered import SIGNATURE, groups, in_the_open, ready_when
from labfactory.bench.server import plain_pod
from labfactory.errors import LabError
from tests.harness import example


def figure(**changed: Any) -> Figure:
    facts: dict[str, Any] = {
        "name": "a thing",
        "floor_name": "its floor",
        "unit": "s",
        "aim": Aim(1.3),
        "values": (2.0, 9.0, 2.5),
        "floors": (2.0, 1.0, 2.0),
        **changed,
    }
    return Figure(**facts)


def test_a_figure_is_the_median_of_its_runs_and_its_ratio_that_of_the_medians() -> None:
    assert (figure().value, figure().floor, figure().ratio) == (2.5, 2.0, 1.25)
    assert figure(values=(1.0, 4.0)).value == 2.5


@pytest.mark.parametrize(
    ("aim", "met"),
    [
        (Aim(1.25), True),
        (Aim(1.24), False),
        (Aim(2.5, of="value"), True),
        (Aim(2.4, of="value"), False),
        (Aim(1.2, at_least=True), True),
        (Aim(1.3, at_least=True), False),
    ],
)
def test_an_aim_bounds_the_ratio_or_the_value_from_above_or_below(
    aim: Aim, met: bool
) -> None:
    assert figure(aim=aim).met is met


@pytest.mark.parametrize(
    ("number", "written"),
    [(0.0381, "0.04 s"), (4.256, "4.26 s"), (42.56, "42.6 s"), (2187.4, "2187 s")],
)
def test_a_number_has_the_digits_that_mean_something(
    number: float, written: str
) -> None:
    assert report.amount(number, "s") == written


def test_a_row_shows_value_floor_ratio_aim_spread_and_runs() -> None:
    assert report.row(figure(note="0 changes")) == [
        "a thing (0 changes)",
        "2.50 s",
        "2.00 s: its floor",
        "1.25 x",
        "≤ 1.3 x: met",
        "2.00-9.00 s, 1.00-2.00 s",
        "3",
    ]


def test_a_missed_aim_says_so() -> None:
    missed = figure(aim=Aim(0.6, of="value", at_least=False))

    assert "≤ 0.6 s: missed" in report.row(missed)
    assert "≥ 0.6 x: met" in report.row(figure(aim=Aim(0.6, at_least=True)))


def test_saved_figures_come_back_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "bench" / "figures.json"
    first, second = figure(), figure(name="another", note="n")

    report.save(file, [first, second], 0.2)
    found = report.save(file, [figure(values=(1.0,))], 0.2)

    assert [each.name for each in found] == ["a thing", "another"]
    assert [each.values for each in found] == [(1.0,), second.values]
    assert all(each.measured for each in found)
    saved = json.loads(file.read_text())
    assert [Figure.from_json(each) for each in saved["figures"]] == found
    assert saved["machine"] == report.machine()


def test_figures_of_another_machine_are_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    report.save(file, [figure(name="old")], 0.2)
    saved = json.loads(file.read_text())
    file.write_text(json.dumps({**saved, "machine": {"cores": 999}}))

    assert [f.name for f in report.save(file, [figure()], 0.2)] == ["a thing"]


def test_the_page_changes_between_its_marks_only() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"

    assert (
        report.put(page, "new\n")
        == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"
    )
    assert report.put(report.put(page, "x\n"), "new\n") == report.put(page, "new\n")
    with pytest.raises(ValueError, match="substring not found"):
        report.put("no marks", "new\n")


def test_the_committed_page_has_its_marks() -> None:
    page = report.PAGE.read_text()

    assert report.put(page, "x\n") != page


def test_the_page_s_table_has_a_row_per_figure_and_the_machine() -> None:
    machine = {**report.machine(), "cores": 7, "memory_gib": 5}
    figures = [figure(measured="2026-01-02"), figure(name="b", measured="2026-01-03")]

    lines = report.markdown(figures, report.described(machine, 2.0)).splitlines()

    assert lines[0] == "| " + " | ".join(report.COLUMNS) + " |"
    assert {line.count("|") for line in lines[:4]} == {8}
    assert "2026-01-02, 2026-01-03: 7 cores, 5 GiB" in lines[-1]
    assert "load average before the run 2.0; other work ran on it" in lines[-1]
    assert "other work" not in report.described(machine, 0.1)


def test_the_printed_table_has_every_figure() -> None:
    table = report.table([figure(), figure(name="b")], "machine")

    assert table.row_count == 2
    assert len(table.columns) == len(report.COLUMNS)


def test_all_figures_but_the_cold_one_are_measured_unless_named() -> None:
    assert bench.chosen([]) == [name for name in bench.FIGURES if name != "cold"]
    assert bench.chosen(["server", "cold"]) == ["cold", "server"]
    with pytest.raises(LabError, match="no figure speed; there is: cold, program"):
        bench.chosen(["speed", "node"])


def test_objects_come_in_groups_that_wait_for_what_must_be_ready() -> None:
    def resource(kind: str, *needs: str, **metadata: Any) -> dict[str, Any]:
        return {
            "urn": kind,
            "type": f"kubernetes:x/v1:{kind}",
            "dependencies": [*needs, "something that is no object"],
            "inputs": {"kind": kind, "metadata": {"name": "x", **metadata}},
        }

    waits = {"annotations": {"pulumi.com/waitFor": "condition=Ready"}}
    found = groups(
        [
            {"urn": "stack", "type": "pulumi:pulumi:Stack"},
            resource("Secret"),
            resource("Deployment", "Secret"),
            resource("Model", "Deployment", **waits),
            resource("Route", "Model"),
            resource("Service", "Secret"),
            {**resource("Gateway"), "external": True},
        ]
    )

    kinds = [
        tuple([each["kind"] for each in part] for part in group) for group in found
    ]
    assert kinds == [
        ([], ["Secret", "Deployment", "Service"]),
        (["Deployment"], ["Model"]),
        (["Model"], ["Route"]),
    ]


def test_what_is_awaited_is_what_pulumi_awaits() -> None:
    def made(kind: str, **annotations: str) -> dict[str, Any]:
        return {"kind": kind, "metadata": {"annotations": annotations}}

    assert ready_when(made("Deployment")) == "rollout"
    assert ready_when(made("Job")) == "condition=Complete"
    assert ready_when({"kind": "Secret", "metadata": {}}) is None
    established = {"pulumi.com/waitFor": "condition=Established"}
    crd = made("CustomResourceDefinition", **established)
    assert ready_when(crd) == "condition=Established"


def test_secrets_of_the_state_are_put_in_the_open_wherever_they_are() -> None:
    secret = {SIGNATURE: "kind", "plaintext": json.dumps({"password": "p"})}

    assert in_the_open({"a": [secret, 1], "b": "x"}) == {
        "a": [{"password": "p"}, 1],
        "b": "x",
    }


def test_an_object_is_named_as_kubectl_names_it() -> None:
    def name(version: str, kind: str) -> str:
        made = {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}
        return name_of(made)

    assert name("v1", "Secret") == "secret/x"
    assert name("apps/v1", "Deployment") == "deployment.apps/x"


def test_an_http_answer_is_complete_when_its_last_byte_is_there() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabc"

    assert complete(answer)
    assert not complete(answer[:-1])
    assert not complete(answer[:20])


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200
    wbufsize = -1
    seen: list[tuple[str, str, bytes]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, self.headers["Host"], body))
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def served() -> Iterator[Target]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    Echo.seen.clear()
    Echo.status = 200
    yield Target("127.0.0.1", server.server_port, "/p", "model.lab", [[1, 2]])
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_request_under_load_is_a_whole_prediction(served: Target) -> None:
    load = put_under_load(served, connections=2, seconds=0.1)

    assert 0 < len(load.latencies) <= len(Echo.seen)
    assert set(Echo.seen) == {("/p", "model.lab", b'{"instances": [[1, 2]]}')}
    assert load.per_second == pytest.approx(len(load.latencies) / 0.1)
    assert load.p50_ms > 0


def test_an_answer_that_is_no_prediction_ends_the_measurement(served: Target) -> None:
    Echo.status = 503

    with pytest.raises(LabError, match=r"model.lab/p does not bear the load: HTTP/1.1"):
        put_under_load(served, connections=2, seconds=5)


def test_a_server_that_is_not_there_is_named(served: Target) -> None:
    nobody = Target("127.0.0.1", 1, "/p", "model.lab", [])

    with pytest.raises(LabError, match=r"model.lab/p does not bear the load"):
        put_under_load(nobody, connections=1, seconds=1)


def test_the_memory_of_a_process_is_more_than_nothing_and_less_than_all() -> None:
    assert 1000 < proportional_kib(os.getpid()) < 10**7
    assert proportional_kib(2**22 + 1) == 0


def test_the_plain_server_has_the_limits_and_the_model_of_the_lab_s_own() -> None:
    theirs: dict[str, Any] = {
        "image": "lab:1",
        "resources": {"limits": {"cpu": "2"}},
        "securityContext": {"readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "model", "mountPath": "/mnt/models"}],
        "command": ["model_server"],
    }
    predictor: dict[str, Any] = {
        "metadata": {"annotations": {"labfactory.io/digest": "sha256:1", "other": ""}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {},
            "initContainers": [{"name": "storage-initializer"}],
            "volumes": [{"name": "model"}],
            "containers": [theirs],
            "nodeName": "n",
        },
    }

    pod = plain_pod(predictor)

    [container] = pod["spec"]["containers"]
    for same in ("image", "resources", "securityContext"):
        assert container[same] == theirs[same]
    assert theirs["volumeMounts"][0] in container["volumeMounts"]
    assert pod["spec"]["initContainers"] == predictor["spec"]["initContainers"]
    assert pod["metadata"]["annotations"] == {"labfactory.io/digest": "sha256:1"}
    assert "labels" not in pod["metadata"]  # or it would answer for the release


def test_the_bare_loop_makes_the_resources_that_the_program_made(
    tmp_path: Path,
) -> None:
    settings, resources = tmp_path / "settings.json", tmp_path / "resources.json"
    settings.write_text(json.dumps(example(), default=str))

    program._run("record", settings, resources)
    program._run("loop", resources)

    made = json.loads(resources.read_text())
    assert {each["name"] for each in made} >= {"platform", "storage", "serving"}
    assert any(each["type"].endswith(":Deployment") for each in made)
    with pytest.raises(LabError, match="the program fails"):
        program._run("loop", tmp_path / "nothing.json")
