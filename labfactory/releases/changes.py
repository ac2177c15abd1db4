"""What can be done to a lab's releases: each takes the settings and returns new ones.

Settings are trees as the stack file says them: the value of `labfactory:lab`. Nothing
here reads or writes; what the trees may be at all is checked when they are written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from labfactory.errors import LabError
from labfactory.releases.roles import (
    Tree,
    Variant,
    become,
    called,
    copied,
    let_take,
    stable_of,
    traffic_of,
    variant_of,
    variants_of,
    way_to_traffic,
)

IDENTITY = ("version", "artifact", "digest", "external")


def add(
    lab: Tree,
    release: str,
    variant: str,
    pinned: Tree | None = None,
    *,
    external: Tree | None = None,
    template: str = "mlflow",
    traffic: int = 0,
    mirror: int | None = None,
    match: Tree | None = None,
    accept_breaking: str | None = None,
) -> dict[str, Any]:
    """Add a variant: `pinned` (version, artifact, digest) or an `external` endpoint.

    The first variant of a new release, served with `template`, is its stable one; any
    other is a shadow with `mirror`, else a candidate whose `traffic` the stable one
    gives. One that is there already, and is asked for nothing more, changes nothing.
    """
    if (pinned is None) == (external is None):
        raise ValueError("a variant is either pinned or external")
    identity = dict(pinned) if pinned is not None else {"external": external}
    wanted = _asked_for(f"{release}.{variant}", traffic, mirror, match)
    new: dict[str, Any] = copied(lab)
    releases = new["releases"] = new.get("releases") or {}
    if release not in releases:
        if mirror is not None or match is not None or traffic not in (0, 100):
            raise LabError(
                f"release {release}: is new, so its first variant {variant} answers "
                "all requests; release it without a share, a mirror or a match"
            )
        first = {**copied(identity), "role": "stable", "traffic": 100}
        releases[release] = {"template": template, "variants": {variant: first}}
        return new
    variants = variants_of(new, release)
    if variant in variants:
        _is_as_asked(release, variant, variants[variant], identity, wanted)
        return new
    for name, other in variants.items():
        if pinned is not None and other.get("version") == pinned["version"]:
            raise LabError(
                f"release {release}: serves version {pinned['version']} already, as "
                f"{name} ({other['role']}); release another version"
            )
    _take(release, variants, traffic)
    reason = {} if accept_breaking is None else {"accept_breaking": accept_breaking}
    variants[variant] = {**copied(identity), **copied(wanted), **reason}
    return new


def weights(shares: Sequence[str]) -> dict[str, int]:
    """Per cent by variant, from words such as `v4=10`."""
    found: dict[str, int] = {}
    for share in shares:
        name, _, percent = share.partition("=")
        if not name or not re.fullmatch("[0-9]{1,3}%?", percent) or name in found:
            raise LabError(
                f"weight {share!r}: is not a variant's share, or its second one; write "
                "VARIANT=PERCENT once for each, such as v4=10"
            )
        found[name] = int(percent.removesuffix("%"))
    return found


def weigh(lab: Tree, release: str, weights: Mapping[str, int]) -> dict[str, Any]:
    """Give candidates their per cent of the requests; the stable one gets the rest."""
    new: dict[str, Any] = copied(lab)
    variants = variants_of(new, release)
    stable = stable_of(variants)
    for name, percent in weights.items():
        role = variant_of(variants, release, name)["role"]
        if role not in ("candidate", "stable"):
            raise LabError(
                f"release {release}: {name} is {called(role)} and takes no traffic; "
                f"{way_to_traffic(release, name, variants[name])}"
            )
        if isinstance(percent, bool) or not isinstance(percent, int):
            raise LabError(
                f"release {release}: the weight of {name} is no whole number; write "
                "per cent from 0 to 100"
            )
        if not 0 <= percent <= 100:
            raise LabError(
                f"release {release}: the weight of {name} is {percent}; write per cent "
                "from 0 to 100"
            )
        variants[name]["traffic"] = percent
    taken = sum(traffic_of(v) for n, v in variants.items() if n != stable)
    rest = 100 - taken
    if rest < 0:
        raise LabError(
            f"release {release}: its candidates would get {taken} per cent "
            f"({_listed(variants, stable)}); let them sum to 100 or less"
        )
    if weights.get(stable, rest) != rest:
        raise LabError(
            f"release {release}: the stable {stable} would get {weights[stable]} per "
            f"cent and its candidates leave {rest} ({_listed(variants, stable)}); "
            f"leave {stable} out, or let the weights sum to 100"
        )
    variants[stable]["traffic"] = rest
    return new


def promote(lab: Tree, release: str, variant: str | None = None) -> dict[str, Any]:
    """Make a candidate, or a shadow that is named, the stable variant with all traffic.

    The old stable one becomes `previous`, kept to go back to; an older previous one is
    removed. Other candidates stay without traffic, and keep their `match`.
    """
    new: dict[str, Any] = copied(lab)
    variants = variants_of(new, release)
    name = variant if variant is not None else _only_candidate(variants, release)
    role = variant_of(variants, release, name)["role"]
    if role not in ("candidate", "shadow"):
        why = f"{called(role)} and cannot be promoted"
        if role == "stable":
            why = "the stable variant already"
        raise LabError(
            f"release {release}: {name} is {why}; "
            f"{way_to_traffic(release, name, variants[name])}"
        )
    old = stable_of(variants)
    for other in [n for n, v in variants.items() if v["role"] == "previous"]:
        del variants[other]
    for each in variants.values():
        let_take(each, 0)
    variants[old]["role"] = "previous"
    become(variants[name], "stable", 100)
    return new


def roll_back(
    lab: Tree, release: str, *, because: str, variant: str | None = None
) -> dict[str, Any]:
    """Reject what has gone wrong, and give its traffic to what served before.

    Without `variant`: all candidates that take requests, by weight or match; when there
    are none, the stable variant, and the previous one is stable again. The rejected
    ones stay in the settings with the reason, without traffic.
    """
    reason = " ".join(because.split())
    if not reason:
        raise LabError(
            f"release {release}: a rollback needs a reason; say why with --because"
        )
    new: dict[str, Any] = copied(lab)
    variants = variants_of(new, release)
    stable = stable_of(variants)
    bad = _suspects(variants, release, variant) or [stable]
    if bad == [stable]:
        previous = [n for n, v in variants.items() if v["role"] == "previous"]
        if not previous:
            raise LabError(
                f"release {release}: has nothing to go back to (no candidate takes "
                f"requests, and no variant is kept from before {stable}); release an "
                f"earlier version with `lab release {release} VERSION`, then promote it"
            )
        become(variants[previous[0]], "stable", traffic_of(variants[stable]))
    else:
        given = sum(traffic_of(variants[name]) for name in bad)
        let_take(variants[stable], traffic_of(variants[stable]) + given)
    for name in bad:
        become(variants[name], "rejected", 0)
        variants[name]["because"] = reason
    return new


def retire(lab: Tree, release: str, variant: str) -> dict[str, Any]:
    """Remove a variant that answers nobody; its pods and its preview address go.

    Without its previous variant a release cannot be rolled back at once any more: the
    earlier version must be released again.
    """
    new: dict[str, Any] = copied(lab)
    variants = variants_of(new, release)
    found = variant_of(variants, release, variant)
    if found["role"] == "stable":
        raise LabError(
            f"release {release}: {variant} is the stable variant; promote another one "
            f"first (`lab promote {release} VARIANT`), or remove the whole release "
            "from the settings"
        )
    if traffic_of(found):
        raise LabError(
            f"release {release}: {variant} takes {traffic_of(found)} per cent of the "
            f"requests; `lab traffic {release} {variant}=0` first, or take it back by "
            f'`lab rollback {release} --because "..."`'
        )
    if found.get("match"):
        raise LabError(
            f"release {release}: {variant} answers the requests of its `match`; remove "
            "that from the settings first, or take it back with "
            f'`lab rollback {release} --because "..."`'
        )
    del variants[variant]
    return new


def _asked_for(
    where: str, traffic: int, mirror: int | None, match: Tree | None
) -> dict[str, Any]:
    """Role and share of a variant that is added to a release."""
    if mirror is None:
        wanted: dict[str, Any] = {"role": "candidate", "traffic": traffic}
        return wanted if match is None else {**wanted, "match": match}
    if traffic or match is not None:
        raise LabError(
            f"variant {where}: is to be a shadow, whose answers nobody gets, and to "
            "take requests; choose a mirror, or traffic and a match"
        )
    return {"role": "shadow", "mirror": mirror}


def _is_as_asked(
    release: str, name: str, found: Tree, identity: Tree, wanted: Tree
) -> None:
    """Say so when a variant that is there is not the one that should be added."""
    if any(found.get(key) != identity.get(key) for key in IDENTITY):
        raise LabError(
            f"release {release}: has another {name} already ({found['role']}); choose "
            f"another name, or remove it first with `lab retire {release} {name}`"
        )
    unasked = wanted == {"role": "candidate", "traffic": 0}
    if found["role"] == "rejected" or not (unasked or wanted.items() <= found.items()):
        raise LabError(
            f"release {release}: has {name} already, as {called(found['role'])}; "
            f"{way_to_traffic(release, name, found)}"
        )


def _suspects(
    variants: dict[str, Variant], release: str, named: str | None
) -> list[str]:
    """What a rollback rejects; nothing when it is the stable variant."""
    if named is None:
        return [
            name
            for name, each in variants.items()
            if each["role"] == "candidate" and (traffic_of(each) or each.get("match"))
        ]
    found = variant_of(variants, release, named)
    if found["role"] in ("previous", "rejected"):
        raise LabError(
            f"release {release}: {named} is {called(found['role'])} and answers "
            f"nobody; `lab retire {release} {named}` removes it"
        )
    return [named]


def _take(release: str, variants: dict[str, Variant], traffic: int) -> None:
    stable = stable_of(variants)
    left = traffic_of(variants[stable]) - traffic
    if traffic < 0 or left < 0:
        raise LabError(
            f"release {release}: a new candidate cannot have {traffic} per cent, "
            f"because the stable {stable} has {traffic_of(variants[stable])} to give; "
            "ask for less, or give the stable one more first"
        )
    let_take(variants[stable], left)


def _only_candidate(variants: Tree, release: str) -> str:
    names = [n for n, v in variants.items() if v["role"] == "candidate"]
    if len(names) == 1:
        return names[0]
    if names:
        raise LabError(
            f"release {release}: has {len(names)} candidates ({', '.join(names)}); "
            f"name one: `lab promote {release} {names[0]}`"
        )
    shadows = [n for n, v in variants.items() if v["role"] == "shadow"]
    way = f"release a version first: `lab release {release} VERSION`"
    if shadows:
        way = f"name the shadow: `lab promote {release} {shadows[0]}`"
    raise LabError(f"release {release}: has no candidate to promote; {way}")


def _listed(variants: Tree, stable: str) -> str:
    return ", ".join(
        f"{name} {traffic_of(each)}"
        for name, each in variants.items()
        if name != stable and traffic_of(each)
    )
