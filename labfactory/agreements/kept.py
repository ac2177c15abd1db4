"""Promised beside measured, clause by clause, and whether it is kept. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from labfactory.agreements.measured import Measured, days_kept
from labfactory.agreements.promised import SHARES, money, promised, share
from stacks.promises import AgreementConfig
from stacks.schema import LabConfig

DUE_DAYS = 14
CALLED = {"quality": "labels", "availability": "requests", "latency": "answers"}


@dataclass(frozen=True)
class Row:
    """One clause, of one release where it is about releases."""

    clause: str
    promised: str
    release: str | None = None
    measured: str | None = None
    """None when it is unknown."""
    kept: bool | None = None
    """None when nobody knows."""
    left: float | None = None
    """Part of the error budget, of the budget or of the time that is left; below zero
    when more than that is gone."""
    note: str = ""
    """Why it is unknown, or what else has to be known."""


@dataclass(frozen=True)
class Account:
    """One agreement, and what became of it."""

    agreement: str
    owner: str
    consumers: tuple[str, ...]
    releases: tuple[str, ...]
    """Those that are under it."""
    rows: tuple[Row, ...]

    @property
    def is_kept(self) -> bool | None:
        """False when a clause is broken, None when one is unknown."""
        found = {row.kept for row in self.rows}
        return False if False in found else (None if None in found else True)


def accounts(lab: LabConfig, found: Measured, *, now: datetime) -> tuple[Account, ...]:
    """What became of each agreement of `lab`."""
    under: dict[str, list[str]] = {name: [] for name in lab.agreements}
    for release in lab.releases:
        if at := lab.agreement_of(release):
            under[at[0]].append(release)
    return tuple(
        Account(
            agreement=name,
            owner=agreement.owner or lab.owner,
            consumers=agreement.consumers,
            releases=tuple(under[name]),
            rows=tuple(_rows(lab, name, under[name], found, now)),
        )
        for name, agreement in lab.agreements.items()
    )


def _rows(
    lab: LabConfig, name: str, releases: list[str], found: Measured, now: datetime
) -> Iterator[Row]:
    agreement = lab.agreements[name]
    said = promised(lab, agreement)
    for release in releases:
        for clause in SHARES:
            if clause in said:
                yield _share(lab, agreement, clause, said[clause], release, found)
        if "freshness" in said:
            yield _freshness(agreement, said["freshness"], release, found, now)
    if "cost" in said:
        yield _cost(lab, name, said["cost"], found, now.date())
    for clause, day in agreement.deadlines:
        if day is not None:
            yield _deadline(clause, day, now.date())
    yield from _capacity(lab, agreement, found)
    yield from _recovery(lab, agreement, said, found, now)


def _share(
    lab: LabConfig,
    agreement: AgreementConfig,
    clause: str,
    text: str,
    release: str,
    found: Measured,
) -> Row:
    said = agreement.objectives
    shares = {
        "availability": said.availability,
        "latency": said.latency.share if said.latency else None,
        "quality": said.quality,
    }
    least = shares[clause] or 0
    days = days_kept(lab, said.window_days)
    failed = found.failed.get((release, clause))
    if failed is None:
        nothing = f"no {CALLED[clause]} were measured in {days} days"
        return _unknown(clause, text, release, found.why.get("failed", nothing))
    left = 1 - failed / (1 - least)
    short = f"measurements are kept for {days} days only"
    return Row(
        clause,
        text,
        release,
        measured=share(round(1 - failed, 7)),
        # What floating point adds breaks no promise.
        kept=left > -1e-6,
        left=left,
        note=short if days < said.window_days else "",
    )


def _freshness(
    agreement: AgreementConfig,
    text: str,
    release: str,
    found: Measured,
    now: datetime,
) -> Row:
    most = agreement.objectives.freshness_days
    made = found.made.get(release)
    if made is None or most is None:
        why = found.why.get(f"made/{release}") or found.why.get("made", "not asked")
        return _unknown("freshness", text, release, why)
    age = (now - made).days
    return Row(
        "freshness",
        text,
        release,
        measured=f"{_days(age)} old",
        kept=age <= most,
        left=1 - age / most,
        note=f"registered on {made:%Y-%m-%d}",
    )


def _cost(lab: LabConfig, name: str, text: str, found: Measured, today: date) -> Row:
    clause = lab.agreements[name].cost
    spent = found.costs.get(name)
    if spent is None or clause is None:
        why = found.why.get("costs", "the costs do not name this agreement")
        return _unknown("cost", text, None, why)
    leave = clause.override
    allowed, note = clause.monthly, ""
    if leave and today <= leave.until:
        allowed, note = leave.monthly, f"the override holds until {leave.until}"
    elif leave:
        note = f"the override has expired on {leave.until}"
    return Row(
        "cost",
        text,
        measured=f"{money(spent, lab.costs.currency)} a month",
        kept=round(spent, 2) <= allowed,
        left=1 - spent / allowed,
        note=note,
    )


def _deadline(clause: str, day: date, today: date) -> Row:
    days = (day - today).days
    text = f"{_days(days)} left" if days >= 0 else f"overdue by {_days(-days)}"
    return Row(
        clause,
        str(day),
        measured=text,
        kept=days >= 0,
        note="soon" if 0 <= days <= DUE_DAYS else "",
    )


def _capacity(
    lab: LabConfig, agreement: AgreementConfig, found: Measured
) -> Iterator[Row]:
    """What is taken of each limit; releases are counted in the settings."""
    for what, most in agreement.capacity or ():
        if most is None:
            continue
        text, used = f"{what} {most}", found.used.get(what)
        if what == "releases":
            count = len(lab.releases)
            yield Row("capacity", text, measured=f"{count}", kept=count <= most)
        elif used is None:
            why = found.why.get("used", f"the ResourceQuota does not count {what}")
            yield _unknown("capacity", text, None, why)
        else:
            yield Row("capacity", text, measured=used.amount, kept=used.is_within)


def _recovery(
    lab: LabConfig,
    agreement: AgreementConfig,
    said: dict[str, str],
    found: Measured,
    now: datetime,
) -> Iterator[Row]:
    """What the last drill has shown; an old one shows nothing."""
    from labfactory.backups.history import fresh
    from labfactory.backups.history import said as at

    if agreement.recovery is None:
        return
    every = lab.backups.drill.every_days if lab.backups else 0
    why = found.why.get("drills") or fresh(found.drills, every, now)
    for clause in ("rpo", "rto"):
        if why:
            failed = bool(found.drills) and not found.drills[-1].ok
            yield Row(clause, said[clause], kept=False if failed else None, note=why)
            continue
        last = found.drills[-1]
        most = 60 * getattr(agreement.recovery, f"{clause}_minutes")
        seconds = getattr(last, f"{clause}_seconds")
        if seconds is None:
            why = "the last drill did not measure it"
            yield _unknown(clause, said[clause], None, why)
            continue
        yield Row(
            clause,
            said[clause],
            measured=f"{seconds / 60:.1f} min",
            kept=seconds <= most,
            left=1 - seconds / most,
            note=f"by the drill of {at(last.finished)}",
        )


def _unknown(clause: str, text: str, release: str | None, why: str) -> Row:
    return Row(clause, text, release, note=why)


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"
