"""Rules of agreements, backups and drills."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from policies.rules import RULES
from policies.rules.judge import level
from policies.rules.lab import Lab, Resource
from tests.policy_cases import TODAY, Case, case, holds, lab, thing

RELEASES: dict[str, Any] = {"iris": {}, "wine": {}}
BACKUPS: dict[str, Any] = {"backups": {"staging": "1Gi"}}
NO_BACKUP = "storage-data: the volume storage-data has no backup"
UNDER_NONE = "releases.wine: is under no agreement"


def agreed(**agreements: Any) -> Lab:
    return lab(settings={"agreements": agreements, "releases": RELEASES})


def due(day: Any, which: str = "retire_by", **more: Any) -> Lab:
    return agreed(one={"deadlines": {which: day}, **more})


def claim(name: str, parent: str = "storage") -> Resource:
    found = thing("PersistentVolumeClaim", name)
    return Resource(found.type, name, found.props, parent)


def templated(owner: str, *names: str) -> Resource:
    claims = [{"metadata": {"name": name}} for name in names]
    return thing("StatefulSet", owner, spec={"volumeClaimTemplates": claims})


def room(name: str, parent: str = "") -> Resource:
    return Resource("labfactory:components:Storage", name, {}, parent)


def drilled(finished: Any, every: int | None = None, **more: Any) -> Lab:
    days = {} if every is None else {"drill": {"every_days": every}}
    settings = {"backups": {"staging": "1Gi", **days}}
    return lab(settings=settings, drill={"finished": finished, "ok": True, **more})


CASES = [
    case(
        "agreement-present",
        "passes",
        agreed(one={"covers": ["iris"]}, two={"covers": ["wine"]}),
    ),
    case("agreement-present", "fails", agreed(one={"covers": ["iris"]}), UNDER_NONE),
    case(
        "agreement-present",
        "boundary: the lab's own covers the rest",
        agreed(one={"covers": ["iris"]}, lab={"covers": []}),
    ),
    case("agreement-present", "boundary: nothing is released", lab()),
    case("retired-in-time", "passes", due("2027-01-01")),
    case(
        "retired-in-time",
        "fails",
        due("2026-11-20", covers=["iris"]),
        "agreements.one.deadlines.retire_by: iris should be gone since 2026-11-20",
    ),
    case("retired-in-time", "boundary: today", due(TODAY)),
    case(
        "retired-in-time",
        "boundary: a moment",
        due(datetime(2026, 11, 20, 23, 59)),
        "agreements.one.deadlines.retire_by: the lab should be gone since 2026-11-20",
    ),
    case("retired-in-time", "boundary: no day", due("soon")),
    case("reviewed-in-time", "passes", due("2027-01-01", "review_by")),
    case(
        "reviewed-in-time",
        "fails",
        due("2026-11-20", "review_by"),
        "agreements.one.deadlines.review_by: "
        "the lab should have been reviewed by 2026-11-20",
    ),
    case("reviewed-in-time", "boundary: today", due("2026-11-21", "review_by")),
    case(
        "reviewed-in-time",
        "boundary: a model",
        due("2026-11-20", "retrain_by", covers=["iris", "wine"]),
        "agreements.one.deadlines.retrain_by: "
        "iris, wine should have a newer model since 2026-11-20",
    ),
    case("backup-coverage", "passes", lab(claim("storage-data"), settings=BACKUPS)),
    case("backup-coverage", "fails", lab(claim("storage-data")), NO_BACKUP),
    case(
        "backup-coverage", "boundary: what may be lost", lab(claim("monitoring-data"))
    ),
    case(
        "backup-coverage",
        "boundary: a claim inside its workload",
        lab(templated("storage", "data")),
        "storage: the volume storage-data has no backup",
    ),
    case(
        "claims-known",
        "passes",
        lab(claim("storage-data"), claim("tracking-data"), claim("monitoring-data")),
    ),
    case(
        "claims-known",
        "fails",
        lab(claim("labels-data")),
        "labels-data: the volume labels-data is unknown to backups",
    ),
    case(
        "claims-known",
        "boundary: the copies themselves",
        lab(
            room("backups"),
            room("backups-store", "backups"),
            claim("backups-store-data", "backups-store"),
            claim("backups-staging", "backups"),
        ),
    ),
    case(
        "claims-known",
        "boundary: a room of another name",
        lab(room("backup"), claim("backup-data", "backup")),
        "backup-data: the volume backup-data is unknown to backups",
    ),
    case(
        "claims-known",
        "boundary: one of two inside a workload",
        lab(templated("storage", "data", "cache")),
        "storage: the volume storage-cache is unknown to backups",
    ),
    case("drill-fresh", "passes", drilled("2026-11-20T02:00:00+00:00")),
    case(
        "drill-fresh",
        "fails",
        drilled("2026-11-20T02:00:00+00:00", ok=False),
        "backups.drill: the drill of 2026-11-20 has failed",
    ),
    case("drill-fresh", "boundary: the last day", drilled("2026-11-11T00:00:00", 7)),
    case(
        "drill-fresh",
        "boundary: a day later",
        drilled("2026-11-10T23:59:59", 7),
        "backups.drill: the last drill was on 2026-11-10, with one due every 7 days",
    ),
    case(
        "drill-fresh",
        "boundary: the interval that is not said",
        drilled("2026-11-10T00:00:00"),
        "backups.drill: the last drill was on 2026-11-10, with one due every 7 days",
    ),
    case(
        "drill-fresh", "boundary: a longer interval", drilled("2026-11-10T00:00:00", 8)
    ),
    case(
        "drill-fresh",
        "boundary: never",
        drilled(None),
        "backups.drill: no restore was rehearsed yet",
    ),
    case("drill-fresh", "boundary: nobody has asked", lab(settings=BACKUPS)),
    case("drill-fresh", "boundary: no backups", lab(drill={"finished": None})),
]


@pytest.mark.parametrize("each", CASES)
def test_the_rule_says_so(each: Case) -> None:
    holds(each)


def test_a_stale_drill_refuses_only_where_it_stops_releases() -> None:
    rule = RULES["drill-fresh"]

    assert level(rule, BACKUPS) == "advisory"
    assert level(rule, {"backups": {"drill": {"stops_releases": True}}}) == "mandatory"
    assert level(rule, {"backups": {"drill": {"stops_releases": False}}}) == "advisory"
