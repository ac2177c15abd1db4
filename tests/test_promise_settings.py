"""What the settings may promise, and what a person reads who promised too much."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import guard, keeper
from stacks import load, promise_rules, rules
from stacks.load import SettingsError
from stacks.promise_rules import LARGEST, PAGES_AT
from stacks.promises import (
    INTERVALS,
    AgreementConfig,
    Recovery,
    Retention,
    backup_minutes,
    backup_schedule,
)
from stacks.schema import SECRETS, LabConfig
from tests import harness
from tests.harness import example, house

PIN = f'artifact: "s3://mlflow/m", digest: "sha256:{"0a" * 32}"'
FILE = """\
config:
  labfactory:lab:
    name: demo
    owner: vision
    credentials_issued: "2026-11-21"
    cluster: {target: embedded, name: demo}
    platform: {kind: own}
    storage: {kind: minio, capacity: 20Gi, buckets: [mlflow, predictions]}
    tracking: {capacity: 5Gi, bucket: mlflow}
    predictions: {bucket: predictions}
    monitoring: {}
    guard: {}
    agreements:
      standard:
        consumers: ["the shop"]
        objectives: {availability: 0.99, latency: {share: 0.9, seconds: 0.5}}
        cost:
          monthly: 300
          warn_at: 0.7
          override: {monthly: 400, by: speech, because: "a trial", until: 2027-01-31}
        deadlines:
          retrain_by: 2027-02-01
          review_by: 2027-03-01
          retire_by: 2027-06-30
        capacity: {cpu: 4000m, memory: 8Gi, storage: 60Gi, pods: 40, releases: 2}
        recovery: {rpo_minutes: 60, rto_minutes: 30}
        guard_may_trade: false
      strict:
        covers: [wine]
        owner: speech
        objectives: {availability: 0.999, quality: 0.9, freshness_days: 30}
        cost: {monthly: 120.5}
    costs: {book: on-prem, currency: EUR, prices: {cpu_hour: 0.02}, max_age_days: 90}
    backups:
      store: {kind: minio, capacity: 20Gi}
      staging: 20Gi
      keep: {hourly: 6}
      drill: {every_days: 1, stops_releases: true}
    policies:
      requests-and-limits: {level: advisory, because: "a trial"}
    releases:
      iris:
        template: mlflow
        resources: {limits: {cpu: 3000m, memory: 4Gi}}
        guard: {errors: {at_most: 0.1}}
        variants:
          v1: {version: 1, PIN, role: stable, traffic: 100}
      wine:
        template: mlflow
        guard: {errors: {at_most: 0.014}, quality: {at_least: 0.9}}
        variants:
          v1: {version: 1, PIN, role: stable, traffic: 100}
""".replace("PIN", PIN)
BACKUPS = FILE[FILE.index("    backups:") : FILE.index("    policies:")]
S3 = "storage: {kind: s3, endpoint: 'https://s3.example.com', region: eu-1, buckets:"
STORE = "store: {kind: s3, endpoint: 'https://s3.example.com', region: eu-1, bucket: "
STANDARD, STRICT = "agreements.standard", "agreements.strict"
SET = "set it with `pulumi config set --secret labfactory:"


class Mistake(NamedTuple):
    """Changes that make the file wrong, and what the report has to say."""

    name: str
    changes: dict[str, str]
    says: str


RULES = [
    Mistake(
        "two agreements about one release",
        {"covers: [wine]": "covers: [wine]\n      other: {covers: [wine]}\n      x:"},
        "agreements.other.covers: overlap with those of strict (both are about wine); "
        "let one of the two `cover` other releases, or remove it",
    ),
    Mistake(
        "two agreements about the lab",
        {"covers: [wine]": "covers: []"},
        f"{STRICT}.covers: overlap with those of standard (both are about the lab as "
        "a whole); let one of the two `cover` other releases, or remove it",
    ),
    Mistake(
        "a release that there is not",
        {"covers: [wine]": "covers: [wien]"},
        f"{STRICT}.covers[0]: is a release that the lab does not have (it has: iris, "
        "wine); add it to `releases` or take it out of here; did you mean "
        '"wine"?',
    ),
    Mistake(
        "a release twice",
        {"covers: [wine]": "covers: [wine, wine]"},
        f"{STRICT}.covers[1]: is there twice (wine); keep one",
    ),
    Mistake(
        "a quota of some releases",
        {"cost: {monthly: 120.5}": "capacity: {pods: 3}"},
        f"{STRICT}.capacity: is about the whole lab, and this agreement about some of "
        "its releases; move it to an agreement without `covers`",
    ),
    Mistake(
        "backups of some releases",
        {"cost: {monthly: 120.5}": "recovery: {rpo_minutes: 60, rto_minutes: 60}"},
        f"{STRICT}.recovery: is about the whole lab, and this agreement",
    ),
    Mistake(
        "recovery without backups",
        {BACKUPS: ""},
        f"{STANDARD}.recovery: can't be kept without backups, and the lab has none; "
        "add `backups: {store: {kind: minio, capacity: SIZE}, staging: SIZE}` to the",
    ),
    *(
        Mistake(
            f"{name} that nobody measures",
            {"    monitoring: {}\n    guard: {}\n": ""},
            f"{agreement}.objectives.{name}: is measured by Prometheus, and the lab "
            "has none; add `monitoring: {}` to the lab",
        )
        for agreement, name in [
            (STANDARD, "availability"),
            (STANDARD, "latency"),
            (STRICT, "quality"),
        ]
    ),
    Mistake(
        "quality without labels",
        {", quality: {at_least: 0.9}": ""},
        f"{STRICT}.objectives.quality: is counted by labels, and those of wine are not "
        "taken; add `quality: {}` to `releases.wine.guard`",
    ),
    Mistake(
        "quality of a lab whose releases take no labels",
        {"objectives: {availability: 0.99,": "objectives: {quality: 0.9,"},
        f"{STANDARD}.objectives.quality: is counted by labels, and those of iris",
    ),
    Mistake(
        "a guard that bears more than was promised",
        {"at_most: 0.014}": "at_most: 0.0145}"},
        "releases.wine.guard.errors.at_most: bears more failures than somebody is "
        "woken up for, by the availability of the agreement strict; write at most "
        "0.0144",
    ),
    Mistake(
        "a guard without a limit",
        {"at_most: 0.1}": "at_most: null}"},
        "releases.iris.guard.errors.at_most: bears more failures than somebody is "
        "woken up for, by the availability of the agreement standard; write at most "
        "0.144",
    ),
    Mistake(
        "a release that costs more than the lab",
        {"monthly: 120.5": "monthly: 301"},
        f"{STRICT}.cost.monthly: is more than the whole lab may cost (300, in the "
        "agreement standard); lower it, or raise that one",
    ),
    Mistake(
        "leave to spend no more",
        {"override: {monthly: 400": "override: {monthly: 300"},
        f"{STANDARD}.cost.override.monthly: is no leave to spend more "
        "(`cost.monthly` is 300); write more than that, or remove the override",
    ),
    Mistake(
        "a review after the end",
        {"review_by: 2027-03-01": "review_by: 2027-07-01"},
        f"{STANDARD}.deadlines.review_by: is after the end of what is covered "
        "(`retire_by` is 2027-06-30); write an earlier day, or remove it",
    ),
    Mistake(
        "a training after the end, as Pulumi writes days",
        {"retrain_by: 2027-02-01": "retrain_by: 2027-07-01 00:00:00 +0000 UTC"},
        f"{STANDARD}.deadlines.retrain_by: is after the end of what is covered",
    ),
    Mistake(
        "a release too many",
        {"releases: 2}": "releases: 1}"},
        f"{STANDARD}.capacity.releases: is less than the releases that the lab has "
        "(2, and 1 agreed); take 1 out of `releases`, or agree on more",
    ),
    Mistake(
        "too few processors for the lab itself",
        {"cpu: 4000m": "cpu: 1999m"},
        f"{STANDARD}.capacity.cpu: is less than one container of the lab itself may "
        "take; write at least 2000m",
    ),
    Mistake(
        "too little memory for a release",
        {"memory: 8Gi": "memory: 3Gi", "memory: 4Gi": "memory: 5Gi"},
        "releases.iris.resources.limits.memory: is more than the whole lab may reserve "
        "(the agreement standard says so in `capacity.memory`); lower it, or agree",
    ),
    Mistake(
        "copies in the lab's own bucket",
        {
            "storage: {kind: minio, capacity: 20Gi, buckets:": S3,
            "store: {kind: minio, capacity: 20Gi": f"{STORE.replace('com', 'com:443')}"
            "mlflow",
        },
        "backups.store.bucket: is a bucket of the lab's own storage, and a copy in the "
        "same place is none; name a bucket that is not in `storage.buckets`",
    ),
    *(
        Mistake(
            f"no {secret} in a store of somebody else's",
            {"storage: {kind: minio, capacity: 20Gi, buckets:": S3},
            f"backups: needs a secret that the stack does not have; {SET}{secret}`",
        )
        for secret in (
            "s3-backup-key-id",
            "s3-backup-secret",
            "s3-restore-key-id",
            "s3-restore-secret",
        )
    ),
    *(
        Mistake(
            f"no {secret} of the second store",
            {"store: {kind: minio, capacity: 20Gi": f"{STORE}copies"},
            f"backups.store: needs a secret that the stack does not have; {SET}"
            f"{secret}`",
        )
        for secret in ("backup-store-key-id", "backup-store-secret")
    ),
]
VALUES = [
    Mistake(
        "a budget of nothing",
        {"monthly: 300": "monthly: 0"},
        f"{STANDARD}.cost.monthly: is zero, with which nothing could run; write what "
        "may be spent, or leave `cost` out for no limit",
    ),
    Mistake(
        "a budget below nothing",
        {"monthly: 300": "monthly: -1"},
        f"{STANDARD}.cost.monthly: is too small; write at least 0",
    ),
    Mistake(
        "a budget without bounds",
        {"monthly: 300": "monthly: 2000000000"},
        f"{STANDARD}.cost.monthly: is too large; write at most 1000000000",
    ),
    Mistake(
        "a budget with its currency",
        {"monthly: 300": "monthly: 300 EUR"},
        f"{STANDARD}.cost.monthly: is not a number; write it without quotes or unit",
    ),
    Mistake(
        "a warning at nothing",
        {"warn_at: 0.7": "warn_at: 0"},
        f"{STANDARD}.cost.warn_at: is too small; write more than 0",
    ),
    Mistake(
        "a currency's sign",
        {"currency: EUR": "currency: €"},
        "costs.currency: is not a currency; write its three capital letters, such as "
        "EUR",
    ),
    Mistake(
        "a time that nobody counts by",
        {"seconds: 0.5": "seconds: 0.3"},
        f"{STANDARD}.objectives.latency.seconds: is none of the times that the gateway "
        "counts by; write 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10",
    ),
    Mistake(
        "an objective without room for a failure",
        {"availability: 0.99,": "availability: 1,"},
        f"{STANDARD}.objectives.availability: is too large; write at most 0.99999",
    ),
    Mistake(
        "a day that there is not",
        {"until: 2027-01-31": "until: 2027-02-30"},
        f"{STANDARD}.cost.override.until: is not a date; write year-month-day",
    ),
    Mistake(
        "leave without a reason",
        {'because: "a trial", until': "until"},
        f"{STANDARD}.cost.override.because: is missing; add it: why",
    ),
    Mistake(
        "a level that there is not",
        {"level: advisory": "level: advise"},
        "policies.requests-and-limits.level: is not a known value; write mandatory or "
        'advisory or off; did you mean "advisory"?',
    ),
    Mistake(
        "a store of no kind",
        {"store: {kind: minio, ": "store: {"},
        "backups.store.kind: is missing; add it: minio or s3",
    ),
    Mistake(
        "a setting of the other kind of store",
        {"store: {kind: minio, ": "store: {kind: minio, bucket: copies, "},
        "backups.store.bucket: is a setting of `kind: s3` only; remove it or change "
        "`kind`",
    ),
    Mistake(
        "yes in quotes",
        {"stops_releases: true": 'stops_releases: "yes"'},
        "backups.drill.stops_releases: is neither true nor false; write one of the "
        "two, without quotes",
    ),
    Mistake(
        "a clause with the name of a section",
        {"cost: {monthly: 120.5}": "costs: {monthly: 120.5}"},
        'recovery, guard_may_trade); did you mean "cost"?',
    ),
]
SECTIONS = {
    f"{STRICT}": "        owner: speech",
    f"{STANDARD}.objectives": "availability: 0.99, ",
    f"{STANDARD}.objectives.latency": "share: 0.9",
    f"{STANDARD}.cost": "          warn_at: 0.7",
    f"{STANDARD}.cost.override": "by: speech",
    f"{STANDARD}.deadlines": "          retrain_by: ",
    f"{STANDARD}.capacity": "pods: 40",
    f"{STANDARD}.recovery": "rpo_minutes: 60",
    "costs": "book: on-prem",
    "costs.prices": "cpu_hour: 0.02",
    "backups": "      staging: 20Gi",
    "backups.store": "capacity: 20Gi}\n      staging",
    "backups.keep": "hourly: 6",
    "backups.drill": "every_days: 1",
    "policies.requests-and-limits": "level: advisory",
}
"""Each section, and a piece of the file that only it has."""


def read(content: str) -> LabConfig:
    return load.parse_file(content.encode(), source="f", templates=("mlflow",))


def report(changes: dict[str, str]) -> str:
    content = FILE
    for old, new in changes.items():
        assert old in FILE
        content = content.replace(old, new, 1)
    with pytest.raises(SettingsError) as error:
        read(content)
    return str(error.value)


def test_the_file_that_the_mistakes_are_made_in_is_right() -> None:
    lab = read(FILE)

    assert lab.agreement is lab.agreements["standard"]
    assert lab.agreement_of("iris") == ("standard", lab.agreements["standard"])
    assert lab.agreement_of("wine") == ("strict", lab.agreements["strict"])


@pytest.mark.parametrize("mistake", RULES, ids=lambda mistake: mistake.name)
def test_a_promise_that_cannot_be_kept_is_refused(mistake: Mistake) -> None:
    assert mistake.says in report(mistake.changes)


@pytest.mark.parametrize("mistake", VALUES, ids=lambda mistake: mistake.name)
def test_a_wrong_value_is_explained_with_its_remedy(mistake: Mistake) -> None:
    assert mistake.says in report(mistake.changes)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_closed(section: str) -> None:
    piece = SECTIONS[section]
    indent = piece[: len(piece) - len(piece.lstrip())]
    more = f"\n{indent}" if indent else ", "

    said = report({piece: f"{indent}colour_: hunter2{more}{piece.lstrip()}"})

    assert re.search(rf"f:\d+: {section}\.colour_: is not a setting", said)
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("covers: [wine]", "covers: [hunter2]"),
        ("cpu: 4000m", "cpu: hunter2"),
        ("review_by: 2027-03-01", "review_by: hunter2"),
        ("store: {kind: minio, capacity: 20Gi", f"{STORE}hunter2_"),
    ],
    ids=["release", "cores", "day", "bucket"],
)
def test_what_was_written_by_mistake_is_not_repeated(old: str, new: str) -> None:
    assert "hunter2" not in report({old: new})


@pytest.mark.parametrize(
    "store",
    [
        f"{STORE}copies",
        f"{STORE.replace('s3.', 'elsewhere.')}mlflow",
    ],
    ids=["another bucket", "another endpoint"],
)
def test_copies_may_lie_in_another_bucket_or_at_another_endpoint(store: str) -> None:
    changes = {
        "storage: {kind: minio, capacity: 20Gi, buckets:": S3,
        "store: {kind: minio, capacity: 20Gi": store,
    }

    assert "copy in the same place" not in report(changes)


def test_secrets_that_are_there_are_not_asked_for() -> None:
    names = [each for each in SECRETS if "backup" in each or "restore" in each]
    secrets = "".join(f"  labfactory:{each}:\n    secure: v1:abc\n" for each in names)
    content = FILE.replace("config:\n", f"config:\n{secrets}")
    content = content.replace("storage: {kind: minio, capacity: 20Gi, buckets:", S3)
    content = content.replace("store: {kind: minio, capacity: 20Gi", f"{STORE}copies")

    assert len(names) == 6
    assert read(content).backups


def test_the_tests_give_the_house_every_secret_that_it_may_ask_for() -> None:
    assert {*harness.SECRETS} == {f"labfactory:{each}" for each in SECRETS}


def test_a_lab_may_promise_nothing() -> None:
    content = FILE[: FILE.index("    agreements:")] + FILE[FILE.index("    costs:") :]

    lab = read(content.replace(BACKUPS, ""))

    assert (lab.agreement, lab.agreement_of("iris"), lab.backups) == (None, None, None)


@given(st.floats(0.5, 0.99999))
def test_the_limit_that_a_report_names_is_accepted(availability: float) -> None:
    def said(limit: float | None) -> list[Any]:
        tree = {
            "agreements": {"a": {"objectives": {"availability": availability}}},
            "releases": {"iris": {"guard": {"errors": {"at_most": limit}}}},
        }
        return [*promise_rules.limits_are_as_strict_as_promised(tree)]

    [(_, sentence)] = said(None)
    named = float(sentence.rpartition(" ")[2])

    assert said(named) == []
    assert math.isclose(named, PAGES_AT * (1 - availability), rel_tol=0.02)


def test_no_container_of_the_lab_may_take_more_than_is_always_agreed() -> None:
    pods = [pod for _, _, pod in house(example()).pods()]
    for job in (
        keeper.backup("", told={}, keep=Retention(), claim="", schedule="", minutes=60),
        keeper.check("", told={}, size="1Gi"),
        keeper.restore("", told={}, size="1Gi"),
        guard.retraining("iris", (), image="", bucket="", owner=""),
    ):
        pods.append(job["spec"]["jobTemplate"]["spec"]["template"]["spec"])
    most = {
        kind: max(
            rules.amount(container["resources"]["limits"][kind])
            for pod in pods
            for container in [*pod["containers"], *pod.get("initContainers", [])]
        )
        for kind in LARGEST
    }

    assert most == {kind: rules.amount(each[1]) for kind, each in LARGEST.items()}


@pytest.mark.parametrize("kind", LARGEST)
def test_what_is_always_agreed_is_written_as_it_counts(kind: str) -> None:
    amount, written = LARGEST[kind]

    assert rules.amount(written) == (amount / 1000 if kind == "cpu" else amount)


@pytest.mark.parametrize("minutes", [10, 15, 59, 60, 75, 1440, 10080])
def test_backups_are_made_more_often_than_may_be_lost(minutes: int) -> None:
    every = backup_minutes(Recovery(rpo_minutes=minutes, rto_minutes=5))

    assert every in INTERVALS
    assert every < minutes


@pytest.mark.parametrize(
    ("minutes", "schedule"),
    [(15, "*/15 * * * *"), (180, "0 */3 * * *"), (1440, "0 2 * * *")],
)
def test_an_interval_is_a_schedule(minutes: int, schedule: str) -> None:
    assert backup_schedule(minutes) == schedule


def test_an_agreement_without_a_word_promises_nothing() -> None:
    agreement = AgreementConfig()

    assert agreement.objectives.availability is None
    assert agreement.guard_may_trade
