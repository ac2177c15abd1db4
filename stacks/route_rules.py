"""Rules of what a release's route can do: matches, sticky buckets, copies, its size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from stacks.raw import (
    Path,
    Problem,
    Rule,
    TemplateFacts,
    Tree,
    all_variants,
    mapping,
    releases,
    shown,
    traffic,
    variants,
)
from stacks.variant_rules import MOST_VARIANTS

MOST_RULES = 16
"""Rules that one HTTPRoute may have."""


def match_is_for_candidates(lab: Tree) -> Iterator[Problem]:
    """Only a candidate is tried on requests of its own."""
    for path, variant in all_variants(lab):
        role = variant.get("role")
        others = ("stable", "shadow", "previous", "rejected")
        if variant.get("match") is not None and role in others:
            yield (
                (*path, "match"),
                f"is for candidates, and this variant is {role}; remove it or change "
                "the role",
            )


def match_is_by_header_or_by_cookie(lab: Tree) -> Iterator[Problem]:
    """A match looks at one thing."""
    for path, variant in all_variants(lab):
        match = variant.get("match")
        said = [key for key in ("header", "cookie") if mapping(match).get(key)]
        if mapping(match) and len(said) != 1:
            yield (
                (*path, "match"),
                f"has {'both' if said else 'neither'} header {'and' if said else 'nor'}"
                " cookie; write exactly one of the two",
            )


def matches_differ(lab: Tree) -> Iterator[Problem]:
    """No two variants of a release want the same requests."""
    for path, release in releases(lab):
        first: dict[tuple[str, str], object] = {}
        for place, variant in variants(path, release):
            match = mapping(variant.get("match"))
            for key in ("header", "cookie"):
                wanted = f"{key} {match.get(key)}", str(match.get("value"))
                if match.get(key) is None:
                    continue
                if wanted in first:
                    yield (
                        (*place, "match"),
                        f"is the match of {shown(first[wanted])} too; let the two "
                        "differ in their value",
                    )
                first.setdefault(wanted, place[-1])


def buckets_grow_from_two_ends(lab: Tree) -> Iterator[Problem]:
    """Whoever is with a candidate stays there while it grows: two ends, two of them."""
    for path, release in releases(lab):
        growing = len(_growing(path, release))
        if release.get("sticky") is not None and growing > 2:
            yield (
                (*path, "sticky"),
                f"allows two candidates with traffic, and there are {growing}; set the "
                "`traffic` of the others to 0, or remove `sticky`",
            )


def buckets_and_matches_use_different_headers(lab: Tree) -> Iterator[Problem]:
    """The header with the bucket says nothing else."""
    for path, release in releases(lab):
        sticky = release.get("sticky")
        for place, variant in variants(path, release):
            if sticky and mapping(variant.get("match")).get("header") == sticky:
                yield (
                    (*place, "match", "header"),
                    "is the header of `sticky`, which has a bucket in it; match another"
                    " one",
                )


def one_shadow_gets_a_part(lab: Tree) -> Iterator[Problem]:
    """A route can draw one sample of its requests."""
    for path, release in releases(lab):
        sampled = len(_sampled(path, release))
        if sampled > 1:
            yield (
                (*path, "variants"),
                f"has {sampled} shadows that get a part of the requests, and one is "
                "the most; let the others `mirror: 100`, or take them out",
            )


def routes_have_room(
    lab: Tree,
    templates: Collection[str],
    facts: Callable[[str], TemplateFacts | None],
) -> Iterator[Problem]:
    """The rules that a release needs fit in one HTTPRoute."""
    for path, release in releases(lab):
        template = release.get("template")
        if not isinstance(template, str) or template not in templates:
            continue
        several = 1 < len(variants(path, release)) <= MOST_VARIANTS
        known = facts(template) if several else None
        needed = rules_needed(release, known.paths) if known else 0
        if needed > MOST_RULES:
            yield (
                (*path, "variants"),
                f"need {needed} rules in the release's route, and {MOST_RULES} is the "
                "most; take a variant out, let fewer have a `match`, or let the shadow "
                "`mirror: 100`",
            )


def rules_needed(release: Tree, paths: int) -> int:
    """How many rules the HTTPRoute of a release has, for a template with `paths`.

    One per path for the preview of each variant but the stable; one per match, per
    sticky variant with traffic, and for the rest; the latter twice when a shadow gets
    a part of the requests.
    """
    found = variants((), release)
    roles = [variant.get("role") for _, variant in found]
    previews = len(roles) - roles.count("stable")
    answers = 1 + len([v for _, v in found if v.get("match") is not None])
    if release.get("sticky"):
        answers += len(_growing((), release))
        answers += any(v.get("role") == "stable" and traffic(v) > 0 for _, v in found)
    return previews * paths + answers * (1 + len(_sampled((), release)))


def _growing(path: Path, release: Tree) -> list[Tree]:
    """The candidates with traffic."""
    return [
        variant
        for _, variant in variants(path, release)
        if variant.get("role") == "candidate" and traffic(variant) > 0
    ]


def _sampled(path: Path, release: Tree) -> list[Tree]:
    """The variants that get copies of a part of the requests."""
    found = []
    for _, variant in variants(path, release):
        mirror = variant.get("mirror")
        if type(mirror) is int and 0 < mirror < 100:
            found.append(variant)
    return found


RULES: tuple[Rule, ...] = (
    match_is_for_candidates,
    match_is_by_header_or_by_cookie,
    matches_differ,
    buckets_grow_from_two_ends,
    buckets_and_matches_use_different_headers,
    one_shadow_gets_a_part,
)
