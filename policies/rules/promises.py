"""Rules of what was promised: agreements, their deadlines, backups, and drills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from .lab import Lab, Resource
from .rule import Complaint, Rule
from .workloads import tree, trees

KEPT = frozenset({"storage-data", "tracking-data"})
"""Claims whose content every backup holds: the object store's, and the database's."""
NOT_KEPT = frozenset({"monitoring-data"})
"""Claims that a lab can lose: measurements come again."""
COPIES = "backups"
"""Room of the copies themselves."""
LATE = 1.5
"""So many times the days between two drills, and the last one is too old."""


def agreement_present(lab: Lab) -> Iterator[Complaint]:
    """Each release is under an agreement."""
    agreements = lab.group("agreements")
    named: set[str] = set()
    for each in agreements.values():
        covers = tree(each).get("covers") or ()
        if not covers:
            return  # the lab's own is about every release that no other names
        named |= {*covers}
    for release in lab.group("releases"):
        if release not in named:
            yield Complaint(f"releases.{release}", "is under no agreement")


def retired_in_time(lab: Lab) -> Iterator[Complaint]:
    """Nothing runs longer than was agreed."""
    yield from _passed(lab, "retire_by", "should be gone since")


def reviewed_in_time(lab: Lab) -> Iterator[Complaint]:
    """Agreements are looked at, and models made anew, when it was said."""
    yield from _passed(lab, "review_by", "should have been reviewed by")
    yield from _passed(lab, "retrain_by", "should have a newer model since")


def _passed(lab: Lab, which: str, told: str) -> Iterator[Complaint]:
    for name, agreement in lab.group("agreements").items():
        day = _day(tree(tree(agreement).get("deadlines")).get(which))
        if day and day < lab.today:
            covers = ", ".join(tree(agreement).get("covers") or ("the lab",))
            path = f"agreements.{name}.deadlines.{which}"
            yield Complaint(path, f"{covers} {told} {day}")


def _day(value: object) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None


def backup_coverage(lab: Lab) -> Iterator[Complaint]:
    """What a lab could not make again is copied elsewhere."""
    if lab.group("backups"):
        return
    for found, claim in _claims(lab):
        if claim in KEPT:
            yield Complaint(found.name, f"the volume {claim} has no backup")


def claims_known(lab: Lab) -> Iterator[Complaint]:
    """Nothing is kept on a volume of which no backup knows."""
    parents = {found.name: found.parent for found in lab.resources}
    for found, claim in _claims(lab):
        if claim not in KEPT | NOT_KEPT and COPIES not in _rooms(found, parents):
            yield Complaint(found.name, f"the volume {claim} is unknown to backups")


def _claims(lab: Lab) -> Iterator[tuple[Resource, str]]:
    """Each claim of a volume: whose it is, and what it is called."""
    for found in lab.all("PersistentVolumeClaim"):
        yield found, found.name
    for found in lab.all("StatefulSet"):
        for claim in trees(found.spec.get("volumeClaimTemplates")):
            name = tree(claim.get("metadata")).get("name", "?")
            yield found, f"{found.name}-{name}"


def _rooms(found: Resource, parents: Mapping[str, str]) -> Iterator[str]:
    name = found.parent
    while name:
        yield name
        name = parents.get(name, "")


def drill_fresh(lab: Lab) -> Iterator[Complaint]:
    """The last rehearsed restore is not too old, and was proved equal."""
    backups = lab.group("backups")
    if not backups or lab.drill is None:
        return
    ended = _moment(lab.drill.get("finished"))
    if ended is None:
        yield Complaint("backups.drill", "no restore was rehearsed yet")
    elif not lab.drill.get("ok"):
        yield Complaint("backups.drill", f"the drill of {ended} has failed")
    else:
        days = _every_days(backups)
        if lab.today - ended > timedelta(days=days * LATE):
            text = f"the last drill was on {ended}, with one due every {days} days"
            yield Complaint("backups.drill", text)


def _every_days(backups: Mapping[str, Any]) -> int:
    found = tree(backups.get("drill")).get("every_days", 7)
    return found if isinstance(found, int) else 7


def _moment(value: object) -> date | None:
    try:
        return datetime.fromisoformat(str(value)).date()
    except ValueError:
        return None


def drills_stop_releases(settings: Mapping[str, Any]) -> bool:
    """Whether releases wait while the last drill has failed, or is too old."""
    drill = tree(tree(settings.get("backups")).get("drill"))
    return drill.get("stops_releases") is True


RULES: tuple[Rule, ...] = (
    Rule(
        "agreement-present",
        "advisory",
        "Every release is under an agreement.",
        "Where nothing was promised, everything is expected.",
        "add an agreement that covers it, or one about the lab as a whole",
        agreement_present,
    ),
    Rule(
        "retired-in-time",
        "mandatory",
        "Nothing runs longer than was agreed.",
        "After that day nobody has promised to look after it.",
        "take it out of the lab, or agree on a later day",
        retired_in_time,
    ),
    Rule(
        "reviewed-in-time",
        "advisory",
        "Agreements are reviewed, and models retrained, by the day that was agreed.",
        "A promise that nobody looks at is soon one that nobody keeps.",
        "do it, or agree on a later day",
        reviewed_in_time,
    ),
    Rule(
        "backup-coverage",
        "advisory",
        "The database and the object store have a backup.",
        "A volume is lost with its disk, and with one wrong command.",
        "add `backups` to the settings",
        backup_coverage,
    ),
    Rule(
        "claims-known",
        "mandatory",
        "Backups know of every volume.",
        "What is kept on a new volume would be in no backup, and nobody would know.",
        "copy it in the keeper and name it in policies/rules/promises.py",
        claims_known,
    ),
    Rule(
        "drill-fresh",
        "advisory",
        "The last rehearsed restore is not too old, and succeeded.",
        "A backup that was never restored is a hope.",
        "run `lab drill now`, and mend what it says",
        drill_fresh,
        drills_stop_releases,
    ),
)
