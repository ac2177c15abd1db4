"""The service that takes labels, from the request to the counters."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from labfactory.errors import LabError
from labfactory.guard.feedback.follow import Follower
from labfactory.guard.feedback.joined import Joined
from labfactory.guard.feedback.judge import is_right, misfit
from labfactory.guard.feedback.posted import Label
from labfactory.guard.feedback.rules import Rules
from labfactory.guard.feedback.service import MOST_BYTES, Service
from labfactory.guard.feedback.store import StoreError
from labfactory.releases.comparison.compare import Record
from stacks.schema import ReleaseConfig
from stacks.watching import AgreementRule, QualityRule
from tests.harness import variant

NOW = datetime(2026, 11, 21, 18, 30, tzinfo=UTC).timestamp()
TOKEN = {"Authorization": "Bearer not-a-secret"}


class Bucket:
    """A store in this process, which can be away."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.away = False
        self.reads: list[str] = []

    def keys(self, prefix: str, after: str) -> list[str]:
        self._reach()
        return [key for key in self.objects if key.startswith(prefix) and key > after]

    def get(self, key: str) -> bytes:
        self._reach()
        self.reads.append(key)
        return self.objects[key]

    def put(self, key: str, body: bytes) -> None:
        self._reach()
        self.objects[key] = body

    def _reach(self) -> None:
        if self.away:
            raise StoreError("MaxRetryError")


class Lab:
    """A service, a store and a clock; the thread that follows is called by hand."""

    def __init__(self, **releases: dict[str, Any]) -> None:
        self.bucket = Bucket()
        self.time = NOW
        self.live: Callable[[], dict[str, ReleaseConfig]] = lambda: {
            name: ReleaseConfig.model_validate(settings)
            for name, settings in (releases or {"iris": settings_with()}).items()
        }
        self._logged = 0
        self.start()

    def start(self) -> None:
        """A new process, with nothing in memory."""
        self.follower = Follower(self.bucket, lambda: self.live(), lambda: self.time)
        service = Service(self.follower, "not-a-secret", lambda: True)
        self.http = TestClient(service.app(), headers=TOKEN)
        self.follower.refresh()
        self.follower.follow()

    def log(self, variant: str, *answers: Any, release: str = "iris") -> None:
        """Let a variant write answers, as (id, predictions) or whole records."""
        self._logged += 1
        hour = f"{datetime.fromtimestamp(self.time, UTC):%Y-%m-%d/%H}"
        lines = [json.dumps(self.record(answer)) for answer in answers]
        self.bucket.objects[
            f"logs/{release}/{variant}/{hour}/pod-1-{self._logged}.jsonl.gz"
        ] = gzip.compress("\n".join(lines).encode())

    def record(self, answer: Any) -> Any:
        if not isinstance(answer, tuple):
            return answer
        id_, predictions = answer
        return {
            "id": id_,
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(),
            "protocol": "v1",
            "status": 200,
            "seconds": 0.01,
            "rows": len(predictions),
            "predictions": predictions,
            "error": None,
        }

    def post(self, *labels: Any, release: str = "iris") -> dict[str, Any]:
        answer = self.http.post(
            f"/v1/feedback/{release}", content=json.dumps({"labels": labels})
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def counters(self) -> dict[str, float]:
        """What is above 0, as `name{labels}`, without the common part of the name."""
        lines = self.http.get("/metrics").text.splitlines()
        found = (line.rsplit(" ", 1) for line in lines if line.startswith("lab_"))
        return {name[4:]: float(value) for name, value in found if float(value)}


def settings_with(**rules: Any) -> dict[str, Any]:
    """A release of v1 and its shadow v2, whose labels are joined unless said."""
    return {
        "template": "mlflow",
        "guard": rules or {"quality": {}},
        "variants": {
            "v1": variant(1),
            "v2": {**variant(2), "role": "shadow", "traffic": 0, "mirror": 100},
        },
    }


def one(id_: str, label: Any, row: int = 0) -> dict[str, Any]:
    return {"id": id_, "row": row, "label": label}


def test_a_label_is_counted_for_each_variant_that_answered() -> None:
    lab = Lab()
    lab.log("v1", ("a", [1.0, 2.0]), ("b", [3.0]))
    lab.log("v2", ("a", [1.0, 5.0]))
    lab.follower.follow()

    found = lab.post(one("a", 1), one("a", 2, row=1), one("b", 4))

    assert found == {"taken": 3, "duplicates": 0, "unknown": 0, "refused": []}
    assert lab.counters() == {
        'feedback_labelled_total{release="iris",variant="v1"}': 3,
        'feedback_wrong_total{release="iris",variant="v1"}': 1,
        'feedback_labelled_total{release="iris",variant="v2"}': 2,
        'feedback_wrong_total{release="iris",variant="v2"}': 1,
    }


def test_a_label_that_comes_before_its_prediction_waits_for_it() -> None:
    lab = Lab()

    found = lab.post(one("a", 1))
    lab.log("v1", ("a", [2]))
    lab.follower.follow()

    assert (found["taken"], found["unknown"]) == (1, 1)
    assert lab.counters() == {
        'feedback_labelled_total{release="iris",variant="v1"}': 1,
        'feedback_wrong_total{release="iris",variant="v1"}': 1,
    }


def test_a_label_that_waited_for_ten_minutes_is_of_an_unknown_request() -> None:
    lab = Lab()
    lab.post(one("a", 1), one("a", 1, row=1))

    lab.time += 599
    lab.follower.follow()
    before = lab.counters()
    lab.time += 1
    lab.follower.follow()
    lab.log("v1", ("a", [1, 1]))
    lab.follower.follow()

    assert before == {}
    assert lab.counters() == {'feedback_unknown_total{release="iris"}': 2}


@pytest.mark.parametrize("known", [True, False], ids=["joined", "waiting"])
def test_the_first_label_of_a_row_counts(known: bool) -> None:
    lab = Lab()
    if known:
        lab.log("v1", ("a", [1, 1]))
        lab.follower.follow()

    found = lab.post(one("a", 1), one("a", 1), one("a", 2), one("a", 1, row=1))
    later = lab.post(one("a", 1), one("a", 3))

    assert (found["taken"], found["duplicates"]) == (2, 1)
    assert (later["taken"], later["duplicates"]) == (0, 1)
    assert [each["index"] for each in found["refused"]] == [2]
    assert "has another label already" in later["refused"][0]["reason"]
    counters = lab.counters()
    assert counters['feedback_duplicate_total{release="iris"}'] == 2
    refusals = 'feedback_refused_total{reason="duplicate",release="iris"}'
    assert counters[refusals] == 2


def test_all_mistakes_of_one_request_are_in_one_answer() -> None:
    lab = Lab()
    lab.log("v1", ("a", [1.5]))
    lab.follower.follow()

    found = lab.post(
        "a",
        {"id": "", "row": -1, "label": None, "colour": 1},
        one("a", "blue"),
        one("a", True),
        one("a", 10**400),
        one("a", 1, row=7),
        one("a", "x" * 1001),
        one("other", "blue"),
        one("a", 2),
    )

    assert found["taken"] == 1
    assert {each["index"]: each["reason"] for each in found["refused"]} == {
        0: "must be an object with id, label and, if need be, row",
        1: "has 'colour'; it may have id, row and label; id must be the request's "
        "x-request-id, up to 200 long; row must be a whole number from 0; label must "
        "be a finite number, true, false or text",
        2: "the model answers numbers; the label must be a finite number",
        3: "the model answers numbers; the label must be a finite number",
        4: "label must be a finite number, true, false or text",
        5: "row must be below 1, the predictions logged",
        6: "label must be at most 1000 characters long",
        7: "the model answers numbers; the label must be a finite number",
    }
    assert [each["id"] for each in found["refused"]][:3] == [None, "", "a"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "an object with a list `labels`"),
        (b'{"labels": {}}', "an object with a list `labels`"),
        (b'{"labels": [], "more": 1}', "an object with a list `labels`"),
        (json.dumps({"labels": [1] * 10_001}).encode(), "10000 are taken at a time"),
    ],
    ids=["cut", "deep", "list", "no-list", "more", "many"],
)
def test_what_holds_no_labels_is_refused_as_a_whole(body: bytes, says: str) -> None:
    answer = Lab().http.post("/v1/feedback/iris", content=body)

    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_a_body_beyond_the_limit_is_not_kept() -> None:
    answer = Lab().http.post("/v1/feedback/iris", content=b" " * (MOST_BYTES + 1))

    assert answer.status_code == 413
    assert "8 MiB" in answer.json()["error"]


@pytest.mark.parametrize("given", ["", "Bearer wrong", "not-a-secret", "Bearer é"])
def test_nobody_posts_without_the_token(given: str) -> None:
    lab = Lab()

    headers = {b"authorization": given.encode()}
    answer = lab.http.post("/v1/feedback/iris", json={"labels": []}, headers=headers)

    assert answer.status_code == 401
    assert "Secret `feedback`" in answer.json()["error"]


def test_a_release_that_takes_no_labels_is_told_beside_those_that_do() -> None:
    lab = Lab(iris=settings_with(), wine=settings_with(agreement={}))

    answers = [
        lab.http.post(f"/v1/feedback/{name}", json={"labels": []})
        for name in ("wine", "nothing")
    ]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert all("(those that do: iris)" in a.json()["error"] for a in answers)


def test_no_label_is_taken_that_the_store_does_not_keep() -> None:
    lab = Lab()
    lab.log("v1", ("a", [1]))
    lab.follower.follow()

    lab.bucket.away = True
    answer = lab.http.post("/v1/feedback/iris", json={"labels": [one("a", 1)]})
    lab.follower.follow()
    lab.bucket.away = False

    assert answer.status_code == 503
    assert "send the same again later" in answer.json()["error"]
    assert lab.counters() == {}
    assert lab.post(one("a", 1))["taken"] == 1


def test_a_restart_loses_no_label_and_counts_none_twice() -> None:
    lab = Lab()
    lab.log("v1", ("a", [1]), ("b", [1]), ("c", [1]))
    lab.follower.follow()
    lab.post(one("a", 2), one("early", 1))

    lab.start()
    lab.follower.follow()
    restarted = lab.counters()
    again = lab.post(one("a", 2), one("b", 1))
    lab.log("v1", ("early", [1]))
    lab.follower.follow()

    assert restarted == {}
    assert (again["taken"], again["duplicates"]) == (1, 1)
    assert lab.counters() == {
        'feedback_labelled_total{release="iris",variant="v1"}': 2,
        'feedback_duplicate_total{release="iris"}': 1,
    }


def test_labels_are_not_taken_before_the_earlier_ones_are_back() -> None:
    lab = Lab()
    lab.log("v1", ("a", [1]))
    lab.follower.follow()
    lab.post(one("a", 2))

    lab.bucket.away = True
    lab.start()
    early = lab.http.post("/v1/feedback/iris", json={"labels": [one("a", 2)]})
    lab.bucket.away = False
    lab.follower.follow()

    assert early.status_code == 503
    assert lab.post(one("a", 2))["duplicates"] == 1


def test_before_the_routes_were_read_nobody_is_told_that_a_release_is_unknown() -> None:
    def silent() -> dict[str, ReleaseConfig]:
        raise LabError("it does not answer")

    lab = Lab()
    known = lab.live
    lab.live = silent
    lab.start()

    answer = lab.http.post("/v1/feedback/iris", json={"labels": []})
    lab.live = known
    lab.follower.refresh()
    lab.follower.follow()
    lab.live = silent
    lab.follower.refresh()

    assert answer.status_code == 503
    assert lab.post(one("a", 1))["taken"] == 1


def test_a_shadow_is_compared_on_the_requests_that_both_answered() -> None:
    lab = Lab(iris=settings_with(agreement={"tolerance": 0.5}))
    lab.log("v1", ("a", [1.0, 2.0]), ("b", [1.0]), ("c", [1.0]), ("d", [1.0, 2.0]))
    lab.follower.follow()
    lab.log("v2", ("a", [1.4, 2.0]), ("b", [1.6]), ("d", [1.0]), ("only", [1.0]))
    lab.follower.follow()

    assert lab.counters() == {
        'agreement_compared_total{release="iris",shadow="v2"}': 3,
        'agreement_agreed_total{release="iris",shadow="v2"}': 1,
    }


def test_pairs_from_before_a_restart_are_not_compared_again() -> None:
    lab = Lab(iris=settings_with(agreement={}))
    lab.log("v1", ("a", ["x"]), ("b", ["x"]))
    lab.log("v2", ("a", ["x"]))
    lab.follower.follow()

    lab.start()
    lab.log("v2", ("b", ["x"]))
    lab.follower.follow()

    assert lab.counters() == {
        'agreement_compared_total{release="iris",shadow="v2"}': 1,
        'agreement_agreed_total{release="iris",shadow="v2"}': 1,
    }


def test_every_series_is_there_before_it_counts() -> None:
    lab = Lab(iris=settings_with(quality={}, agreement={}))

    lines = lab.http.get("/metrics").text.splitlines()

    wanted = {
        'lab_feedback_labelled_total{release="iris",variant="v2"} 0.0',
        'lab_feedback_wrong_total{release="iris",variant="v1"} 0.0',
        'lab_feedback_unknown_total{release="iris"} 0.0',
        'lab_feedback_duplicate_total{release="iris"} 0.0',
        'lab_feedback_refused_total{reason="label",release="iris"} 0.0',
        'lab_agreement_compared_total{release="iris",shadow="v2"} 0.0',
        'lab_agreement_agreed_total{release="iris",shadow="v2"} 0.0',
    }
    assert wanted <= {*lines}


def test_probes_hear_when_nobody_follows_the_predictions() -> None:
    alive = [True, False]
    service = Service(Lab().follower, "t", lambda: alive.pop(0))
    http = TestClient(service.app())

    codes = [http.get("/healthz").status_code for _ in range(2)]

    assert codes == [200, 500]


def test_an_answer_without_predictions_has_nothing_to_judge() -> None:
    lab = Lab()
    failed = {**lab.record(("a", [1])), "status": 500, "predictions": None}
    lab.log("v1", failed, ("", [1]))
    lab.follower.follow()

    found = lab.post(one("a", 1))

    assert found["unknown"] == 1


def test_an_id_that_came_twice_names_no_one_request() -> None:
    lab = Lab()
    lab.log("v1", ("a", [1]), ("a", [2]), ("a", [3]))
    lab.follower.follow()

    found = lab.post(one("a", 1))

    assert "names several requests" in found["refused"][0]["reason"]
    assert lab.counters() == {'feedback_refused_total{reason="row",release="iris"}': 1}


@pytest.mark.parametrize(
    ("label", "predicted"),
    [
        ("1", 1),
        (True, 1),
        (math.inf, 1.0),
        (1, True),
        ("yes", False),
        (0, "setosa"),
        (1, [1]),
        (1, {"a": 1}),
    ],
    ids=str,
)
def test_a_label_of_another_kind_is_not_held_against_the_model(
    label: Any, predicted: Any
) -> None:
    assert misfit(label, predicted)


@pytest.mark.parametrize(
    ("label", "predicted", "tolerance", "right"),
    [
        (1, 1.0, None, True),
        (0.1, 0.10000000149, None, True),
        (1.5, 1.4, None, False),
        (1.5, 1.4, 0.2, True),
        (1.5, 1.2, 0.2, False),
        ("true", True, None, True),
        (False, True, None, False),
        ("Setosa", "setosa", None, True),
        (1, "1.0", None, True),
        (1, None, None, False),
    ],
    ids=str,
)
def test_a_prediction_is_right_when_its_label_says_so(
    label: Any, predicted: Any, tolerance: float | None, right: bool
) -> None:
    assert misfit(label, predicted) is None
    assert is_right(label, predicted, tolerance) is right


def test_what_is_remembered_has_bounds_and_the_oldest_goes() -> None:
    rules = Rules(("v1",), frozenset(), QualityRule(), None)
    joined = Joined(rules, most=3, waiting=2)
    at = datetime.fromtimestamp(NOW, UTC)
    records = [Record(f"r{n}", at, 200, 0.1, 2, [n, n]) for n in range(3)]

    joined.predicted("v1", records)
    joined.add([Label(n, f"early{n}", 0, 1) for n in range(3)], NOW)
    labels = [Label(0, "r1", 0, 1), Label(1, "r2", 0, 1), Label(2, "early1", 0, 1)]
    found = joined.check(labels)

    assert (found.unknown, found.duplicates) == (1, 1)
    assert joined.tally.unknown == 1


def test_a_prediction_is_forgotten_after_a_day() -> None:
    rules = Rules(("v1", "v2"), frozenset({"v2"}), QualityRule(), AgreementRule())
    joined = Joined(rules)
    at = datetime.fromtimestamp(NOW, UTC)
    joined.predicted("v1", [Record("a", at, 200, 0.1, 1, [1])])

    joined.tidy(NOW + 24 * 3600 - 1)
    before = joined.check([Label(0, "a", 0, 1)]).unknown
    joined.tidy(NOW + 24 * 3600)
    after = joined.check([Label(0, "a", 0, 1)]).unknown

    assert (before, after) == (0, 1)
