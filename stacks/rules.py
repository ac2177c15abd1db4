"""Rules between settings, over the settings as they were written.

They bear with anything that is wrong elsewhere, so that one report can name all
mistakes: what is absent or of another type is somebody else's complaint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

Path = tuple[str | int, ...]
Problem = tuple[Path, str]
Rule = Callable[[Mapping[str, Any]], Iterator[Problem]]

_UNITS = {"m": 0.001, "": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def tracking_writes_into_a_bucket_of_the_lab(
    lab: Mapping[str, Any],
) -> Iterator[Problem]:
    """`tracking.bucket` is one of `storage.buckets`."""
    buckets = _buckets(lab)
    bucket = _mapping(lab.get("tracking")).get("bucket")
    if buckets and isinstance(bucket, str) and bucket not in buckets:
        yield ("tracking", "bucket"), f"is {_unknown_bucket(bucket, buckets)}"


def artifacts_lie_in_buckets_of_the_lab(lab: Mapping[str, Any]) -> Iterator[Problem]:
    """Each variant's artifact is in one of `storage.buckets`."""
    buckets = _buckets(lab)
    for path, release in _releases(lab):
        for name, variant in _mapping(release.get("variants")).items():
            address = re.match("s3://([^/]+)/", str(_mapping(variant).get("artifact")))
            if buckets and address and address[1] not in buckets:
                yield (
                    (*path, "variants", name, "artifact"),
                    f"is in {_unknown_bucket(address[1], buckets)}",
                )


def traffic_sums_to_100(lab: Mapping[str, Any]) -> Iterator[Problem]:
    """The weights of a release's variants are per cent of its requests."""
    for path, release in _releases(lab):
        weights = [variant.get("traffic") for variant in _variants(release)]
        total = sum(weight for weight in weights if type(weight) is int)
        if weights and all(type(weight) is int for weight in weights) and total != 100:
            yield (
                (*path, "variants"),
                f"get {total} per cent of the requests together; "
                "let their `traffic` sum to 100",
            )


def exactly_one_variant_is_stable(lab: Mapping[str, Any]) -> Iterator[Problem]:
    """A release has one variant that answers, and it can be named."""
    for path, release in _releases(lab):
        roles = [variant.get("role") for variant in _variants(release)]
        if len(roles) > 1 and roles.count("stable") != 1:
            yield (
                (*path, "variants"),
                f"has {roles.count('stable')} variants with the role stable; "
                "keep exactly one",
            )


RULES: tuple[Rule, ...] = (
    tracking_writes_into_a_bucket_of_the_lab,
    artifacts_lie_in_buckets_of_the_lab,
    traffic_sums_to_100,
    exactly_one_variant_is_stable,
)


def broken(lab: Mapping[str, Any]) -> list[Problem]:
    """Every broken rule, as the setting's path and a sentence about it."""
    return [problem for rule in RULES for problem in rule(lab)]


def templates_exist(
    lab: Mapping[str, Any], templates: frozenset[str]
) -> Iterator[Problem]:
    """Each release's template is one of the files in `model_templates/`."""
    for path, release in _releases(lab):
        template = release.get("template")
        if isinstance(template, str) and template not in templates:
            yield (
                (*path, "template"),
                f"is not a model template (there is: {', '.join(sorted(templates))}); "
                f"choose one of these{near_miss(template, templates)}",
            )


def near_miss(word: str, words: frozenset[str] | list[str] | tuple[str, ...]) -> str:
    """`; did you mean "…"?` when `word` is nearly one of `words`, else nothing."""
    close = get_close_matches(word, words, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def amount(quantity: str) -> float:
    """A size in bytes, or processor time in cores."""
    number, unit = re.fullmatch(r"(\d+)(\D*)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS[unit]


def _unknown_bucket(bucket: str, buckets: list[str]) -> str:
    return (
        f"a bucket that the lab does not have (it has: {', '.join(buckets)}); "
        f"add the bucket to `storage.buckets` or choose one of these"
        f"{near_miss(bucket, buckets)}"
    )


def _buckets(lab: Mapping[str, Any]) -> list[str]:
    buckets = _mapping(lab.get("storage")).get("buckets")
    if not isinstance(buckets, list | tuple):
        return []
    # A name that is none may be anything, and these names are printed.
    named = [bucket for bucket in buckets if isinstance(bucket, str)]
    return [bucket for bucket in named if re.fullmatch("[a-z0-9-]{3,63}", bucket)]


def _releases(lab: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for name, release in _mapping(lab.get("releases")).items():
        yield ("releases", name), _mapping(release)


def _variants(release: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [_mapping(variant) for variant in _mapping(release.get("variants")).values()]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
