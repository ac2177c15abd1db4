"""Rules of what a lab promises: agreements, what they need, and backups."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.agreed import agreements, amount, covered, day, host, names, number, under
from stacks.raw import Problem, Rule, Tree, buckets, mapping, near_miss, releases, shown

PAGES_AT = 14.4
"""Times its share of failures an agreement bears before somebody is woken up: at this
rate an hour takes what two days of 28 may."""
LARGEST = {"cpu": (2000, "2000m"), "memory": (3 * 2**30, "3Gi")}
"""What the largest container of a lab's own may take: cores in thousandths, bytes."""
_MEASURED = ("availability", "latency", "quality")


def agreements_do_not_overlap(lab: Tree) -> Iterator[Problem]:
    """A release is under one agreement, and so is the lab as a whole."""
    first: dict[str | None, str] = {}
    for path, agreement in agreements(lab):
        name = shown(path[-1])
        for release in covered(agreement):
            if release is not None and release not in names(lab):
                continue
            what = "the lab as a whole" if release is None else release
            other = first.setdefault(release, name)
            if other != name:
                yield (
                    (*path, "covers"),
                    f"overlap with those of {other} (both are about {what}); let one "
                    "of the two `cover` other releases, or remove it",
                )


def what_is_covered_exists(lab: Tree) -> Iterator[Problem]:
    """An agreement covers releases of this lab, each once."""
    known = names(lab)
    for path, agreement in agreements(lab):
        found = [each for each in covered(agreement) if each is not None]
        for index, release in enumerate(found):
            where = (*path, "covers", index)
            if release not in known:
                there = f" (it has: {', '.join(known)})" if known else ""
                yield (
                    where,
                    f"is a release that the lab does not have{there}; add it to "
                    f"`releases` or take it out of here{near_miss(release, known)}",
                )
            elif release in found[:index]:
                yield where, f"is there twice ({release}); keep one"


def clauses_about_the_lab_are_in_its_agreement(lab: Tree) -> Iterator[Problem]:
    """Quotas and backups are the whole lab's."""
    for path, agreement in agreements(lab):
        for clause in ("capacity", "recovery"):
            if agreement.get(clause) is not None and agreement.get("covers"):
                yield (
                    (*path, clause),
                    "is about the whole lab, and this agreement about some of its "
                    "releases; move it to an agreement without `covers`",
                )


def clauses_can_be_kept(lab: Tree) -> Iterator[Problem]:
    """What is promised is measured, and what may be lost is copied."""
    for path, agreement in agreements(lab):
        if agreement.get("recovery") is not None and lab.get("backups") is None:
            yield (
                (*path, "recovery"),
                "can't be kept without backups, and the lab has none; add "
                "`backups: {store: {kind: minio, capacity: SIZE}, staging: SIZE}` to "
                "the lab",
            )
        if lab.get("monitoring") is not None:
            continue
        for name in _MEASURED:
            if mapping(agreement.get("objectives")).get(name) is not None:
                yield (
                    (*path, "objectives", name),
                    "is measured by Prometheus, and the lab has none; add "
                    "`monitoring: {}` to the lab",
                )


def quality_is_measured_on_labels(lab: Tree) -> Iterator[Problem]:
    """A promise of quality needs a release whose labels are counted."""
    for path, agreement in agreements(lab):
        if mapping(agreement.get("objectives")).get("quality") is None:
            continue
        for name, release in under(lab, agreement):
            if mapping(release.get("guard")).get("quality") is None:
                yield (
                    (*path, "objectives", "quality"),
                    f"is counted by labels, and those of {name} are not taken; add "
                    f"`quality: {{}}` to `releases.{name}.guard`",
                )


def limits_are_as_strict_as_promised(lab: Tree) -> Iterator[Problem]:
    """What wakes somebody up is taken back by the guard too."""
    for path, agreement in agreements(lab):
        share = mapping(agreement.get("objectives")).get("availability")
        if not isinstance(share, float) or not 0 < share < 1:
            continue
        most = PAGES_AT * (1 - share)
        for name, release in under(lab, agreement):
            errors = mapping(mapping(release.get("guard")).get("errors"))
            limit = errors.get("at_most", 0.0)
            if limit is None or (isinstance(limit, int | float) and limit > most):
                yield (
                    ("releases", name, "guard", "errors", "at_most"),
                    "bears more failures than somebody is woken up for, by the "
                    f"availability of the agreement {shown(path[-1])}; write at most "
                    f"{_below(most)}",
                )


def parts_cost_no_more_than_the_whole(lab: Tree) -> Iterator[Problem]:
    """A budget within a budget, and leave to spend more is more."""
    whole = next((each for each in agreements(lab) if not each[1].get("covers")), None)
    most = number(mapping(whole[1].get("cost")), "monthly") if whole else None
    for path, agreement in agreements(lab):
        cost = mapping(agreement.get("cost"))
        monthly = number(cost, "monthly")
        leave = number(mapping(cost.get("override")), "monthly")
        if monthly is None:
            continue
        if whole and most is not None and monthly > most:
            yield (
                (*path, "cost", "monthly"),
                f"is more than the whole lab may cost ({most:.10g}, in the agreement "
                f"{shown(whole[0][-1])}); lower it, or raise that one",
            )
        if leave is not None and leave <= monthly:
            yield (
                (*path, "cost", "override", "monthly"),
                f"is no leave to spend more (`cost.monthly` is {monthly:.10g}); write "
                "more than that, or remove the override",
            )


def deadlines_are_in_order(lab: Tree) -> Iterator[Problem]:
    """Nothing is due after the end."""
    for path, agreement in agreements(lab):
        days = mapping(agreement.get("deadlines"))
        end = day(days.get("retire_by"))
        for name in ("retrain_by", "review_by"):
            due = day(days.get(name))
            if due and end and due > end:
                yield (
                    (*path, "deadlines", name),
                    f"is after the end of what is covered (`retire_by` is {end}); "
                    "write an earlier day, or remove it",
                )


def releases_are_as_many_as_agreed(lab: Tree) -> Iterator[Problem]:
    """A release too many is refused, and not only counted."""
    there = len([*releases(lab)])
    for path, agreement in agreements(lab):
        most = mapping(agreement.get("capacity")).get("releases")
        if type(most) is int and there > most:
            yield (
                (*path, "capacity", "releases"),
                f"is less than the releases that the lab has ({there}, and {most} "
                f"agreed); take {there - most} out of `releases`, or agree on more",
            )


def containers_fit_into_the_lab(lab: Tree) -> Iterator[Problem]:
    """What Kubernetes would refuse when it is too late is refused here."""
    for path, agreement in agreements(lab):
        for kind, (largest, written) in LARGEST.items():
            room = amount(mapping(agreement.get("capacity")).get(kind))
            if room is None:
                continue
            if room < largest:
                yield (
                    (*path, "capacity", kind),
                    "is less than one container of the lab itself may take; write "
                    f"at least {written}",
                )
                continue
            for where, release in releases(lab):
                limits = mapping(mapping(release.get("resources")).get("limits"))
                if (amount(limits.get(kind)) or 0) > room:
                    yield (
                        (*where, "resources", "limits", kind),
                        "is more than the whole lab may reserve (the agreement "
                        f"{shown(path[-1])} says so in `capacity.{kind}`); lower it, "
                        "or agree on more",
                    )


def copies_are_elsewhere(lab: Tree) -> Iterator[Problem]:
    """A copy in the very bucket of the original is none."""
    storage = mapping(lab.get("storage"))
    store = mapping(mapping(lab.get("backups")).get("store"))
    same = (
        storage.get("kind") == store.get("kind") == "s3"
        and host(storage.get("endpoint")) == host(store.get("endpoint"))
        and host(store.get("endpoint")) is not None
    )
    if same and store.get("bucket") in buckets(lab):
        yield (
            ("backups", "store", "bucket"),
            "is a bucket of the lab's own storage, and a copy in the same place is "
            "none; name a bucket that is not in `storage.buckets`, better at another "
            "endpoint",
        )


def _below(limit: float) -> str:
    """`limit` to three digits, never above it."""
    text = f"{limit:.3g}"
    return text if float(text) <= limit else f"{limit * 0.995:.3g}"


RULES: tuple[Rule, ...] = (
    agreements_do_not_overlap,
    what_is_covered_exists,
    clauses_about_the_lab_are_in_its_agreement,
    clauses_can_be_kept,
    quality_is_measured_on_labels,
    limits_are_as_strict_as_promised,
    parts_cost_no_more_than_the_whole,
    deadlines_are_in_order,
    releases_are_as_many_as_agreed,
    containers_fit_into_the_lab,
    copies_are_elsewhere,
)
