"""`lab compare`: what was logged, joined, priced and shown."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from labfactory import environment, labs, stack
from labfactory.errors import LabError
from labfactory.releases.comparison import compare, compare_logs, compare_shown
from labfactory.releases.comparison.compare import (
    Comparison,
    Figures,
    Logged,
    Rates,
    Record,
    join,
)
from labfactory.releases.comparison.compare_agreement import agreement
from labfactory.releases.comparison.compare_quality import read_labels
from stacks.schema import LabConfig, ReleaseConfig
from tests.harness import example, variant

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
VENDOR = {"url": "https://vendor.example.com/v1", "cost_per_call": 0.002}


def release(**others: dict[str, Any]) -> ReleaseConfig:
    """A stable v1, and `others`."""
    found = ReleaseConfig.model_validate(
        {"template": "mlflow", "variants": {"v1": variant(1), **others}}
    )
    return found


def shadow(version: int = 2, mirror: int = 100) -> dict[str, Any]:
    pinned = {**variant(version), "role": "shadow", "mirror": mirror}
    return {**pinned, "traffic": 0}


def record(
    id_: str,
    predictions: list[Any] | None,
    *,
    seconds: float = 0.01,
    status: int = 200,
    minutes_ago: float = 30,
) -> Record:
    return Record(
        id=id_,
        time=NOW - timedelta(minutes=minutes_ago),
        status=status,
        seconds=seconds,
        rows=len(predictions or []),
        predictions=predictions,
    )


def compared(
    config: ReleaseConfig, logs: dict[str, Iterable[Record]], **more: Any
) -> Comparison:
    return join(
        {name: Logged(list(records)) for name, records in logs.items()},
        config,
        "iris",
        since=NOW - timedelta(hours=1),
        until=NOW,
        **more,
    )


def figures(comparison: Comparison, name: str) -> Figures:
    [found] = [f for f in comparison.variants if f.variant == name]
    return found


# Counting


def test_each_variant_is_counted_and_the_stable_one_comes_first() -> None:
    config = release(v2=shadow(), v0={**shadow(3), "mirror": 50})
    seconds = [n / 1000 for n in range(1, 201)]
    answers = [record(str(n), [1, 2], seconds=s) for n, s in enumerate(seconds)]
    bad = [record("x", None, status=400), record("y", None, status=503)]

    found = compared(config, {"v2": [*answers, *bad], "v1": answers[:2]})

    assert [f.variant for f in found.variants] == ["v1", "v2", "v0"]
    v2 = figures(found, "v2")
    assert (v2.requests, v2.rows, v2.refused, v2.failed) == (202, 400, 1, 1)
    assert (v2.p50, v2.p99) == (0.1, 0.198)
    v0 = figures(found, "v0")
    assert (v0.requests, v0.p50, v0.p99) == (0, None, None)


def test_what_was_logged_before_the_window_is_not_counted() -> None:
    old = record("a", [1], minutes_ago=61)

    found = compared(release(v2=shadow()), {"v1": [old, record("b", [1])]})

    assert figures(found, "v1").requests == 1


# Agreement


def pair(one: list[Any] | None, another: list[Any] | None) -> Any:
    return agreement([record("a", one)], [record("a", another)])


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        (["a", "b"], ["a", "c"], 1),
        ([1, 2], [1, 2], 2),
        ([1, 2], [1, 3], 1),
        ([1.0], [1.0 + 5e-7], 1),
        ([1.0], [1.0 + 2e-6], 0),
        ([1], [1.0], 1),
        ([True], [1], 0),
        ([None, 1.5], [None, None], 1),
        ([[0.25, 0.75]], [[0.25, 0.75000000001]], 1),
        ([[0.25, 0.75]], [[0.25]], 0),
        ([{"label": "x", "p": 0.5}], [{"label": "x", "p": 0.5}], 1),
        ([{"label": "x"}], [{"word": "x"}], 0),
        (["1"], [1], 0),
        ([1, 2], [1], 1),
        ([], [], 0),
    ],
)
def test_rows_agree_exactly_or_as_numbers_do(
    one: list[Any], another: list[Any], same: int
) -> None:
    found = pair(one, another)

    assert found.same == same
    assert found.rows == max(len(one), len(another))


def test_the_mean_difference_is_over_all_numbers() -> None:
    assert pair([1.0, 5.0], [2.0, 2.0]).difference == 2.0
    assert pair([[1.0, 3.0], "x"], [[1.5, 3.0], "y"]).difference == 0.25
    assert pair(["x"], ["x"]).difference is None


def test_only_requests_that_both_answered_are_joined() -> None:
    stable = [record("a", [1]), record("b", [1]), record("c", None, status=500)]
    other = [record("a", [1]), record("c", [1]), record("d", [1])]

    assert agreement(stable, other).requests == 1


def test_an_id_that_is_not_one_request_s_own_is_left_out() -> None:
    twice = [record("a", [1]), record("a", [2]), record("", [1]), record("b", [1])]

    assert agreement(twice, [record("a", [1]), record("", [1])]).requests == 0


def test_a_comparison_says_how_a_shadow_agrees_with_the_stable_one() -> None:
    stable = [record("a", [1.0]), record("b", [2.0])]
    other = [record("b", [2.5]), record("a", [1.0])]

    found = compared(release(v2=shadow()), {"v1": stable, "v2": other})

    agreed = figures(found, "v2").agreement
    assert agreed
    assert (agreed.requests, agreed.share, agreed.difference) == (2, 0.5, 0.25)
    assert figures(found, "v1").agreement is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=4), st.lists(JSON, max_size=4))
def test_whatever_was_predicted_can_be_compared(one: list[Any], two: list[Any]) -> None:
    there, back = pair(one, two), pair(two, one)

    assert 0 <= there.same <= there.rows
    assert there.same == back.same


# Cost


def test_an_own_variant_costs_its_machines_over_the_release_s_requests() -> None:
    stable = [record(str(n), [1], minutes_ago=30) for n in range(500)]
    config = release(v2=shadow())

    found = compared(
        config, {"v1": stable, "v2": stable[:10]}, rates=Rates(cpu=1.0, gib=2.0)
    )

    # 0.1 cores and half a GiB, for 1,000 requests an hour.
    assert found.requests_per_hour == pytest.approx(1000)
    assert figures(found, "v1").cost == pytest.approx(0.1 * 1.0 + 0.5 * 2.0)
    assert figures(found, "v2").cost == figures(found, "v1").cost


def test_more_replicas_cost_more() -> None:
    stable = [record(str(n), [1]) for n in range(100)]
    one = release(v2=shadow())
    three = one.model_copy(update={"replicas": 3})

    costs = [
        figures(compared(config, {"v1": stable}), "v1").cost or 0
        for config in (one, three)
    ]

    assert costs[1] == pytest.approx(3 * costs[0])


def test_a_sample_that_is_mirrored_stands_for_all_requests() -> None:
    stable = [record(str(n), [1], minutes_ago=60) for n in range(50)]

    found = compared(release(v2=shadow(mirror=10)), {"v1": stable})

    assert found.requests_per_hour == pytest.approx(500)


@pytest.mark.parametrize(("call_per", "cost"), [("request", 2.0), ("row", 5.0)])
def test_an_endpoint_costs_its_calls(call_per: str, cost: float) -> None:
    external = {**VENDOR, "call_per": call_per}
    config = release(vendor={"external": external, "role": "shadow", "mirror": 100})
    answers = [record("a", [1, 2]), record("b", [1, 2, 3]), record("c", None, status=5)]

    found = compared(config, {"vendor": answers})

    assert figures(found, "vendor").cost == pytest.approx(cost)


def test_without_requests_there_is_no_cost_but_an_endpoint_s() -> None:
    config = release(vendor={"external": VENDOR, "role": "shadow", "mirror": 100})

    found = compared(config, {})

    assert figures(found, "v1").cost is None
    assert figures(found, "vendor").cost == 2.0


# Quality


def labels(tmp_path: Path, text: str) -> Any:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    return read_labels(str(file))


def test_classes_have_an_accuracy(tmp_path: Path) -> None:
    right = labels(tmp_path, "request_id,label\na,cat\nb,dog\nnever-asked,cat\n")
    config = release(v2=shadow())

    found = compared(
        config,
        {
            "v1": [record("a", ["cat"]), record("b", ["cat"])],
            "v2": [record("a", ["cat"])],
        },
        labels=right,
    )

    v1, v2 = (figures(found, name).quality for name in ("v1", "v2"))
    assert v1
    assert (v1.measure, v1.value, v1.rows) == ("accuracy", 0.5, 2)
    assert v2
    assert (v2.value, v2.rows) == (1.0, 1)


def test_numbers_have_a_mean_absolute_error_also_when_labels_are_whole(
    tmp_path: Path,
) -> None:
    right = labels(tmp_path, "row,request_id,label\n0,a,151\n1,a,75\n")

    found = compared(release(), {"v1": [record("a", [149.5, 80])]}, labels=right)

    measured = figures(found, "v1").quality
    assert measured
    assert (measured.measure, measured.value) == ("mean absolute error", 3.25)


@pytest.mark.parametrize(
    ("label", "predicted"), [("1", 1), ("1", 1.0), ("0", "0"), ("TRUE", True)]
)
def test_a_class_is_the_same_however_it_is_written(
    tmp_path: Path, label: str, predicted: Any
) -> None:
    right = labels(tmp_path, f"request_id,label\na,{label}\n")

    found = compared(release(), {"v1": [record("a", [predicted])]}, labels=right)

    measured = figures(found, "v1").quality
    assert measured
    assert (measured.measure, measured.value) == ("accuracy", 1.0)


def test_labels_that_meet_no_prediction_have_no_quality(tmp_path: Path) -> None:
    right = labels(tmp_path, "request_id,label,row\na,1,7\nb,1,0\n")

    found = compared(
        release(),
        {"v1": [record("a", [1]), record("b", [[0.5, 0.5]])]},
        labels=right,
    )

    measured = figures(found, "v1").quality
    assert measured
    assert (measured.value, measured.rows) == (None, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label\na,1\n", "has no column request_id"),
        ("", "has no column label and request_id"),
        ("request_id,label,row\na,1,first\n", "labels.csv:2: is no label"),
        ("request_id,label\na\n", "labels.csv:2: is no label"),
    ],
)
def test_a_file_that_holds_no_labels_is_a_sentence(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(LabError, match=said):
        labels(tmp_path, text)


def test_labels_that_are_not_there_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot be read"):
        read_labels(str(tmp_path / "none.csv"))
    (tmp_path / "zip").write_bytes(b"PK\xff\xfe")
    with pytest.raises(LabError, match="not a CSV file"):
        read_labels(str(tmp_path / "zip"))


# Reading


def line(id_: str, **changes: Any) -> bytes:
    whole = {
        "id": id_,
        "time": "2026-11-21T11:30:00.000001+00:00",
        "protocol": "v1",
        "status": 200,
        "seconds": 0.01,
        "rows": 1,
        "predictions": [1],
        "error": None,
    }
    return json.dumps({**whole, **changes}).encode()


def test_what_cannot_be_read_is_counted_and_the_rest_is_read() -> None:
    lines = [
        line("a"),
        b"{",
        b"[]",
        b"\xff",
        line("b", time="yesterday"),
        line("c", predictions={"x": 1}),
        line("d", status="good"),
        line("e", predictions=None, status=400, error="no"),
    ]

    records, broken = compare_logs.parse(gzip.compress(b"\n".join(lines)))

    assert [r.id for r in records] == ["a", "e"]
    assert broken == 6


@pytest.mark.parametrize(
    "body",
    [
        b"no gzip",
        gzip.compress(line("a"), mtime=0)[:-9],
        b"\x1f\x8b\x08\0\0\0\0\0\0\0rub",
    ],
)
def test_a_broken_object_is_one_that_is_counted(body: bytes) -> None:
    assert compare_logs.parse(body) == ([], 1)


def test_an_empty_object_is_not_broken() -> None:
    assert compare_logs.parse(gzip.compress(b"")) == ([], 0)


def test_of_too_many_answers_the_newest_are_read() -> None:
    keys = [str(number) for number in range(300)]

    found = compare_logs.read(keys, lambda k: gzip.compress(line(k)), most=100)

    assert found.cut
    assert {r.id for r in found.records} >= set(keys[200:])
    assert not compare_logs.read(keys, lambda k: gzip.compress(line(k))).cut


def test_the_folders_are_those_of_the_hours_that_are_looked_at() -> None:
    since = datetime(2026, 12, 31, 22, 59, tzinfo=UTC)

    found = compare_logs.folders("iris", "v1", since, since + timedelta(minutes=62))

    assert [*found] == [
        "logs/iris/v1/2026-12-31/22/",
        "logs/iris/v1/2026-12-31/23/",
        "logs/iris/v1/2027-01-01/00/",
    ]


class Store:
    """As much of an S3 client as is used."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def get_paginator(self, _: str) -> Store:
        return self

    def paginate(self, Bucket: str, Prefix: str) -> Iterable[dict[str, Any]]:
        assert Bucket == "predictions"
        found = [key for key in self.objects if key.startswith(Prefix)]
        yield {"Contents": [{"Key": key, "LastModified": NOW} for key in found]}
        yield {}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.objects[Key])}


def a_stack(settings: LabConfig) -> SimpleNamespace:
    return SimpleNamespace(
        file=Path("Pulumi.demo.yaml"), name="demo", settings=settings
    )


@pytest.fixture
def a_lab(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A lab with a shadow, and the objects of its store."""
    raw = example(
        storage={
            "kind": "minio",
            "capacity": "1Gi",
            "buckets": ["mlflow", "predictions"],
        },
        predictions={"bucket": "predictions"},
        releases={
            "iris": {
                "template": "mlflow",
                "variants": {"v1": variant(1), "v2": shadow()},
            }
        },
    )
    objects: dict[str, bytes] = {}
    settings = LabConfig.model_validate(raw)
    monkeypatch.setattr(stack, "Stack", lambda _: a_stack(settings))
    monkeypatch.setattr(labs, "outputs", lambda _: {"storage_url": "http://store"})
    monkeypatch.setattr(compare_logs, "_client", lambda *_: Store(objects))
    return objects


def logged(variant: str, *lines: bytes) -> dict[str, bytes]:
    hour = f"{datetime.now(UTC):%Y-%m-%d/%H}"
    return {
        f"logs/iris/{variant}/{hour}/pod-1-0.jsonl.gz": gzip.compress(b"\n".join(lines))
    }


def test_the_command_joins_what_the_store_holds(
    a_lab: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    now = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
    lines = [line(str(n), time=now, predictions=[n]) for n in range(4)]
    other = [*lines[:3], line("3", time=now, predictions=[7]), b"broken"]
    a_lab |= logged("v1", *lines) | logged("v2", *other)

    compare.show("demo", "iris", json=True)

    found = json.loads(capsys.readouterr().out)
    v1, v2 = found["variants"]
    assert (v1["requests"], v2["requests"], v2["broken"]) == (4, 4, 1)
    assert v2["agreement"]["share"] == 0.75
    assert v2["errors"] == 0
    assert v1["p50_seconds"] == 0.01


def test_a_release_without_a_log_is_shown_as_such(
    a_lab: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    a_lab |= logged("v1", line("a", time=datetime.now(UTC).isoformat()))

    compare.show("demo", "iris")

    text = capsys.readouterr().out
    assert "no log" in text
    assert "no log of v2" in text


@pytest.mark.parametrize(
    ("name", "hours", "said"),
    [
        ("wine", 1.0, "has no release 'wine' .there is: iris.; name one"),
        ("iris", 0.0, "--hours"),
        ("iris", -1.0, "--hours"),
        ("iris", float("nan"), "--hours"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(
    a_lab: dict[str, bytes], name: str, hours: float, said: str
) -> None:
    with pytest.raises(LabError, match=said):
        compare.show("demo", name, hours=hours)


def test_a_lab_that_keeps_no_predictions_is_told_how_to(
    a_lab: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = LabConfig.model_validate(
        example(predictions=None, releases={"iris": release().model_dump()})
    )
    monkeypatch.setattr(stack, "Stack", lambda _: a_stack(settings))

    with pytest.raises(LabError, match=r"predictions: \{bucket"):
        compare.show("demo", "iris")


def test_the_keys_come_out_of_the_lab_s_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes import client

    asked: list[tuple[str, str]] = []

    class Api:
        def __init__(self, _: object) -> None:
            pass

        def read_namespaced_secret(self, name: str, namespace: str, **_: Any) -> Any:
            asked.append((name, namespace))
            data = {
                f"PREDICTIONS_{each}": base64.b64encode(each.lower().encode()).decode()
                for each in ("REGION", "KEY_ID", "SECRET")
            }
            return SimpleNamespace(data=data)

    monkeypatch.setattr(client, "CoreV1Api", Api)
    monkeypatch.setattr(environment, "kubernetes", lambda context: context)

    found = compare_logs._secret(LabConfig.model_validate(example()))

    assert asked == [("storage-batch", "example")]
    assert found["PREDICTIONS_SECRET"] == "secret"


# Showing


def shown(comparison: Comparison) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(compare_shown.title(comparison))
    console.print(compare_shown.table(comparison))
    for note in compare_shown.notes(comparison):
        console.print(note)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_has_a_column_per_variant_and_a_row_per_figure() -> None:
    config = release(
        v2=shadow(), vendor={"external": VENDOR, "role": "shadow", "mirror": 100}
    )
    stable = [record(str(n), [1.0, 2.0]) for n in range(100)]
    other = [record(str(n), [1.0, 2.5], seconds=0.25) for n in range(100)]

    text = shown(compared(config, {"v1": stable, "v2": other, "vendor": other[:1]}))

    for words in (
        "v1",
        "shadow, external",
        "50.00 %",
        "250.0 ms",
        "cost of 1,000 requests",
        "0.25",
        "200 requests an hour",
    ):
        assert words in text
    assert "quality" not in text


def test_a_log_that_was_not_read_whole_is_said() -> None:
    found = join(
        {"v1": Logged([record("a", [1])], broken=3, cut=True)},
        release(),
        "iris",
        since=NOW - timedelta(hours=1),
        until=NOW,
    )

    text = shown(found)
    assert "v1: 3 objects or lines of its log" in text
    assert "only its newest answers" in text
