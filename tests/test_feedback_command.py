"""`lab feedback`: from a CSV file to the service, and what a person is told."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import pytest

from labfactory import environment, labs, stack
from labfactory.errors import LabError
from labfactory.releases import feedback
from labfactory.releases.feedback import value
from stacks.schema import LabConfig
from tests.test_feedback import Lab
from tests.test_feedback_room import lab_with


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab whose service of labels answers the command."""
    lab = Lab()
    settings(monkeypatch, lab_with({"quality": {}}))
    monkeypatch.setattr(feedback, "_token", lambda _: "not-a-secret")
    monkeypatch.setattr(feedback, "_client", lambda *_: lab.http)
    return lab


def settings(monkeypatch: pytest.MonkeyPatch, found: LabConfig) -> None:
    monkeypatch.setattr(stack, "Stack", lambda _: SimpleNamespace(settings=found))
    monkeypatch.setattr(labs, "outputs", lambda _: {"gateway_url": "http://gateway"})


def answered(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], httpx.Response]
) -> None:
    """Let something else than the service answer, and be asked once."""
    transport = httpx.MockTransport(answer)
    http = httpx.Client(base_url="http://gateway", transport=transport)
    monkeypatch.setattr(feedback, "_client", lambda *_: http)
    monkeypatch.setattr(feedback, "PATIENCE", 0)


@pytest.fixture
def labels(tmp_path: Path) -> str:
    path = tmp_path / "labels.csv"
    path.write_text("request_id,label,row\na,1.5,0\na,x,1\nearly,2,0\n")
    return str(path)


def test_a_file_of_labels_is_posted_and_told_of(
    service: Lab, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service.log("v1", ("a", [1.5, 2.5]))
    service.follower.follow()

    told = feedback.post("demo", "iris", labels)

    assert (told.taken, told.duplicates, told.unknown) == (2, 0, 1)
    out = capsys.readouterr().out
    assert "iris: 2 labels taken, 0 had come before, 1 refused" in out
    assert "1 of them are about requests that were not seen yet" in out
    assert "a, row 1: the model answers numbers" in out


def test_the_same_file_again_counts_nothing_twice(
    service: Lab, labels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "AT_ONCE", 2)
    first = feedback.post("demo", "iris", labels)
    service.start()

    second = feedback.post("demo", "iris", labels)

    assert (first.taken, first.duplicates) == (3, 0)
    assert (second.taken, second.duplicates) == (0, 3)


def test_a_service_that_is_away_is_asked_again(
    service: Lab, labels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"taken": 3, "duplicates": 0, "unknown": 3, "refused": []}
    answers = [httpx.Response(503), httpx.Response(200, json=told)]
    answered(monkeypatch, lambda _: answers.pop(0))
    monkeypatch.setattr(feedback, "PATIENCE", 10)

    assert feedback.post("demo", "iris", labels).taken == 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(503, json={"error": "the store is away"}), "the store is away"),
        (httpx.Response(401, json={"error": "the token is wrong"}), "token is wrong"),
        (httpx.Response(404), "`lab up` makes it"),
        (httpx.Response(502, text="<html>"), "nothing that can be read"),
    ],
    ids=["store", "token", "route", "gateway"],
)
def test_a_refusal_is_a_sentence(
    service: Lab,
    labels: str,
    monkeypatch: pytest.MonkeyPatch,
    answer: httpx.Response,
    says: str,
) -> None:
    answered(monkeypatch, lambda _: answer)

    with pytest.raises(LabError, match=says) as told:
        feedback.post("demo", "iris", labels)

    assert "0 labels were taken so far" in str(told.value)


def test_a_lab_that_does_not_answer_is_a_sentence(
    service: Lab, labels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route", request=request)

    answered(monkeypatch, silent)

    with pytest.raises(LabError, match="does not answer \\(ConnectError\\)"):
        feedback.post("demo", "iris", labels)


@pytest.mark.parametrize(
    ("guard", "release", "says"),
    [
        ({"quality": {}}, "irs", "no such release .it has: iris"),
        ({"drift": {}}, "iris", "no rule of its guard is about labels"),
    ],
    ids=["release", "rule"],
)
def test_a_release_that_takes_no_labels_is_told_at_once(
    labels: str,
    monkeypatch: pytest.MonkeyPatch,
    guard: dict[str, Any],
    release: str,
    says: str,
) -> None:
    settings(monkeypatch, lab_with(guard))

    with pytest.raises(LabError, match=says):
        feedback.post("demo", release, labels)


def test_a_file_without_labels_is_told(service: Lab, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("request_id,label\n")

    with pytest.raises(LabError, match="has no labels"):
        feedback.post("demo", "iris", str(path))


@pytest.mark.parametrize(
    ("text", "found"),
    [("1", 1), ("1.0", 1.0), ("-2e3", -2000.0), ("x", "x"), ("nan", "nan"), ("", "")],
    ids=str,
)
def test_a_cell_that_spells_a_number_is_one(text: str, found: Any) -> None:
    assert value(text) == found
    assert type(value(text)) is type(found)


def test_the_token_comes_from_the_lab_s_own_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Cluster:
        def get(self, _: Any, name: str) -> Any:
            return SimpleNamespace(data={"token": base64.b64encode(name.encode())})

        def close(self) -> None:
            closed.append(True)

    closed: list[bool] = []
    monkeypatch.setattr(environment, "cluster", lambda *_: Cluster())

    assert feedback._token(lab_with({"quality": {}})) == "feedback"
    assert closed


@pytest.mark.parametrize(
    ("status", "says"),
    [(404, "`lab up` makes it"), (None, "does not answer")],
    ids=["missing", "silent"],
)
def test_a_secret_that_can_t_be_read_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, status: int | None, says: str
) -> None:
    request = httpx2.Request("GET", "http://cluster")

    class Cluster:
        def get(self, *_: Any) -> Any:
            if status is None:
                raise httpx2.ConnectError("no route", request=request)
            answer = httpx2.Response(status)
            raise httpx2.HTTPStatusError("no", request=request, response=answer)

        def close(self) -> None:
            pass

    monkeypatch.setattr(environment, "cluster", lambda *_: Cluster())

    with pytest.raises(LabError, match=says):
        feedback._token(lab_with({"quality": {}}))
