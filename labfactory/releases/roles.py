"""The variants of a release as the settings say them, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labfactory.errors import LabError
from stacks.raw import near_miss

Tree = Mapping[str, Any]
Variant = dict[str, Any]


def variants_of(lab: Tree, release: str) -> dict[str, Variant]:
    """The variants of a release; LabError when there is no such release."""
    releases = lab.get("releases") or {}
    if release not in releases:
        there = f" (there is: {', '.join(releases)})" if releases else ""
        hint = near_miss(release, tuple(releases)) or (
            f"; `lab release {release} VERSION` makes it"
        )
        raise LabError(f"release {release}: is not in the settings{there}{hint}")
    variants: dict[str, Variant] = releases[release]["variants"]
    return variants


def variant_of(variants: dict[str, Variant], release: str, name: str) -> Variant:
    """One variant; LabError when there is no such variant."""
    if name not in variants:
        hint = near_miss(name, tuple(variants)) or "; choose one of these"
        raise LabError(
            f"release {release}: has no variant {name} "
            f"(there is: {', '.join(variants)}){hint}"
        )
    return variants[name]


def stable_of(variants: Tree) -> str:
    """Name of the stable variant."""
    return next(name for name, each in variants.items() if each["role"] == "stable")


def traffic_of(variant: Tree) -> int:
    """Per cent of the requests."""
    return int(variant.get("traffic", 0))


def become(variant: Variant, role: str, traffic: int) -> None:
    """Change role and traffic; what only the old role has goes."""
    variant["role"] = role
    let_take(variant, traffic)
    for only in ("mirror", "match", "because"):
        variant.pop(only, None)


def let_take(variant: Variant, traffic: int) -> None:
    """Leave a variant alone that says nothing, and means 0, already."""
    if traffic_of(variant) != traffic:
        variant["traffic"] = traffic


def way_to_traffic(release: str, name: str, variant: Tree) -> str:
    """What to do to let a variant answer, by its role."""
    match variant["role"]:
        case "previous":
            return f'`lab rollback {release} --because "..."` makes it stable again'
        case "rejected":
            return (
                f"it was taken back because: {variant.get('because', 'unknown')}; "
                "register a new version and release that"
            )
        case "shadow":
            return f"`lab promote {release} {name}` makes it the stable one"
        case "candidate":
            return (
                f"`lab traffic {release} {name}=PERCENT` changes its share, "
                f"`lab promote {release} {name}` makes it the stable one"
            )
    return f"`lab release {release} VERSION` adds another one"


def called(role: str) -> str:
    """A role in a sentence."""
    return {
        "stable": "the stable variant",
        "candidate": "a candidate",
        "shadow": "a shadow",
        "previous": "the previous variant",
        "rejected": "a rejected variant",
    }[role]


def copied(tree: Any) -> Any:
    """A tree of objects of its own: YAML's references share theirs."""
    if isinstance(tree, Mapping):
        return {key: copied(each) for key, each in tree.items()}
    if isinstance(tree, list | tuple):
        return [copied(each) for each in tree]
    return tree
