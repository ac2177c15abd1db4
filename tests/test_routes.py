"""Routes: which requests reach which variant, proved on the expressions themselves."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from model_templates import routes
from stacks.schema import ReleaseConfig
from tests.harness import variant

BUCKETS = [f"{bucket:02d}" for bucket in range(100)]


def release(**settings: Any) -> ReleaseConfig:
    variants = {
        name: {**variant(number), "traffic": 0, **wanted}
        for number, (name, wanted) in enumerate(settings.pop("variants").items(), 1)
    }
    return ReleaseConfig.model_validate(
        {"template": "mlflow", "variants": variants, **settings}
    )


def canary(percent: int, **settings: Any) -> ReleaseConfig:
    return release(
        variants={
            "v1": {"traffic": 100 - percent},
            "v2": {"role": "candidate", "traffic": percent},
        },
        **settings,
    )


def served(of: ReleaseConfig, path: str = "/v1", **headers: str) -> dict[str, Any]:
    """The rule that Contour lets answer: longest path, most headers, earliest."""
    found = []
    for at, rule in enumerate(routes.rules("iris", of)):
        for match in rule["matches"]:
            prefix = match["path"]["value"]
            wanted = match.get("headers", [])
            if f"{path}/".startswith(f"{prefix}/") and all(
                re.fullmatch(
                    re.escape(w["value"]) if w["type"] == "Exact" else w["value"],
                    headers.get(w["name"].replace("-", "_"), "\n"),
                )
                for w in wanted
            ):
                found.append((-len(prefix), -len(wanted), at, rule))
    best: dict[str, Any] = min(found, key=lambda each: each[:3])[3]
    return best


def weights(rule: dict[str, Any]) -> dict[str, int]:
    return {b["name"]: b["weight"] for b in rule["backendRefs"]}


def mirrors(rule: dict[str, Any]) -> list[str]:
    return [
        each["requestMirror"]["backendRef"]["name"]
        for each in rule["filters"]
        if each["type"] == "RequestMirror"
    ]


def test_requests_are_split_by_weight() -> None:
    assert weights(served(canary(10))) == {
        "iris-v1-predictor": 90,
        "iris-v2-predictor": 10,
    }


def test_a_shadow_and_what_was_rejected_answer_nobody() -> None:
    of = release(
        variants={
            "v1": {"traffic": 100},
            "v2": {"role": "shadow", "mirror": 100},
            "v3": {"role": "rejected", "because": "wrong"},
        }
    )

    assert weights(served(of)) == {"iris-v1-predictor": 100}


def test_what_was_stable_stays_in_the_route_to_go_back_to() -> None:
    of = release(variants={"v1": {"role": "previous"}, "v2": {"traffic": 100}})

    assert weights(served(of)) == {"iris-v1-predictor": 0, "iris-v2-predictor": 100}


@given(st.integers(0, 100))
def test_a_bucket_belongs_to_one_variant_by_its_share(percent: int) -> None:
    of = canary(percent, sticky="x-bucket")
    found = [weights(served(of, x_bucket=bucket)) for bucket in BUCKETS]

    assert found.count({"iris-v2-predictor": 100}) == percent
    assert found.count({"iris-v1-predictor": 100}) == 100 - percent


@given(st.integers(1, 99), st.integers(1, 99), st.integers(0, 99), st.integers(0, 99))
def test_whoever_is_with_a_candidate_stays_while_any_of_them_grows(
    first: int, second: int, more: int, and_more: int
) -> None:
    second = min(second, 100 - first)
    more = min(more, 100 - first - second)
    and_more = min(and_more, 100 - first - second - more)

    def members(a: int, b: int) -> dict[str, str]:
        of = release(
            sticky="x-bucket",
            variants={
                "v1": {"traffic": 100 - a - b},
                "v2": {"role": "candidate", "traffic": a},
                "v3": {"role": "candidate", "traffic": b},
            },
        )
        return {
            bucket: next(iter(weights(served(of, x_bucket=bucket))))
            for bucket in BUCKETS
        }

    before, after = members(first, second), members(first + more, second + and_more)

    moved = {bucket for bucket in BUCKETS if before[bucket] != after[bucket]}
    assert {before[bucket] for bucket in moved} <= {"iris-v1-predictor"}
    assert len(moved) == more + and_more


def test_requests_without_a_bucket_or_with_a_wrong_one_go_by_weight() -> None:
    of = canary(20, sticky="x-bucket")

    for headers in ({}, {"x_bucket": "7"}, {"x_bucket": "alice"}, {"x_bucket": "100"}):
        assert len(weights(served(of, **headers))) == 2


def ab(**match: str) -> ReleaseConfig:
    return release(
        sticky="x-bucket",
        variants={
            "v1": {"traffic": 100},
            "v2": {"role": "candidate", "match": match},
            "v3": {"role": "shadow", "mirror": 30},
        },
    )


def test_a_header_chooses_its_variant_whatever_else_a_request_says() -> None:
    of = ab(header="x-group", value="b")

    for bucket, id_ in product(("00", "99", "none"), ("00ff", "ffff")):
        chosen = served(of, x_group="b", x_bucket=bucket, x_request_id=id_)
        assert weights(chosen) == {"iris-v2-predictor": 100}
    assert "iris-v2-predictor" not in [
        name for name, weight in weights(served(of, x_group="bb")).items() if weight
    ]


def test_a_cookie_chooses_its_variant_among_other_cookies() -> None:
    of = ab(cookie="group", value="b.1")

    for cookies in ("group=b.1", "a=1; group=b.1", "group=b.1; z=2", "a=1;group=b.1;z"):
        assert weights(served(of, cookie=cookies)) == {"iris-v2-predictor": 100}
    for cookies in ("group=bx1", "group=b.12", "mygroup=b.1", "a=group=b.1x"):
        assert weights(served(of, cookie=cookies)) != {"iris-v2-predictor": 100}


@given(st.integers(1, 99))
def test_a_shadow_gets_its_share_of_random_request_ids(percent: int) -> None:
    of = release(
        variants={"v1": {"traffic": 100}, "v2": {"role": "shadow", "mirror": percent}}
    )
    ids = [f"{number:02x}3b-4c" for number in range(256)]

    copied = sum(bool(mirrors(served(of, x_request_id=id_))) for id_ in ids)

    assert abs(copied / 2.56 - percent) <= 0.2


def test_a_shadow_of_all_requests_needs_no_second_rule() -> None:
    of = release(
        variants={"v1": {"traffic": 100}, "v2": {"role": "shadow", "mirror": 100}}
    )

    assert mirrors(served(of)) == ["iris-v2-predictor"]
    assert len([r for r in routes.rules("iris", of) if len(r["matches"]) == 2]) == 1


def test_only_copied_requests_are_logged_and_nobody_else_may_ask_for_it() -> None:
    of = release(
        variants={"v1": {"traffic": 100}, "v2": {"role": "shadow", "mirror": 50}}
    )

    for id_, change in (("00", {"set"}), ("ff", {"remove"})):
        filters = served(of, x_request_id=id_)["filters"]
        modified = [
            f["requestHeaderModifier"] for f in filters if "requestHeaderModifier" in f
        ]
        assert [set(each) for each in modified] == [change]


def test_a_variant_that_is_not_stable_has_an_address_of_its_own() -> None:
    of = canary(0)

    rule = served(of, path="/preview/v2/v1/models/iris:predict")

    assert list(weights(rule)) == ["iris-v2-predictor"]
    assert rule["filters"][0]["urlRewrite"]["path"] == {
        "type": "ReplacePrefixMatch",
        "replacePrefixMatch": "/v1",
    }
    assert not mirrors(rule)


def test_a_preview_reaches_what_callers_reach_and_no_more() -> None:
    paths = [
        match["path"]["value"]
        for rule in routes.rules("iris", canary(0))
        for match in rule["matches"]
    ]

    assert sorted(paths) == ["/preview/v2/v1", "/preview/v2/v2", "/v1", "/v2"]
