"""What the settings say of agreements, releases and secrets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from labfactory.inventory.things import Row
from model_templates.manifests import card_address
from stacks.promises import AgreementConfig
from stacks.schema import PROJECT, LabConfig

AGREEMENTS = (
    "name",
    "covers",
    "owner",
    "consumers",
    "promised",
    "monthly",
    "deadlines",
)
MODELS = (
    *("model", "version", "serves", "role", "card"),
    *("agreement", "consumers", "made"),
)


@dataclass(frozen=True)
class Registered:
    """A version of a model, as the registry has it."""

    model: str
    version: int
    artifact: str
    made: str
    """Time, as ISO 8601 in UTC."""
    has_card: bool


def agreements(lab: LabConfig) -> Iterator[Row]:
    """A row for each agreement, the one about the whole lab first."""
    for name, each in sorted(lab.agreements.items(), key=lambda i: (i[1].covers, i[0])):
        covers = ", ".join(each.covers) or "the lab"
        owner = each.owner or lab.owner
        consumers = ", ".join(each.consumers)
        monthly = f"{each.cost.monthly:g} {lab.costs.currency}" if each.cost else None
        clauses = "; ".join(_clauses(each))
        yield name, covers, owner, consumers, clauses, monthly, _deadlines(each)


def models(lab: LabConfig, registered: Iterable[Registered]) -> list[Row]:
    """A row for each version in the registry, and for each variant that is none.

    A version that several variants serve has a row for each.
    """
    known = {each.artifact: each for each in registered}
    served = {
        variant.artifact
        for r in lab.releases.values()
        for variant in r.variants.values()
    }
    rows: list[Row] = []
    for release, config in lab.releases.items():
        agreed = lab.agreement_of(release)
        under = agreed[0] if agreed else None
        consumers = ", ".join(agreed[1].consumers) if agreed else None
        for name, variant in config.variants.items():
            where, role = f"{release}/{name}", variant.role
            found = known.get(variant.artifact or "")
            if found:
                which, card, made = _version(found), _card(found), found.made
            elif variant.external:
                host = urlsplit(variant.external.url).netloc
                which, card, made = (host, "external"), None, None
            else:
                which, card, made = (release, str(variant.version)), None, None
            rows.append((*which, where, role, card, under, consumers, made))
    for found in known.values():
        if found.artifact not in served:
            rest = (None, None, _card(found), None, None, found.made)
            rows.append((*_version(found), *rest))
    return sorted(rows, key=_order)


def stack_secrets(config: Mapping[str, object]) -> Iterator[Row]:
    """A row for each secret in a stack file's `config`: its key, never its value."""
    for key, value in sorted(config.items()):
        if isinstance(value, Mapping) and "secure" in value:
            name = key.removeprefix(f"{PROJECT}:")
            yield name, "stack file", None, name, None, "pulumi"


def _clauses(agreement: AgreementConfig) -> Iterator[str]:
    promised = agreement.objectives
    if promised.availability:
        yield f"{promised.availability:.3%} of requests answered"
    if promised.latency:
        share, seconds = promised.latency.share, promised.latency.seconds
        yield f"{share:.3%} within {seconds:g} s"
    if promised.freshness_days:
        yield f"a model of {promised.freshness_days} days at most"
    if promised.quality:
        yield f"{promised.quality:.3%} of predictions right"
    if agreement.recovery:
        recovery = agreement.recovery
        yield f"back in {recovery.rto_minutes} min, losing {recovery.rpo_minutes} min"


def _deadlines(agreement: AgreementConfig) -> str:
    found = agreement.deadlines
    dated = (
        ("retrain by", found.retrain_by),
        ("review by", found.review_by),
        ("retire by", found.retire_by),
    )
    return ", ".join(f"{what} {day}" for what, day in dated if day)


def _version(found: Registered) -> tuple[str, str]:
    return found.model, str(found.version)


def _card(found: Registered) -> str | None:
    return card_address(found.artifact) if found.has_card else None


def _order(row: Row) -> tuple[str, int, str]:
    version = str(row[1])
    return str(row[0]), int(version) if version.isdigit() else 0, str(row[2])
