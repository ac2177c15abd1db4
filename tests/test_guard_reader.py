"""What the guard reads: a real server plays Prometheus on a good and on a bad day."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import pytest

from labfactory.guard.counters import Counters
from labfactory.guard.gateway import ACTIVE, CLASS, CLASSES, COMPLETED, STARTED
from labfactory.guard.prometheus import Blind, Prometheus, Series
from labfactory.guard.reader import Reader
from labfactory.releases.decisions.observed import Drift, Observed
from tests.guard_parts import Partner, release, served

INTERVAL = 5.0


class Bench:
    """A reader of one release, and its Prometheus."""

    def __init__(self, partner: Partner) -> None:
        self.partner = partner
        self.settings = release()
        self.now = 1000.0
        self.at = 10_000.0
        self.reader = Reader(
            partner.url, interval=INTERVAL, clock=lambda: self.now
        ).__enter__()

    def gateway(
        self, variant: str = "v2", *, of: str = "iris", **classes: float | str
    ) -> None:
        """Measure the gateway now: `ok`, `bad`, `started`, `completed`, `active`."""
        names = {
            "ok": (CLASSES, {CLASS: "2"}),
            "bad": (CLASSES, {CLASS: "5"}),
            "started": (STARTED, {}),
            "completed": (COMPLETED, {}),
            "active": (ACTIVE, {}),
        }
        for key, value in classes.items():
            name, more = names[key]
            labels = {"job": "gateway", "instance": "envoy", "release": of, **more}
            self.partner.sample(
                self.at, value, __name__=name, variant=variant, **labels
            )

    def model(self, name: str, value: float, variant: str = "v2", **more: str) -> None:
        self.partner.sample(
            self.at,
            value,
            __name__=name,
            job="models",
            instance=variant,
            release="iris",
            variant=variant,
            **more,
        )

    def feedback(self, name: str, value: float, **labels: str) -> None:
        self.partner.sample(
            self.at, value, __name__=name, job="feedback", instance="f", **labels
        )

    def later(self, seconds: float = INTERVAL) -> None:
        self.now += seconds
        self.at += seconds

    def look(self) -> Observed:
        self.reader.poll()
        return self.reader.take({"iris": self.settings}, {"iris"})["iris"]


@pytest.fixture
def bench() -> Iterator[Bench]:
    with served(Partner()) as partner:
        bench = Bench(partner)
        yield bench
        bench.reader.__exit__()


def test_the_first_look_only_says_where_counters_begin(bench: Bench) -> None:
    bench.gateway(ok=1000, bad=50)

    seen = bench.look()

    assert (seen.seconds, seen.counts, seen.trouble) == (0, {}, None)


def test_requests_and_errors_are_those_since_the_last_look(bench: Bench) -> None:
    bench.gateway(ok=1000, bad=50)
    bench.look()
    bench.later()
    bench.gateway(ok=1090, bad=60)

    seen = bench.look()

    assert (seen.time, seen.seconds) == (bench.at, INTERVAL)
    assert (seen.counts["v2"].requests, seen.counts["v2"].errors) == (100, 10)


def test_nothing_is_told_twice(bench: Bench) -> None:
    bench.gateway(ok=0)
    bench.look()
    bench.later()
    bench.gateway(ok=9)
    bench.look()

    again = bench.look()

    assert (again.seconds, again.counts, again.trouble) == (0, {}, None)


def test_two_gateways_are_added_up(bench: Bench) -> None:
    for value in (100, 110):
        for instance in ("a", "b"):
            bench.partner.sample(
                bench.at,
                value,
                __name__=CLASSES,
                job="gateway",
                instance=instance,
                release="iris",
                variant="v2",
                **{CLASS: "2"},
            )
        seen = bench.look()
        bench.later()

    assert seen.counts["v2"].requests == 20


def test_the_first_error_of_a_variant_that_is_watched_counts(bench: Bench) -> None:
    bench.gateway(ok=100)
    bench.look()
    bench.later()
    bench.gateway(ok=100, bad=3)

    assert bench.look().counts["v2"].errors == 3


def test_what_was_there_before_anybody_looked_does_not_count(bench: Bench) -> None:
    bench.gateway("v1", ok=100)
    bench.look()
    bench.later()
    bench.gateway("v1", ok=100)
    bench.gateway("v2", bad=500)

    assert "v2" not in bench.look().counts


def test_a_counter_that_begins_anew_counts_from_zero(bench: Bench) -> None:
    bench.gateway(ok=1000)
    bench.look()
    bench.later()
    bench.gateway(ok=7)

    assert bench.look().counts["v2"].requests == 7


@pytest.mark.parametrize("odd", ["NaN", "+Inf", "-5"])
def test_a_sample_that_cannot_be_is_passed_over_and_told(
    bench: Bench, odd: str
) -> None:
    bench.gateway(ok=100, bad=0)
    bench.look()
    bench.later()
    bench.gateway(ok=odd, bad=1)
    first = bench.look()
    bench.later()
    bench.gateway(ok=130, bad=1)
    second = bench.look()

    assert (first.counts["v2"].requests, second.counts["v2"].requests) == (1, 30)
    assert bench.reader.odd == 1


def test_samples_that_come_twice_count_once(bench: Bench) -> None:
    bench.gateway(ok=100)
    bench.look()
    bench.later()
    bench.gateway(ok=110)
    bench.gateway(ok=110)

    assert bench.look().counts["v2"].requests == 10


def test_a_gap_is_never_counted_as_good_time(bench: Bench) -> None:
    bench.gateway(ok=100, bad=0)
    bench.look()
    bench.later(120)
    during = bench.look()
    bench.gateway(ok=400, bad=9)
    after = bench.look()

    assert during.trouble == "the gateway was last measured 120 s ago"
    assert (during.seconds, during.counts) == (0, {})
    assert after.seconds == 3 * INTERVAL
    assert (after.counts["v2"].requests, after.counts["v2"].errors) == (309, 9)


def test_a_clock_that_is_put_back_begins_a_new_comparison(bench: Bench) -> None:
    bench.gateway(ok=100)
    bench.look()
    bench.partner.series.clear()
    bench.later(-3600)
    bench.gateway(ok=90)
    jumped = bench.look()
    bench.later()
    bench.gateway(ok=95)
    after = bench.look()

    assert (jumped.seconds, jumped.counts) == (0, {})
    assert (after.seconds, after.counts["v2"].requests) == (INTERVAL, 5)


def test_a_release_nobody_measures_is_not_observed(bench: Bench) -> None:
    bench.gateway(of="other", ok=1)
    bench.look()
    bench.later()
    bench.gateway(of="other", ok=2)

    seen = bench.look()

    assert (seen.seconds, seen.counts) == (0, {})


def test_requests_that_nobody_waited_for_are_errors(bench: Bench) -> None:
    bench.gateway(ok=100, started=102, completed=100, active=2)
    bench.look()
    bench.later()
    bench.gateway(ok=110, started=125, completed=110, active=5)

    seen = bench.look()

    # 23 were started, 10 completed, 3 more are under way: 10 were given up.
    assert (seen.counts["v2"].requests, seen.counts["v2"].errors) == (20, 10)


def test_requests_under_way_are_no_errors(bench: Bench) -> None:
    for active in (0, 5, 0, 9, 3, 0):
        done = 10 * bench.at
        bench.gateway(ok=done, started=done + active, completed=done, active=active)
        seen = bench.look()
        bench.later()

        assert sum(each.errors for each in seen.counts.values()) == 0


def test_answers_are_told_by_bucket_over_all_protocols(bench: Bench) -> None:
    for factor in (1, 3):
        bench.gateway(ok=0)
        for protocol in ("v1", "v2"):
            for bound, below in (("0.1", 10), ("0.2", 15), ("+Inf", 16)):
                bench.model(
                    "lab_model_request_seconds_bucket",
                    factor * below,
                    protocol=protocol,
                    le=bound,
                )
        seen = bench.look()
        bench.later()

    assert seen.counts["v2"].latency == {0.1: 40, 0.2: 20, inf: 4}


def test_envoy_says_how_long_the_servers_of_kserve_take(bench: Bench) -> None:
    bench.settings = release(template="sklearn")
    for count in (4, 6):
        bench.gateway(ok=0)
        for bound in ("50", "+Inf"):
            labels = {"job": "gateway", "instance": "envoy", "release": "iris"}
            bench.partner.sample(
                bench.at,
                count,
                __name__="envoy_cluster_upstream_rq_time_bucket",
                variant="v1",
                le=bound,
                **labels,
            )
        seen = bench.look()
        bench.later()

    assert seen.counts["v1"].latency == {0.05: 2, inf: 0}


def test_rejects_wait_for_the_requests_they_are_among(bench: Bench) -> None:
    bench.gateway(ok=0)
    bench.model("lab_model_rejects_total", 0, reason="type")
    bench.look()
    bench.later()
    bench.gateway(ok=2)
    bench.model("lab_model_rejects_total", 5, reason="type")
    early = bench.look()
    bench.later()
    bench.gateway(ok=10)
    late = bench.look()

    assert (early.counts["v2"].rejects, late.counts["v2"].rejects) == (2, 3)


def test_the_first_reject_of_a_model_counts(bench: Bench) -> None:
    up = {"__name__": "up", "job": "models", "instance": "v2"}
    bench.gateway(ok=0)
    bench.partner.sample(bench.at, 1, **up)
    bench.look()
    bench.later()
    bench.gateway(ok=9)
    bench.partner.sample(bench.at, 1, **up)
    bench.model("lab_model_rejects_total", 4, reason="type")

    assert bench.look().counts["v2"].rejects == 4


def test_the_first_label_ever_counts(bench: Bench) -> None:
    bench.settings = release(guard={"quality": {}})
    bench.gateway(ok=0)
    bench.feedback("up", 1)
    bench.look()
    bench.later()
    bench.gateway(ok=0)
    bench.feedback("up", 1)
    labels = {"release": "iris", "variant": "v2"}
    bench.feedback("lab_feedback_labelled_total", 4, **labels)
    bench.feedback("lab_feedback_wrong_total", 1, **labels)

    counts = bench.look().counts["v2"]

    assert (counts.labelled, counts.wrong) == (4, 1)


def test_a_shadow_is_told_by_what_it_was_compared_with(bench: Bench) -> None:
    bench.settings = release(guard={"agreement": {}})
    for factor in (1, 2):
        bench.gateway(ok=0)
        of = {"release": "iris", "shadow": "v3"}
        bench.feedback("lab_agreement_compared_total", 10 * factor, **of)
        bench.feedback("lab_agreement_agreed_total", 8 * factor, **of)
        seen = bench.look()
        bench.later()

    assert seen.agreement["v3"].compared == 10
    assert seen.agreement["v3"].agreed == 8


def leave(bench: Bench, value: float, of: str = "iris") -> None:
    name = "lab:promotion_allowed:bool"
    bench.partner.sample(bench.at, value, __name__=name, release=of)


@pytest.mark.parametrize(("value", "may"), [(0, False), (1, True)])
def test_an_agreement_says_whether_candidates_get_more(
    bench: Bench, value: float, may: bool
) -> None:
    bench.settings = release(guard={"steps": [50]})
    bench.gateway(ok=0)
    leave(bench, value)

    assert bench.look().may_promote is may


def test_a_release_without_an_agreement_may_be_promoted(bench: Bench) -> None:
    bench.settings = release(guard={"steps": [50]})
    bench.gateway(ok=0)
    leave(bench, 0, of="other")

    assert bench.look().may_promote


def test_nobody_asks_for_leave_where_people_promote(bench: Bench) -> None:
    bench.gateway(ok=0)
    leave(bench, 0)

    bench.look()

    assert not [each for each in bench.partner.got if "promotion" in each]


def test_drift_is_asked_for_every_five_minutes(bench: Bench) -> None:
    bench.settings = release(guard={"drift": {"hours": 6}})
    bench.model("lab_model_bin_total", 30, column="age", bin="0")
    bench.model("lab_model_bin_total", 70, column="age", bin="new")
    bench.model("lab_model_bin_expected", 1.0, column="age", bin="0")
    asked = []
    for _ in range(70):
        bench.gateway(ok=0)
        seen = bench.look()
        bench.later()
        asked = [query for query in bench.partner.got if "bin_total" in query]

    assert seen.drift == {"v2": (Drift("age", (1.0, 0.0), (30, 70)),)}
    assert len(asked) == 2
    assert "6h" in asked[0]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 503, "Prometheus answers with status 503"),
        (b"<html>", 200, "Prometheus answers with something else"),
        (b'{"data": []}', 200, "Prometheus answers with something else"),
        (b'{"data": {"result": 7}}', 200, "Prometheus answers with something else"),
        (b'{"data": {"result": [{"values": []}]}}', 200, "something else"),
        (b"[" * 100_000, 200, "Prometheus answers with something else"),
        (b'{"data": {"result": []}}', 200, "no measurements of the gateway"),
    ],
    ids=["503", "html", "list", "number", "no-labels", "deep", "empty"],
)
def test_whatever_prometheus_answers_is_trouble_and_no_traceback(
    bench: Bench, body: bytes, status: int, said: str
) -> None:
    bench.partner.body, bench.partner.status = body, status

    seen = bench.look()

    assert seen.trouble
    assert said in seen.trouble
    assert (seen.seconds, seen.counts) == (0, {})


def test_a_prometheus_that_is_away_is_trouble() -> None:
    with Prometheus("http://127.0.0.1:1") as prometheus, pytest.raises(Blind) as info:
        prometheus.ask("up")

    assert str(info.value) == "Prometheus is away (ConnectError)"


def test_an_answer_that_trickles_in_is_given_up_in_time() -> None:
    with (
        served(Partner()) as partner,
        Prometheus(partner.url, seconds=0.1) as prometheus,
    ):
        partner.seconds = 0.07  # each part alone is in time
        with pytest.raises(Blind, match=r"takes more than 0\.1 s"):
            prometheus.ask("up")


def test_what_could_not_be_told_is_told_later(bench: Bench) -> None:
    bench.gateway(ok=0, bad=0)
    bench.look()
    bench.later()
    bench.gateway(ok=5, bad=5)
    assert bench.reader.poll()
    bench.partner.status = 500
    blind = bench.reader.take({"iris": bench.settings}, {"iris"})["iris"]
    bench.partner.status = 200
    bench.later()
    bench.gateway(ok=6, bad=6)
    seen = bench.look()

    assert blind.trouble == "Prometheus answers with status 500"
    assert (seen.counts["v2"].requests, seen.counts["v2"].errors) == (12, 6)
    assert seen.seconds == 2 * INTERVAL


def test_series_that_are_long_gone_are_forgotten() -> None:
    counters = Counters(lambda labels: labels["pod"])
    for at in range(0, 3000, 100):
        counters.feed([Series({"pod": str(at)}, [(float(at), 1.0)])])

    assert len(counters._last) <= 7
    assert len(counters._groups) <= 7
