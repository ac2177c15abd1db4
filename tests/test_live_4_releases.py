"""Every kind of route on a real cluster, and nothing fails while it changes."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from scipy.stats import binom

from labfactory import client
from labfactory.demo.story import REGRESSOR, Demo
from labfactory.releases import changes
from tests.live_lab import compared, core, eventually, pods, pulumi, unwatched

pytestmark = pytest.mark.live

MODEL = REGRESSOR.model
V1, V2 = f"{MODEL}-v1", f"{MODEL}-v2"
CERTAIN = 0.99999
"""Of a share that is measured: a right one is not refused by chance."""


@pytest.fixture(scope="module")
def row(lab: Demo) -> list[float]:
    """A row that the model takes."""
    lab.train(REGRESSOR, 1)
    lab.train(REGRESSOR, 2)
    lab.release(REGRESSOR, 1)
    lab.edit(lambda tree: unwatched(tree, MODEL))
    lab.outputs = lab.apply()
    found = lab.registry.resolve(MODEL, "1")
    expected = json.loads(lab.registry.run_artifact(found.run_id, "expected.json"))
    first: list[float] = expected["rows"][0]
    return first


class Caller:
    """Asks the release again and again, and remembers who answered what."""

    def __init__(self, demo: Demo, row: list[float]) -> None:
        self.client = httpx.Client(
            base_url=demo.outputs["gateway_url"],
            headers={"Host": demo.outputs["model_hosts"][MODEL]},
            timeout=10,
            limits=httpx.Limits(max_connections=8),
        )
        self._body = {"instances": [row]}

    def ask(self, prefix: str = "", **headers: str) -> httpx.Response:
        return self.client.post(
            f"{prefix}/v1/models/{MODEL}:predict",
            json=self._body,
            headers={name.replace("_", "-"): text for name, text in headers.items()},
        )

    def who(self, prefix: str = "", **headers: str) -> str:
        answer = self.ask(prefix, **headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["served_by"])

    def many(self, count: int, **headers: str) -> Counter[str]:
        with ThreadPoolExecutor(4) as pool:
            return Counter(pool.map(lambda _: self.who(**headers), range(count)))


@pytest.fixture
def caller(lab: Demo, row: list[float]) -> Iterator[Caller]:
    found = Caller(lab, row)
    with found.client:
        yield found


@contextmanager
def asked_all_the_time(ask: Callable[[], httpx.Response]) -> Iterator[Counter[int]]:
    """Ask in two threads meanwhile; count the answers by status."""
    found: Counter[int] = Counter()
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            found[ask().status_code] += 1

    threads = [threading.Thread(target=keep_asking) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def set_release(demo: Demo, change: Callable[[dict[str, Any]], Any]) -> None:
    """Edit the release's settings in place, and apply them."""

    def operation(tree: dict[str, Any]) -> dict[str, Any]:
        change(tree["releases"][MODEL])
        return tree

    demo.edit(operation)
    demo.outputs = demo.apply()


def give_candidate(demo: Demo, percent: int) -> None:
    demo.edit(lambda tree: changes.weigh(tree, MODEL, {"v2": percent}))
    demo.outputs = demo.apply()


def test_a_canary_gets_its_share_and_no_request_fails_while_it_grows(
    lab: Demo, caller: Caller
) -> None:
    assert lab.release(REGRESSOR, 2)
    with asked_all_the_time(caller.ask) as statuses:
        lab.outputs = lab.apply()
        for percent in (10, 37):
            give_candidate(lab, percent)
    assert set(statuses) == {200}
    assert sum(statuses.values()) > 500

    taken = caller.many(1000)[V2]

    low, high = binom.interval(CERTAIN, 1000, 0.37)
    assert low <= taken <= high


def test_a_weight_is_one_object_of_the_cluster(lab: Demo) -> None:
    lab.edit(lambda tree: changes.weigh(tree, MODEL, {"v2": 20}))

    assert lab.stack.changes() == {"update": 1}
    lab.outputs = lab.apply()


def test_a_user_keeps_their_variant_while_the_candidate_grows(
    lab: Demo, caller: Caller
) -> None:
    set_release(lab, lambda release: release.update(sticky="x-lab-bucket"))
    users = [f"user-{number}" for number in range(10_000)]
    eventually(
        "sticky route",
        lambda: (
            caller.who(x_lab_bucket="00") == V2 and caller.who(x_lab_bucket="99") == V1
        ),
    )

    def variant_of(user: str) -> str:
        return caller.who(x_lab_bucket=client.bucket(user, release=MODEL))

    with ThreadPoolExecutor(4) as pool:
        before = dict(zip(users, pool.map(variant_of, users), strict=True))
    share = Counter(before.values())[V2]
    low, high = binom.interval(CERTAIN, len(users), 0.20)
    assert low <= share <= high

    give_candidate(lab, 45)
    eventually("grown", lambda: caller.who(x_lab_bucket="44") == V2)

    some = users[:2000]
    with ThreadPoolExecutor(4) as pool:
        after = dict(zip(some, pool.map(variant_of, some), strict=True))
    assert all(after[user] == V2 for user in some if before[user] == V2)
    assert Counter(after.values())[V2] > Counter(before[user] for user in some)[V2]
    assert {variant_of(user) for user in some[:5] for _ in range(20)} <= {V1, V2}
    set_release(lab, lambda release: release.pop("sticky"))


def to_match(match: dict[str, str], release: dict[str, Any]) -> None:
    """v1 answers, v2 only what matches."""
    release["variants"]["v1"]["traffic"] = 100
    release["variants"]["v2"].update(traffic=0, match=match)


def is_answered_by(caller: Caller, variant: str, headers: dict[str, str]) -> bool:
    return caller.who(**headers) == variant


def test_a_header_and_a_cookie_choose_a_variant(lab: Demo, caller: Caller) -> None:
    for match, right, wrong in (
        ({"header": "x-group", "value": "b"}, {"x_group": "b"}, {"x_group": "a"}),
        (
            {"cookie": "group", "value": "b"},
            {"cookie": "id=1; group=b"},
            {"cookie": "group=bb"},
        ),
    ):
        set_release(lab, partial(to_match, match))
        eventually("matched", partial(is_answered_by, caller, V2, right))

        assert caller.many(100, **right) == {V2: 100}
        assert caller.many(100, **wrong) == {V1: 100}
        assert caller.many(100) == {V1: 100}
    set_release(lab, lambda release: release["variants"]["v2"].pop("match"))


def test_a_variant_without_requests_has_an_address_and_then_gets_all(
    lab: Demo, caller: Caller
) -> None:
    eventually("preview", lambda: caller.who("/preview/v2") == V2)
    assert caller.many(100) == {V1: 100}

    with asked_all_the_time(caller.ask) as statuses:
        lab.edit(lambda tree: changes.promote(tree, MODEL))
        lab.outputs = lab.apply()
    assert set(statuses) == {200}

    eventually("promoted", lambda: caller.many(20) == {V2: 20})
    assert caller.who("/preview/v1") == V1
    assert lab.stack.changes() == {}


def test_a_preview_reaches_no_page_that_callers_do_not(caller: Caller) -> None:
    assert caller.client.get("/preview/v1/metrics").status_code == 404
    assert caller.client.get("/metrics").status_code == 404


def test_the_server_says_which_content_it_serves(lab: Demo, caller: Caller) -> None:
    said = caller.client.get(f"/v1/models/{MODEL}").json()

    assert said["digest"] == lab.settings.releases[MODEL].variants["v2"].digest


def test_the_card_is_a_page_beside_the_model(caller: Caller) -> None:
    page = caller.client.get(f"/v1/models/{MODEL}/card")

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert MODEL in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def to_shadow(release: dict[str, Any], percent: int = 100) -> None:
    """v2 answers, v1 gets copies."""
    variants = release["variants"]
    variants["v2"].update(role="stable", traffic=100)
    variants["v1"] = {
        **{k: v for k, v in variants["v1"].items() if k not in ("traffic", "because")},
        "role": "shadow",
        "mirror": percent,
    }


def test_a_shadow_is_compared_by_what_both_answered(lab: Demo, caller: Caller) -> None:
    set_release(lab, to_shadow)
    time.sleep(2)
    assert caller.many(300) == {V2: 300}

    def both() -> Any:
        figures = compared(lab, MODEL)
        agreed = figures["v1"].agreement
        return agreed and agreed.requests >= 295 and figures

    figures = eventually("both are in the log", both, within=60)
    assert figures["v1"].failed == figures["v1"].refused == figures["v1"].broken == 0
    assert figures["v1"].agreement.difference > 0  # it is another model
    assert figures["v2"].requests >= 300


def test_a_shadow_that_dies_costs_the_caller_nothing(lab: Demo, caller: Caller) -> None:
    from kubernetes.client import AppsV1Api

    from labfactory import environment

    apps = AppsV1Api(environment.kubernetes(lab.stack.settings.cluster.context))
    namespace = lab.settings.name
    with asked_all_the_time(caller.ask) as statuses:
        core(lab).delete_collection_namespaced_pod(
            namespace,
            label_selector=f"serving.kserve.io/inferenceservice={V1}",
            grace_period_seconds=0,
        )
        time.sleep(3)
        apps.patch_namespaced_deployment_scale(
            f"{V1}-predictor", namespace, {"spec": {"replicas": 0}}
        )
        time.sleep(3)
    assert set(statuses) == {200}
    assert sum(statuses.values()) > 300
    apps.patch_namespaced_deployment_scale(
        f"{V1}-predictor", namespace, {"spec": {"replicas": 1}}
    )
    eventually(
        "the shadow is back",
        lambda: (
            apps.read_namespaced_deployment(
                f"{V1}-predictor", namespace
            ).status.ready_replicas
            == 1
        ),
    )


def test_half_of_the_requests_are_copied_when_the_settings_say_so(
    lab: Demo, caller: Caller
) -> None:
    set_release(lab, lambda release: to_shadow(release, 50))
    time.sleep(2)

    def copies() -> int:
        """How many rows the shadow has predicted."""
        label = "serving.kserve.io/inferenceservice"
        [pod] = [p for p in pods(lab) if (p.metadata.labels or {}).get(label) == V1]
        shown = httpx.get(f"http://{pod.status.pod_ip}:8080/metrics").text
        counted = re.search(r"^lab_model_predictions_total\{.*\} (.*)$", shown, re.M)
        return int(float(counted[1])) if counted else 0

    before = copies()
    caller.many(1000)
    time.sleep(1)
    low, high = binom.interval(CERTAIN, 1000, 0.5)
    assert low <= copies() - before <= high


def test_a_plain_pulumi_up_agrees_with_all_of_it(lab: Demo) -> None:
    done = pulumi(lab, "preview", "--expect-no-changes", "--stack", lab.stack.name)

    assert done.returncode == 0, done.stdout
