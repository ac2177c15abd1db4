"""Each operation on a release gives settings that are valid, or a way out in words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from labfactory.errors import LabError
from labfactory.releases import changes
from stacks import load

Tree = dict[str, Any]


def pinned(version: int) -> Tree:
    return {
        "version": version,
        "artifact": f"s3://mlflow/1/models/m-{version}/artifacts",
        "digest": f"sha256:{version:064x}",
    }


ENDPOINT: Tree = {"url": "https://api.example.com/v1/score", "cost_per_call": 0.002}
BY_HEADER: Tree = {"header": "x-team", "value": "blue"}


def lab(**variants: Tree) -> Tree:
    return {
        "name": "demo",
        "owner": "vision",
        "credentials_issued": "2026-11-21",
        "cluster": {"target": "embedded", "name": "demo"},
        "platform": {"kind": "own"},
        "storage": {
            "kind": "minio",
            "capacity": "20Gi",
            "buckets": ["mlflow", "predictions"],
        },
        "tracking": {"capacity": "5Gi", "bucket": "mlflow"},
        "predictions": {"bucket": "predictions"},
        "releases": {"iris": {"template": "mlflow", "variants": variants}},
    }


def v(version: int, role: str, traffic: int = 0, **more: Any) -> Tree:
    return {**pinned(version), "role": role, "traffic": traffic, **more}


def variants(tree: Tree) -> Tree:
    """The variants of iris, in settings that are valid."""
    load.parse(tree, source="settings")
    found: Tree = tree["releases"]["iris"]["variants"]
    return found


def shares(tree: Tree) -> dict[str, tuple[str, int]]:
    return {
        name: (each["role"], each.get("traffic", 0))
        for name, each in variants(tree).items()
    }


STABLE = v(3, "stable", 100)
CANARY = lab(v3=v(3, "stable", 90), v4=v(4, "candidate", 10))
FULL = lab(
    v1=v(1, "rejected", because="wrong units"),
    v2=v(2, "previous"),
    v3=v(3, "stable", 90),
    v4=v(4, "candidate", 10),
    v5={**pinned(5), "role": "shadow", "mirror": 100},
    v6=v(6, "candidate", match=BY_HEADER),
)


def refused(operation: Any, *words: str) -> None:
    with pytest.raises(LabError) as error:
        operation()
    for word in ("iris", *words):
        assert word in str(error.value)


def test_the_first_variant_of_a_release_is_stable() -> None:
    found = changes.add(lab(v3=STABLE), "wine", "v1", pinned(1), template="sklearn")

    assert found["releases"]["wine"] == {
        "template": "sklearn",
        "variants": {"v1": v(1, "stable", 100)},
    }


def test_a_lab_without_releases_gets_its_first() -> None:
    empty = {**lab(), "releases": {}}
    for tree in (empty, {k: v for k, v in empty.items() if k != "releases"}):
        assert shares(changes.add(tree, "iris", "v3", pinned(3))) == {
            "v3": ("stable", 100)
        }


def test_a_candidate_takes_its_traffic_from_the_stable() -> None:
    found = changes.add(lab(v3=STABLE), "iris", "v4", pinned(4), traffic=10)

    assert shares(found) == {"v3": ("stable", 90), "v4": ("candidate", 10)}


def test_a_shadow_takes_nothing() -> None:
    found = changes.add(lab(v3=STABLE), "iris", "v4", pinned(4), mirror=50)

    assert shares(found) == {"v3": ("stable", 100), "v4": ("shadow", 0)}
    assert variants(found)["v4"]["mirror"] == 50


def test_a_candidate_may_have_a_match_and_a_reason_for_what_it_breaks() -> None:
    reason = "callers have been told"

    found = changes.add(
        lab(v3=STABLE),
        "iris",
        "v4",
        pinned(4),
        match=BY_HEADER,
        accept_breaking=reason,
    )

    assert variants(found)["v4"] == v(
        4, "candidate", match=BY_HEADER, accept_breaking=reason
    )


def test_an_endpoint_is_a_variant_like_others() -> None:
    found = changes.add(lab(v3=STABLE), "iris", "vendor", external=ENDPOINT, traffic=5)
    promoted = changes.promote(found, "iris")
    back = changes.roll_back(promoted, "iris", because="too dear")

    assert shares(promoted) == {"v3": ("previous", 0), "vendor": ("stable", 100)}
    assert shares(back) == {"v3": ("stable", 100), "vendor": ("rejected", 0)}


def test_adding_what_is_there_changes_nothing() -> None:
    for name, number in (("v3", 3), ("v4", 4)):
        assert changes.add(CANARY, "iris", name, pinned(number)) == CANARY
    assert changes.add(CANARY, "iris", "v4", pinned(4), traffic=10) == CANARY


@pytest.mark.parametrize(
    ("variant", "number", "asked", "words"),
    [
        ("v4", 4, {"traffic": 20}, ("a candidate", "lab traffic iris v4=PERCENT")),
        ("v4", 7, {}, ("another v4", "lab retire iris v4")),
        ("again", 4, {}, ("serves version 4 already, as v4", "another version")),
        ("v1", 1, {}, ("a rejected variant", "wrong units", "new version")),
        ("v2", 2, {"traffic": 1}, ("the previous variant", "lab rollback iris")),
        ("v7", 7, {"traffic": 91}, ("91 per cent", "v3 has 90", "ask for less")),
        ("v7", 7, {"traffic": -1}, ("-1 per cent",)),
        ("v7", 7, {"mirror": 5, "traffic": 5}, ("a shadow", "choose")),
        ("v7", 7, {"mirror": 5, "match": BY_HEADER}, ("a shadow", "choose")),
    ],
)
def test_what_cannot_be_added_is_refused(
    variant: str, number: int, asked: Tree, words: tuple[str, ...]
) -> None:
    refused(lambda: changes.add(FULL, "iris", variant, pinned(number), **asked), *words)


def test_the_first_variant_has_nobody_to_share_with() -> None:
    empty = {**lab(), "releases": {}}
    for asked in ({"mirror": 10}, {"traffic": 10}, {"match": BY_HEADER}):
        refused(
            lambda asked=asked: changes.add(empty, "iris", "v1", pinned(1), **asked),
            "is new",
            "v1",
        )


def test_the_stable_variant_gets_what_candidates_leave() -> None:
    found = changes.weigh(FULL, "iris", {"v4": 25, "v6": 5})

    assert shares(found)["v3"] == ("stable", 70)
    assert shares(changes.weigh(CANARY, "iris", {"v4": 100}))["v3"] == ("stable", 0)
    assert changes.weigh(CANARY, "iris", {"v3": 90, "v4": 10}) == CANARY


def test_a_candidate_that_is_not_named_keeps_its_weight() -> None:
    found = changes.weigh(FULL, "iris", {"v6": 30})

    assert shares(found)["v4"] == ("candidate", 10)
    assert shares(found)["v3"] == ("stable", 60)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"v5": 10}, ("v5 is a shadow", "lab promote iris v5")),
        ({"v2": 10}, ("v2 is the previous variant", "lab rollback iris")),
        ({"v1": 10}, ("v1 is a rejected variant", "wrong units")),
        ({"v4": 60, "v6": 41}, ("101 per cent", "v4 60, v6 41", "100 or less")),
        ({"v4": 101}, ("v4 is 101",)),
        ({"v4": -1}, ("v4 is -1",)),
        ({"v4": 1.5}, ("v4 is no whole number",)),
        ({"v4": 10, "v3": 80}, ("v3 would get 80", "leave 90")),
        ({"v44": 10}, ("no variant v44", 'did you mean "v4"?')),
        ({"other": 10}, ("no variant other", "v1, v2, v3, v4, v5, v6", "choose")),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    weights: dict[str, int], words: tuple[str, ...]
) -> None:
    refused(lambda: changes.weigh(FULL, "iris", weights), *words)


def test_weights_are_read_from_words() -> None:
    assert changes.weights(["v4=10", "v6=5%"]) == {"v4": 10, "v6": 5}


@pytest.mark.parametrize("shares", ["v4", "v4=", "=4", "v4=ten", "v4=-1", "v4=1 v4=2"])
def test_words_that_are_no_weights_are_refused(shares: str) -> None:
    with pytest.raises(LabError, match="such as v4=10"):
        changes.weights(shares.split())


def test_a_promotion_keeps_the_old_one_to_go_back_to() -> None:
    assert shares(changes.promote(CANARY, "iris")) == {
        "v3": ("previous", 0),
        "v4": ("stable", 100),
    }


def test_only_the_last_stable_one_is_kept() -> None:
    found = changes.promote(FULL, "iris", "v6")

    assert shares(found) == {
        "v1": ("rejected", 0),
        "v3": ("previous", 0),
        "v4": ("candidate", 0),
        "v5": ("shadow", 0),
        "v6": ("stable", 100),
    }
    assert "match" not in variants(found)["v6"]


def test_a_shadow_that_is_named_can_be_promoted() -> None:
    found = changes.promote(FULL, "iris", "v5")

    assert variants(found)["v5"] == v(5, "stable", 100)
    assert variants(found)["v6"]["match"] == BY_HEADER


@pytest.mark.parametrize(
    ("tree", "variant", "words"),
    [
        (FULL, None, ("2 candidates (v4, v6)", "lab promote iris v4")),
        (FULL, "v3", ("v3 is the stable variant already",)),
        (FULL, "v2", ("v2 is the previous variant", "lab rollback iris")),
        (FULL, "v1", ("v1 is a rejected", "wrong units", "new version")),
        (lab(v3=STABLE), None, ("no candidate", "lab release iris VERSION")),
        (
            lab(v3=STABLE, v5={**pinned(5), "role": "shadow", "mirror": 9}),
            None,
            ("no candidate", "lab promote iris v5"),
        ),
    ],
)
def test_what_cannot_be_promoted_is_refused(
    tree: Tree, variant: str | None, words: tuple[str, ...]
) -> None:
    refused(lambda: changes.promote(tree, "iris", variant), *words)


def test_a_rollback_rejects_every_candidate_that_answers() -> None:
    found = changes.roll_back(FULL, "iris", because="p99 over 2 s:\n worse")

    assert shares(found) == {
        "v1": ("rejected", 0),
        "v2": ("previous", 0),
        "v3": ("stable", 100),
        "v4": ("rejected", 0),
        "v5": ("shadow", 0),
        "v6": ("rejected", 0),
    }
    assert variants(found)["v4"]["because"] == "p99 over 2 s: worse"
    assert "match" not in variants(found)["v6"]


def test_a_rollback_of_one_leaves_the_others_their_share() -> None:
    tree = changes.weigh(FULL, "iris", {"v6": 20})

    assert shares(changes.roll_back(tree, "iris", because="x", variant="v4")) == {
        **shares(tree),
        "v3": ("stable", 80),
        "v4": ("rejected", 0),
    }


def test_a_rollback_of_a_shadow_ends_its_copies() -> None:
    found = changes.roll_back(FULL, "iris", because="crashes", variant="v5")

    assert variants(found)["v5"] == {
        **pinned(5),
        "role": "rejected",
        "because": "crashes",
    }


def test_a_rollback_after_a_promotion_goes_back_to_what_was_stable() -> None:
    found = changes.roll_back(changes.promote(CANARY, "iris"), "iris", because="x")

    assert shares(found) == {"v3": ("stable", 100), "v4": ("rejected", 0)}


def test_a_rollback_of_the_stable_one_by_name_leaves_candidates_alone() -> None:
    found = changes.roll_back(FULL, "iris", because="x", variant="v3")

    assert shares(found) == {
        **shares(FULL),
        "v2": ("stable", 90),
        "v3": ("rejected", 0),
    }


@pytest.mark.parametrize(
    ("tree", "because", "variant", "words"),
    [
        (lab(v3=STABLE), "x", None, ("nothing to go back to", "before v3")),
        (CANARY, "x", "v3", ("nothing to go back to",)),
        (FULL, " \n", None, ("needs a reason", "--because")),
        (FULL, "x", "v2", ("v2 is the previous variant", "lab retire iris v2")),
        (FULL, "x", "v1", ("v1 is a rejected variant", "lab retire iris v1")),
        (FULL, "x", "v9", ("no variant v9",)),
    ],
)
def test_a_rollback_to_nothing_is_refused(
    tree: Tree, because: str, variant: str | None, words: tuple[str, ...]
) -> None:
    refused(
        lambda: changes.roll_back(tree, "iris", because=because, variant=variant),
        *words,
    )


def test_what_answers_nobody_can_be_retired() -> None:
    tree = FULL
    for name in ("v1", "v2", "v5"):
        tree = changes.retire(tree, "iris", name)

    assert list(variants(tree)) == ["v3", "v4", "v6"]


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("v3", ("v3 is the stable variant", "lab promote iris VARIANT")),
        ("v4", ("10 per cent", "lab traffic iris v4=0", "lab rollback iris")),
        ("v6", ("its `match`", "lab rollback iris")),
        ("v9", ("no variant v9",)),
    ],
)
def test_what_answers_cannot_be_retired(variant: str, words: tuple[str, ...]) -> None:
    refused(lambda: changes.retire(FULL, "iris", variant), *words)


def test_a_release_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(LabError, match=r'there is: iris\); did you mean "iris"\?'):
        changes.promote(FULL, "irs")
    with pytest.raises(LabError, match="`lab release wine VERSION` makes it"):
        changes.weigh(FULL, "wine", {})


def test_the_settings_that_are_given_stay_as_they_are() -> None:
    before = copy.deepcopy(FULL)

    changes.add(FULL, "iris", "v7", pinned(7), traffic=10, match=BY_HEADER)
    changes.weigh(FULL, "iris", {"v4": 50})
    changes.promote(FULL, "iris", "v6")
    changes.roll_back(FULL, "iris", because="x")
    changes.retire(FULL, "iris", "v2")

    assert before == FULL


def test_releases_that_share_their_settings_change_alone() -> None:
    shared = CANARY["releases"]["iris"]
    tree = {**CANARY, "releases": {"iris": shared, "wine": shared}}

    found = changes.promote(tree, "iris")

    assert found["releases"]["wine"] == shared
    assert found["releases"]["iris"] != shared
