from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_templates import routes
from policies.rules import costs, cron, prices
from policies.rules.costs import BookError, Line, calls, lines, quantity, total
from policies.rules.lab import Lab, Resource
from policies.rules.prices import FOLDER, names, rates, read_book

TODAY = date(2026, 11, 21)
RATES = {"cpu_hour": 0.01, "gib_hour": 0.001, "gib_month": 0.05, "gpu_hour": 1.0}
CORE = 0.01 * 730
POD = {"containers": [{"resources": {"requests": {"cpu": "500m", "memory": "2Gi"}}}]}
POD_COST = CORE / 2 + 2 * 0.001 * 730


def resource(
    kind: str, spec: dict[str, Any], *, name: str = "x", release: str = ""
) -> Resource:
    labels = {costs.RELEASE: release} if release else {}
    metadata = {"name": name, "labels": labels}
    props = {"metadata": metadata, "spec": spec}
    return Resource(f"kubernetes:apps/v1:{kind}", f"room-{name}", props, "room")


def cost(*resources: Resource) -> float:
    return total(lines(Lab({}, resources, TODAY), RATES))


def book(**more: Any) -> dict[str, Any]:
    own = {"currency": "EUR", "dated": "2026-01-01", "source": "reckoned"}
    return {**own, "rates": dict(RATES), **more}


def written(folder: Path, tree: Any) -> Path:
    (folder / "own.yaml").write_text(tree if tree == "{" else yaml.safe_dump(tree))
    return folder


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("250m", 0.25),
        ("2", 2),
        (3, 3),
        (0.5, 0.5),
        ("0.5", 0.5),
        ("1e3", 1000),
        ("512Mi", 512 * 2**20),
        ("1Gi", 2**30),
        ("2Ti", 2**41),
        ("1k", 1000),
        ("1G", 1e9),
    ],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: Any, number: float) -> None:
    assert quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "Gi", "1GB", "-1", "1 Gi", "lots"])
def test_what_is_no_quantity_is_not_counted_as_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity(text)


@pytest.mark.parametrize(
    ("schedule", "times"),
    [
        ("0 3 * * *", 365 / 12),
        ("*/15 * * * *", 365 * 96 / 12),
        ("0 */6 * * *", 365 * 4 / 12),
        ("30 8-17 * * 1-5", 261 * 10 / 12),
        ("0 0 1 * *", 1),
        ("0 0 1 1,7 *", 2 / 12),
        ("0 0 * * 0", 52 / 12),
        ("0 0 * * 7", 52 / 12),
        ("0 0 13 * 5", (53 + 12 - 1) / 12),
        ("5/20 * * * *", 365 * 24 * 3 / 12),
        ("0 0 31 2 *", 0),
    ],
)
def test_the_runs_of_a_schedule_are_counted(schedule: str, times: float) -> None:
    assert cron.runs(schedule) == pytest.approx(times)


@pytest.mark.parametrize(
    "schedule",
    ["@daily", "0 3 * *", "60 * * * *", "0 0 0 * *", "*/0 * * * *", "9-5 * * * *"],
)
def test_what_is_no_schedule_is_not_counted_as_nothing(schedule: str) -> None:
    with pytest.raises(ValueError, match=r"schedule|invalid literal"):
        cron.runs(schedule)


def test_a_pod_costs_what_it_reserves_times_its_replicas() -> None:
    spec = {"template": {"spec": POD}}

    assert cost(resource("Deployment", spec)) == pytest.approx(POD_COST)
    three = resource("Deployment", {**spec, "replicas": 3})
    assert cost(three) == pytest.approx(3 * POD_COST)
    assert cost(resource("Deployment", {**spec, "replicas": 0})) == 0


def test_a_stateful_set_costs_its_volumes_too() -> None:
    claim = {"spec": {"resources": {"requests": {"storage": "10Gi"}}}}
    spec = {
        "replicas": 2,
        "template": {"spec": POD},
        "volumeClaimTemplates": [claim],
    }

    found = cost(resource("StatefulSet", spec))

    assert found == pytest.approx(2 * (POD_COST + 10 * 0.05))


def test_a_volume_costs_by_its_size() -> None:
    spec = {"resources": {"requests": {"storage": "20Gi"}}}

    assert cost(resource("PersistentVolumeClaim", spec)) == pytest.approx(1.0)


def test_limits_count_where_nothing_is_asked_for() -> None:
    resources = {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}
    pod = {"containers": [{"resources": resources}]}

    found = cost(resource("Deployment", {"template": {"spec": pod}}))

    assert found == pytest.approx(CORE + 0.001 * 730)


def test_what_starts_before_the_containers_counts_if_it_goes_on_running() -> None:
    before = {"resources": {"requests": {"cpu": "1"}}}
    beside = {**before, "restartPolicy": "Always"}
    pod = {"initContainers": [before, beside], "containers": []}

    found = cost(resource("Deployment", {"template": {"spec": pod}}))

    assert found == pytest.approx(CORE)


def test_a_gpu_costs_more_than_what_is_around_it() -> None:
    resources = {"limits": {"nvidia.com/gpu": 2}, "requests": {"cpu": "1"}}
    pod = {"containers": [{"resources": resources}]}

    found = cost(resource("Deployment", {"template": {"spec": pod}}))

    assert found == pytest.approx(CORE + 2 * 730)


def test_a_model_costs_its_predictors_times_the_least_of_them() -> None:
    model = {"model": POD["containers"][0], "minReplicas": 2, "maxReplicas": 5}
    endpoint = {"containers": POD["containers"]}

    served = resource("InferenceService", {"predictor": model}, release="iris")
    external = resource("InferenceService", {"predictor": endpoint}, name="y")

    assert cost(served) == pytest.approx(2 * POD_COST)
    assert cost(external) == pytest.approx(POD_COST)
    [line] = lines(Lab({}, (served,), TODAY), RATES)
    assert (line.room, line.release) == ("room", "iris")
    assert line.what == "InferenceService/x: 2 x (0.5 cores, 2 GiB)"


def batch(schedule: str, **more: Any) -> Resource:
    job = {"spec": {"parallelism": 4, "template": {"spec": POD}}}
    return resource("CronJob", {"schedule": schedule, "jobTemplate": job, **more})


def test_batch_runs_cost_while_they_run() -> None:
    nightly = batch("0 3 * * *")

    assert cost(nightly) == pytest.approx(4 * POD_COST * (365 / 12 / 4) / 730)
    [line] = lines(Lab({}, (nightly,), TODAY), RATES)
    assert "30.42 runs a month, each taken to last 15 min" in line.what
    assert cost(batch("0 3 * * *", suspend=True)) == 0


def test_runs_that_follow_each_other_cost_no_more_than_the_whole_month() -> None:
    assert cost(batch("*/5 * * * *")) == pytest.approx(4 * POD_COST)


def test_a_job_that_runs_once_costs_nothing_a_month() -> None:
    assert cost(resource("Job", {"template": {"spec": POD}})) == 0
    assert cost(resource("Service", {"ports": []})) == 0


def test_what_the_cloud_sells_by_the_month_is_counted_by_its_type() -> None:
    own = rates(read_book("aws-eu-central-1"), {})
    cluster = Resource("aws:eks/cluster:Cluster", "eks", {}, "cluster")
    bucket = Resource("aws:s3/bucketV2:BucketV2", "bucket", {}, "storage")

    [line] = lines(Lab({}, (cluster, bucket), TODAY), own)

    assert line == Line("cluster", None, "Cluster/eks: for a month", 73.0)


def test_the_dearest_comes_first() -> None:
    small = resource("PersistentVolumeClaim", _claim("1Gi"), name="a")
    large = resource("PersistentVolumeClaim", _claim("2Gi"), name="b")

    found = lines(Lab({}, (small, large), TODAY), RATES)

    assert [line.what[:25] for line in found] == [
        "PersistentVolumeClaim/b: ",
        "PersistentVolumeClaim/a: ",
    ]


def _claim(size: str) -> dict[str, Any]:
    return {"resources": {"requests": {"storage": size}}}


def test_calls_of_endpoints_have_a_price_of_their_own() -> None:
    external = {"external": {"cost_per_call": 0.002}}
    variants = {"v1": {"version": 1}, "acme": external}
    lab = Lab({"releases": {"iris": {"variants": variants}}}, (), TODAY)

    assert calls(lab) == {"iris/acme": 0.002}


def test_the_label_of_a_release_is_the_one_that_its_objects_have() -> None:
    assert costs.RELEASE == routes.RELEASE


@pytest.mark.parametrize("name", names())
def test_every_book_has_every_price_its_day_and_its_source(name: str) -> None:
    found = read_book(name)

    assert set(found.rates) == set(prices.NAMES)
    assert all(price > 0 for price in found.rates.values())
    assert found.dated <= TODAY
    assert len(found.source) > 100


def test_a_book_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(BookError, match=r"'cloud' \(there is: aws-eu-central-1, on-p"):
        read_book("cloud")
    with pytest.raises(BookError, match="there is no price book"):
        read_book("../prices/on-prem")


def test_all_that_is_wrong_with_a_book_is_said_at_once(tmp_path: Path) -> None:
    wrong = {
        "currency": "euro",
        "dated": "yesterday",
        "rates": {"cpu_hour": -1, "tpu_hour": 1, "gib_hour": "cheap"},
        "monthly": {"aws:eks/cluster:Cluster": float("nan")},
        "discount": 5,
    }

    with pytest.raises(BookError) as found:
        read_book("own", written(tmp_path, wrong))

    for part in ("currency", "dated", "source", "cpu_hour", "tpu_hour", "gib_hour"):
        assert f"{part}`" in str(found.value)
    assert "Cluster`" in str(found.value)
    assert "`discount`" in str(found.value)


@pytest.mark.parametrize("tree", ["{", [], None, book(rates=[1])], ids=str)
def test_what_is_no_book_is_told_as_a_sentence(tree: Any, tmp_path: Path) -> None:
    with pytest.raises(BookError, match="the price book 'own' is not"):
        read_book("own", written(tmp_path, tree))


def test_own_prices_come_before_those_of_the_book(tmp_path: Path) -> None:
    found = read_book("own", written(tmp_path, book()))

    own = rates(found, {"cpu_hour": 0.5, "gpu_hour": None})

    assert own == {**RATES, "cpu_hour": 0.5}


def test_a_price_that_nobody_gives_is_named_with_the_way_out(tmp_path: Path) -> None:
    short = book(rates={"cpu_hour": 1.0, "gib_hour": 1.0, "gib_month": 1.0})
    found = read_book("own", written(tmp_path, short))

    with pytest.raises(BookError, match=r"'own' has no price gpu_hour.+prices\.gpu_h"):
        rates(found, {})
    assert rates(found, {"gpu_hour": 0.0})["gpu_hour"] == 0


def test_a_book_in_another_currency_is_not_taken() -> None:
    lab = Lab({"costs": {"book": "aws-eu-central-1"}}, (), TODAY)
    dollars = Lab({"costs": {**lab.settings["costs"], "currency": "USD"}}, (), TODAY)

    with pytest.raises(BookError, match="is in USD, and the lab counts in EUR"):
        costs.rates_of(lab)
    assert costs.book_of(dollars).region == "eu-central-1"


def test_the_rates_of_a_book_follow_from_what_its_source_says() -> None:
    aws = read_book("aws-eu-central-1").rates
    prem = read_book("on-prem").rates

    assert 2 * aws["cpu_hour"] + 8 * aws["gib_hour"] == pytest.approx(0.115)
    assert 2 * aws["cpu_hour"] + 4 * aws["gib_hour"] == pytest.approx(0.097)
    server = 64 * prem["cpu_hour"] + 512 * prem["gib_hour"]
    month = 18000 / 60 + 0.5 * 1.5 * 730 * 0.3 + 150
    assert server * 730 == pytest.approx(month / 0.7, rel=0.02)
    assert (FOLDER / "on-prem.yaml").exists()
