"""Rules of variants: what each may say in its role, and what fits in one release."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from stacks.raw import (
    Path,
    Problem,
    Rule,
    Tree,
    all_variants,
    mapping,
    releases,
    shown,
    traffic,
    variants,
)

MOST_VARIANTS = 6
_PIN = ("version", "artifact", "digest")
_ROLES = ("stable", "candidate", "shadow", "previous", "rejected")


def variants_are_pinned_or_external(lab: Tree) -> Iterator[Problem]:
    """A variant is a model, with what pins it, or an endpoint without any of it."""
    for path, variant in all_variants(lab):
        said = [field for field in _PIN if variant.get(field) is not None]
        absent = [field for field in _PIN if field not in said]
        if variant.get("external") is None and absent:
            yield (
                path,
                f"is not pinned (it has no {', '.join(absent)}); "
                "`lab release NAME VERSION` writes what is missing",
            )
        if variant.get("external") is not None and said:
            yield (
                path,
                f"is an external endpoint and has {', '.join(said)} too; "
                "keep one of the two",
            )


def exactly_one_variant_is_stable(lab: Tree) -> Iterator[Problem]:
    """A release has one variant that answers, and it can be named."""
    for path, release in releases(lab):
        roles = [variant.get("role") for _, variant in variants(path, release)]
        stable = roles.count("stable")
        if roles and all(role in _ROLES for role in roles) and stable != 1:
            yield (
                (*path, "variants"),
                f"has {stable} variants with the role stable; "
                + ("keep exactly one" if stable else "give it to exactly one"),
            )


def traffic_sums_to_100(lab: Tree) -> Iterator[Problem]:
    """The weights of a release's variants are per cent of its requests."""
    for path, release in releases(lab):
        found = variants(path, release)
        weights = [variant.get("traffic", 0) for _, variant in found]
        complete = len(found) == len(mapping(release.get("variants")))
        if not found or not complete or any(type(each) is not int for each in weights):
            continue
        if sum(weights) != 100:
            yield (
                (*path, "variants"),
                f"get {sum(weights)} per cent of the requests together; "
                "let their `traffic` sum to 100",
            )


def only_stable_and_candidates_take_traffic(lab: Tree) -> Iterator[Problem]:
    """The other roles do not answer."""
    for path, variant in all_variants(lab):
        if variant.get("role") in _ROLES[2:] and traffic(variant) > 0:
            yield (
                (*path, "traffic"),
                f"is for the stable variant and candidates, and not for one that is "
                f"{variant['role']}; remove it or change the role",
            )


def mirror_is_for_shadows(lab: Tree) -> Iterator[Problem]:
    """A shadow says how many requests it gets copies of; no other variant does."""
    for path, variant in all_variants(lab):
        role, mirror = variant.get("role"), variant.get("mirror")
        if role == "shadow" and mirror is None:
            yield (
                (*path, "mirror"),
                "is missing; add the per cent of the requests that the shadow gets "
                "copies of, such as 100",
            )
        if role in _ROLES and role != "shadow" and mirror is not None:
            yield (
                (*path, "mirror"),
                f"is for shadows, and this variant is {role}; remove it or change the "
                "role",
            )


def because_is_for_rejected(lab: Tree) -> Iterator[Problem]:
    """A variant that was taken back says why; no other does."""
    for path, variant in all_variants(lab):
        role, because = variant.get("role"), variant.get("because")
        if role == "rejected" and because is None:
            yield (
                (*path, "because"),
                "is missing; add why the variant was rejected, as one line in quotes",
            )
        if role in _ROLES and role != "rejected" and because is not None:
            yield (
                (*path, "because"),
                f"is for rejected variants, and this one is {role}; remove it or "
                "change the role",
            )


def one_variant_is_previous_at_most(lab: Tree) -> Iterator[Problem]:
    """A rollback knows where to."""
    for path, release in releases(lab):
        roles = [variant.get("role") for _, variant in variants(path, release)]
        if roles.count("previous") > 1:
            yield (
                (*path, "variants"),
                f"has {roles.count('previous')} variants with the role previous; keep "
                "at most one, and take the others out",
            )


def variants_are_few(lab: Tree) -> Iterator[Problem]:
    """A release has a handful of versions, each of which takes memory."""
    for path, release in releases(lab):
        count = len(mapping(release.get("variants")))
        if count > MOST_VARIANTS:
            yield (
                (*path, "variants"),
                f"has {count} variants, and {MOST_VARIANTS} is the most; take some out "
                "(`lab retire RELEASE VARIANT`)",
            )


def versions_are_there_once(lab: Tree) -> Iterator[Problem]:
    """No two variants of a release are the same version."""
    for path, release in releases(lab):
        first: dict[int, object] = {}
        for place, variant in variants(path, release):
            version = variant.get("version")
            if type(version) is not int:
                continue
            if version in first:
                yield (
                    (*place, "version"),
                    f"is the version of {shown(first[version])} too; keep one of the "
                    "two variants",
                )
            first.setdefault(version, place[-1])


def names_carry_the_version(lab: Tree) -> Iterator[Problem]:
    """`v3` is version 3, wherever a person reads its name."""
    for path, variant in all_variants(lab):
        version = variant.get("version")
        numbered = re.fullmatch(r"v[0-9]+", str(path[-1]))
        if not numbered or type(version) is not int or version < 1:
            continue
        if path[-1] != f"v{version}":
            yield (
                (*path, "version"),
                f"is {version}, and the variant is named {path[-1]}; name the variant "
                f"v{version} or correct the version",
            )


def a_header_has_a_key_to_carry(lab: Tree) -> Iterator[Problem]:
    """`external.header` is for `external.key`."""
    for path, external in externals(lab):
        if external.get("header") is not None and external.get("key") is None:
            yield (
                (*path, "header"),
                "carries a key, and there is none; add `key: NAME`, or remove it",
            )


def a_request_is_made_from_what_there_is(lab: Tree) -> Iterator[Problem]:
    """`external.request` is given `rows`, or one `row` at a time."""
    for path, external in externals(lab):
        each = external.get("call_per", "request")
        request = external.get("request", "{instances: rows}")
        if each not in ("request", "row") or not isinstance(request, str):
            continue
        there, other = ("row", "rows") if each == "row" else ("rows", "row")
        words = re.findall(r"\w+", request)
        if other in words and there not in words:
            yield (
                (*path, "request"),
                f"is made from `{other}`, and with `call_per: {each}` there is only "
                f"`{there}`; write an expression of `{there}`, or change `call_per`",
            )


def externals(lab: Tree) -> Iterator[tuple[Path, Tree]]:
    """Path and settings of each external endpoint."""
    for path, variant in all_variants(lab):
        if isinstance(variant.get("external"), Mapping):
            yield (*path, "external"), variant["external"]


RULES: tuple[Rule, ...] = (
    variants_are_pinned_or_external,
    exactly_one_variant_is_stable,
    traffic_sums_to_100,
    only_stable_and_candidates_take_traffic,
    mirror_is_for_shadows,
    because_is_for_rejected,
    one_variant_is_previous_at_most,
    variants_are_few,
    versions_are_there_once,
    names_carry_the_version,
    a_header_has_a_key_to_carry,
    a_request_is_made_from_what_there_is,
)
