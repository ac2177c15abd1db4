"""Traces: made by seed, written to files and read back, cut out of Prometheus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labfactory.errors import LabError
from labfactory.guard.prometheus import Series
from labfactory.releases.decisions.observed import (
    INFINITE,
    Agreement,
    Counts,
    Drift,
    Observed,
)
from labfactory.releases.simulation import trace_files
from labfactory.releases.simulation.scenarios import (
    BUILT_IN,
    clock_jump,
    counter_reset,
    gaps,
    healthy,
    metrics_outage,
    noisy,
    slower,
    wrong,
)
from labfactory.releases.simulation.trace_recorder import looks
from labfactory.releases.simulation.traces import (
    PAIR,
    START,
    Made,
    Recorded,
    Scenario,
    Service,
)

SPLIT = {"v1": 90, "v2": 10}


def made(
    scenario: Scenario,
    *,
    count: int = 40,
    seed: int = 7,
    service: Service | None = None,
) -> list[Observed]:
    trace = Made(scenario, seed, looks=count, service=service or Service())
    found: list[Observed] = []
    while seen := trace.look(len(found), SPLIT):
        found.append(seen)
    return found


def total(looks: list[Observed], variant: str, figure: str) -> int:
    return sum(getattr(look.counts[variant], figure) for look in looks)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_same_seed_makes_the_same_trace(name: str) -> None:
    known = BUILT_IN[name]

    first, again, other = (
        made(known.scenario(), seed=seed, service=known.service) for seed in (3, 3, 4)
    )

    assert first == again
    assert first != other


def test_requests_follow_the_weights() -> None:
    trace = Made(healthy(), 1, looks=2)

    before = trace.look(0, {"v1": 100, "v2": 0})
    after = trace.look(1, {"v1": 50, "v2": 50})

    assert before is not None
    assert after is not None
    assert before.counts["v2"].requests == 0
    assert before.counts["v1"].requests == pytest.approx(1000, abs=150)
    assert after.counts["v2"].requests == pytest.approx(500, abs=100)


def test_a_trace_has_an_end() -> None:
    trace = Made(healthy(), 1, looks=1)

    assert trace.look(0, SPLIT) is not None
    assert trace.look(1, SPLIT) is None


def test_latency_has_the_quantile_that_was_asked_for() -> None:
    found = made(slower(factor=1.5), service=Service(p95=0.2))

    below = {
        name: sum(
            count
            for look in found
            for bound, count in look.counts[name].latency.items()
            if bound <= limit
        )
        / (total(found, name, "requests") - total(found, name, "errors"))
        for name, limit in (("v1", 0.2091), ("v2", 0.3062))
    }

    # The bound above 0.2 s is 4.5 % higher, the one above 0.3 s 2 %.
    assert below["v1"] == pytest.approx(0.958, abs=0.005)
    assert below["v2"] == pytest.approx(0.955, abs=0.012)


def test_noise_hits_both_variants_alike() -> None:
    found = made(noisy(bursts=0.1), count=400)

    shares = [
        total(found, name, "errors") / total(found, name, "requests") for name in PAIR
    ]
    by_look = [look.counts["v1"].errors for look in found]

    assert shares[0] == pytest.approx(shares[1], rel=0.2)
    assert max(by_look) > 5 * sorted(by_look)[200]


def test_labels_come_late() -> None:
    found = made(wrong(share=0.5), service=Service(wrong=0.1, label_after=10))

    assert [look.counts["v2"].labelled for look in found[:10]] == [0] * 10
    told = total(found, "v2", "wrong") / total(found, "v2", "labelled")
    assert told == pytest.approx(0.5, abs=0.05)
    answered = found[0].counts["v2"].requests - found[0].counts["v2"].errors
    assert found[10].counts["v2"].labelled == answered


def test_an_outage_says_why_and_measures_nothing() -> None:
    found = made(metrics_outage(after=10, until=20))

    silent = [look for look in found if look.trouble]
    assert [look.time - START for look in silent] == [15, 20]
    assert all(look.seconds == 0 and not look.counts for look in silent)


def test_a_gap_leaves_the_candidate_out() -> None:
    found = made(gaps(period=10), count=4)

    assert ["v2" in look.counts for look in found] == [True, False, True, False]
    assert all("v1" in look.counts for look in found)


def test_a_reset_loses_a_part_of_one_look() -> None:
    found = [
        look.counts["v2"].requests for look in made(counter_reset(at=10, left=0.1))
    ]

    assert found[1] < 30 < min(found[:1] + found[2:])


def test_the_clock_jumps_once() -> None:
    found = made(clock_jump(after=10, seconds=-100), count=4)

    assert [look.time - START for look in found] == [5, 10, -85, -80]


def test_a_file_holds_everything_that_was_seen(tmp_path: Path) -> None:
    everything = Observed(
        time=START,
        seconds=5,
        counts={"v2": Counts(9, 1, 2, {0.1: 3, INFINITE: 4}, 5, 1)},
        ready={"v1": True, "v2": False},
        drift={"v1": (Drift("age", (0.25, 0.75), (3, 4)),)},
        agreement={"v3": Agreement(10, 9)},
    )
    seen = [everything, Observed(START + 5, 0, trouble="Prometheus is away")]
    seen += made(healthy(), count=3)

    trace_files.write(tmp_path / "trace.jsonl", seen)

    assert trace_files.read(tmp_path / "trace.jsonl") == seen


def test_a_recorded_trace_does_not_heed_the_weights() -> None:
    trace = Recorded(made(healthy(), count=1))

    assert trace.look(0, {}) is trace.looks[0]
    assert trace.look(1, {}) is None


V2 = '{{"time": 1, "seconds": 5, "variants": {{"v2": {}}}}}'


@pytest.mark.parametrize(
    ("line", "told"),
    [
        pytest.param("nonsense", "Invalid JSON", id="no-json"),
        pytest.param("[]", "Input should be an object", id="no-object"),
        pytest.param('{"time": 1}', "seconds: Field required", id="no-seconds"),
        pytest.param(
            '{"time": NaN, "seconds": 5}', "time: Input should be a finite", id="nan"
        ),
        pytest.param(
            '{"time": 1, "seconds": -5}', "seconds: Input should be greater", id="past"
        ),
        pytest.param(
            '{"time": 1, "seconds": 5, "varaints": {}}', "varaints: Extra", id="typo"
        ),
        pytest.param(
            V2.format('{"requests": -1}'),
            "variants.v2.requests: Input should be greater",
            id="negative",
        ),
        pytest.param(
            V2.format('{"requests": 1.5}'), "variants.v2.requests", id="no-whole-number"
        ),
        pytest.param(
            V2.format('{"requests": 1, "errors": 2}'),
            "variants.v2: more errors or rejects than requests",
            id="more-errors-than-requests",
        ),
        pytest.param(
            V2.format('{"wrong": 2}'),
            "variants.v2: more wrong predictions than labelled ones",
            id="more-wrong-than-labelled",
        ),
        pytest.param(
            V2.format('{"latency": {"0.1": 1}}'),
            "variants.v2: latency's bounds do not grow up to `inf`",
            id="no-last-bucket",
        ),
        pytest.param(
            V2.format('{"latency": {"0.2": 1, "0.1": 1, "inf": 0}}'),
            "latency's bounds do not grow",
            id="buckets-in-disorder",
        ),
        pytest.param(
            V2.format('{"latency": {"fast": 1, "inf": 0}}'),
            "latency has a bound that is no number",
            id="bucket-without-number",
        ),
        pytest.param(
            '{"time": 1, "seconds": 5, "agreement": {"v3": '
            '{"compared": 1, "agreed": 2}}}',
            "agreement.v3: more agreed than compared",
            id="more-agreed-than-compared",
        ),
        pytest.param(
            '{"time": 1, "seconds": 5, "drift": {"v1": [{"column": "age", '
            '"expected": [1.0], "seen": []}]}}',
            "drift.v1.0: expected and seen have different numbers of bins",
            id="bins-that-do-not-match",
        ),
    ],
)
def test_a_bad_line_is_told_with_its_number(
    tmp_path: Path, line: str, told: str
) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(f'{{"time": 1, "seconds": 5}}\n\n{line}\n')

    with pytest.raises(LabError) as caught:
        trace_files.read(file)

    assert str(caught.value).startswith(f"{file}: it is no trace; correct it:")
    [line_told] = str(caught.value).splitlines()[1:]
    assert line_told.startswith("  line 3: ")
    assert told in line_told


def test_all_bad_lines_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text("no\n" * 25)

    with pytest.raises(LabError) as caught:
        trace_files.read(file)

    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines[1:21]] == [
        f"  line {number}" for number in range(1, 21)
    ]
    assert lines[21:] == ["  and 5 more"]


def test_an_empty_file_is_no_trace(tmp_path: Path) -> None:
    (tmp_path / "trace.jsonl").write_text("\n")

    with pytest.raises(LabError, match="it has no look"):
        trace_files.read(tmp_path / "trace.jsonl")


@pytest.mark.parametrize("content", [b"\xff\xfe", None], ids=["no-text", "no-file"])
def test_what_cannot_be_read_is_told(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "trace").write_bytes(content)

    with pytest.raises(LabError, match="can't be read as text"):
        trace_files.read(tmp_path / "trace")


def series(name: str, *values: float, start: float = 0, **labels: str) -> Series:
    """Samples at every fifth second, the first at `start`."""
    found = {"__name__": name, "release": "iris", "variant": "v2", **labels}
    return Series(found, [(start + 5 * n, value) for n, value in enumerate(values)])


def test_counters_become_looks_and_a_reset_is_none_the_less_counted() -> None:
    gateway = [
        series("envoy_cluster_upstream_rq_xx", *counts, envoy_response_code_class=each)
        for each, counts in (("2", (100, 140, 30, 60)), ("5", (0, 2, 0, 1)))
    ]
    rejects = series("lab_model_rejects_total", 1, 2, 5, 5)

    found = looks("iris", gateway, [rejects], start=-1, end=19, interval=5)

    assert [(s.time, s.seconds) for s in found] == [(0, 0), (5, 5), (10, 5), (15, 5)]
    assert [s.counts.get("v2", Counts()).requests for s in found] == [0, 42, 30, 31]
    assert [s.counts.get("v2", Counts()).errors for s in found] == [0, 2, 0, 1]
    assert [s.counts.get("v2", Counts()).rejects for s in found] == [0, 1, 3, 0]


def test_a_gap_in_the_measurements_is_never_good_time() -> None:
    whole = series("envoy_cluster_upstream_rq_xx", *range(0, 800, 10))
    gateway = [Series(whole.labels, [*whole.samples[:2], *whole.samples[40:42]])]

    found = looks("iris", gateway, [], start=-1, end=209, interval=5)

    assert sum(seen.seconds for seen in found) == 5 + 15 + 5
    assert sum(not seen.seconds for seen in found[2:40]) == 38


def test_recorded_looks_can_be_written(tmp_path: Path) -> None:
    gateway = [series("envoy_cluster_upstream_rq_xx", 0, 10, 20)]
    buckets = [
        series("lab_model_request_seconds_bucket", 0, count, 2 * count, le=bound)
        for bound, count in (("0.1", 4), ("+Inf", 10))
    ]
    found = looks("iris", gateway, buckets, start=-1, end=14, interval=5)

    trace_files.write(tmp_path / "trace.jsonl", found)

    assert trace_files.read(tmp_path / "trace.jsonl") == found
    assert found[1].counts["v2"].latency == {0.1: 4, INFINITE: 6}
    first = json.loads((tmp_path / "trace.jsonl").read_text().splitlines()[1])
    assert first["variants"]["v2"]["latency"] == {"0.1": 4, "inf": 6}
