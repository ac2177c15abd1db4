"""Rules between settings, over the settings as they were written.

They bear with anything that is wrong elsewhere, so that one report can name all
mistakes: what is absent or of another type is somebody else's complaint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from stacks import (
    prediction_rules,
    promise_rules,
    route_rules,
    variant_rules,
    watch_rules,
)
from stacks.raw import (
    Problem,
    Rule,
    TemplateFacts,
    Tree,
    all_variants,
    bucket_of,
    buckets,
    mapping,
    near_miss,
    releases,
)

_UNITS = {"m": 0.001, "": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def buckets_are_of_the_lab(lab: Tree) -> Iterator[Problem]:
    """`tracking.bucket` and `predictions.bucket` are among `storage.buckets`."""
    known = buckets(lab)
    for section in ("tracking", "predictions"):
        bucket = mapping(lab.get(section)).get("bucket")
        if known and isinstance(bucket, str) and bucket not in known:
            yield (section, "bucket"), f"is {_unknown_bucket(bucket, known)}"


def artifacts_lie_in_buckets_of_the_lab(lab: Tree) -> Iterator[Problem]:
    """Each variant's artifact is in one of `storage.buckets`."""
    known = buckets(lab)
    for path, variant in all_variants(lab):
        bucket = bucket_of(variant.get("artifact"))
        if known and bucket and bucket not in known:
            yield (*path, "artifact"), f"is in {_unknown_bucket(bucket, known)}"


RULES: tuple[Rule, ...] = (
    buckets_are_of_the_lab,
    artifacts_lie_in_buckets_of_the_lab,
    *variant_rules.RULES,
    *route_rules.RULES,
    *prediction_rules.RULES,
    *watch_rules.RULES,
    *promise_rules.RULES,
)


def broken(lab: Tree) -> list[Problem]:
    """Every broken rule, as the setting's path and a sentence about it."""
    return [problem for rule in RULES for problem in rule(lab)]


def misfits(
    lab: Tree,
    templates: Collection[str],
    facts: Callable[[str], TemplateFacts | None],
) -> list[Problem]:
    """What does not fit the templates that there are; `facts` knows each of them."""
    return [
        *templates_exist(lab, templates),
        *route_rules.routes_have_room(lab, templates, facts),
        *prediction_rules.batches_are_run_by_our_server(lab, templates, facts),
        *watch_rules.measured_by_our_server(lab, templates, facts),
    ]


def templates_exist(lab: Tree, templates: Collection[str]) -> Iterator[Problem]:
    """Each release's template is one of the files in `model_templates/`."""
    for path, release in releases(lab):
        template = release.get("template")
        if isinstance(template, str) and template not in templates:
            yield (
                (*path, "template"),
                f"is not a model template (there is: {', '.join(sorted(templates))}); "
                f"choose one of these{near_miss(template, templates)}",
            )


def amount(quantity: str) -> float:
    """A size in bytes, or processor time in cores."""
    number, unit = re.fullmatch(r"(\d+)(\D*)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS[unit]


def _unknown_bucket(bucket: str, known: list[str]) -> str:
    return (
        f"a bucket that the lab does not have (it has: {', '.join(known)}); "
        f"add the bucket to `storage.buckets` or choose one of these"
        f"{near_miss(bucket, known)}"
    )
