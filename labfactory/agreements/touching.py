"""Which clauses a change of one thing touches, whoever was promised them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from labfactory.agreements.promised import SHARES
from stacks import rules
from stacks.promises import BackupsConfig
from stacks.schema import LabConfig, MinioStorage, ReleaseConfig, VariantConfig

Touch = tuple[str, str]
"""A clause, and what changes."""
SERVED = {
    "template": "is served by {new} instead of {old}",
    "replicas": "has {new} predictors of each variant instead of {old}",
    "sticky": "keeps users on a variant by {new} instead of {old}",
    "serve": "is served by {new} instead of {old}",
}
"""Settings of a release that answers depend on."""
NONE = "no requests"
RECOVERY = {"drill": ("rto",), "keep": ("rpo",), "staging": ("rpo", "rto")}
"""Clauses by part of `backups`; the rest touches both."""


def of_release(name: str, old: ReleaseConfig, new: ReleaseConfig) -> Iterator[Touch]:
    """A release that stays, with other settings."""
    for text in _answering(old, new):
        yield from _all(SHARES, f"{name}: {text}")
    for field, told in SERVED.items():
        was, now = getattr(old, field), getattr(new, field)
        if was != now:
            text = told.format(old=_shown(was), new=_shown(now))
            yield from _all((*SHARES[:2], "cost"), f"{name} {text}")
    for path, was, now in _differences(old.resources, new.resources):
        text = f"{name}: resources.{path} is {now} instead of {was}"
        yield from _all((*SHARES[:2], "cost"), text)
    before, after = _model(old), _model(new)
    if before != after:
        text = f"{name}: the stable variant has {after} instead of {before}"
        yield from _all(("freshness", "retrain_by"), text)
    for text in _running(old, new):
        yield "cost", f"{name}: {text}"


def removed(name: str, *, is_kept: bool) -> Iterator[Touch]:
    """A release that is under the agreement no more, or out of the lab."""
    text = f"{name} is under it no more" if is_kept else f"{name} is taken out"
    yield from _all((*SHARES, "freshness", "cost"), text)
    if not is_kept:
        yield "retire_by", text


def reserved(before: LabConfig, after: LabConfig) -> Iterator[Touch]:
    """What the predictors of all releases reserve, and how many releases there are."""
    was, now = _reserved(before), _reserved(after)
    for what, amount in now.items():
        if amount != was[what]:
            text = f"{what} {amount} instead of {was[what]}"
            yield "capacity", text


def of_volumes(before: LabConfig, after: LabConfig) -> Iterator[Touch]:
    """Volumes of the lab's parts that are of another size."""
    was, now = _volumes(before), _volumes(after)
    for path in dict.fromkeys((*was, *now)):
        if was.get(path) != now.get(path):
            size, other = now.get(path, "none"), was.get(path, "none")
            yield from _all(
                ("capacity", "cost"), f"{path} is {size} instead of {other}"
            )


def of_backups(old: BackupsConfig | None, new: BackupsConfig | None) -> Iterator[Touch]:
    """Settings of the backups that are others."""
    for path, was, now in _differences(old, new):
        where = f"backups.{path}" if path else "backups"
        clauses = RECOVERY.get(path.partition(".")[0], ("rpo", "rto"))
        yield from _all(clauses, f"{where} is {now} instead of {was}")


def _all(clauses: tuple[str, ...], text: str) -> Iterator[Touch]:
    return ((clause, text) for clause in clauses)


def _answering(old: ReleaseConfig, new: ReleaseConfig) -> Iterator[str]:
    """What changes in who answers which requests."""
    for name in dict.fromkeys((*old.variants, *new.variants)):
        was, now = _share(old.variants.get(name)), _share(new.variants.get(name))
        if was != now:
            yield f"{name} gets {now} instead of {was}"
        elif now != NONE:
            before, after = (_content(each.variants[name]) for each in (old, new))
            if before != after:
                yield f"{name} with {now} is {after} instead of {before}"


def _share(variant: VariantConfig | None) -> str:
    if variant is None or variant.role == "shadow":
        return NONE
    parts = [f"{variant.traffic} % of the requests"] if variant.traffic else []
    if variant.match:
        where = variant.match.header or variant.match.cookie
        parts.append(f"those with {where}: {variant.match.value}")
    return " and ".join(parts) or NONE


def _content(variant: VariantConfig) -> str:
    if variant.external:
        return f"the endpoint {variant.external.url}"
    return f"version {variant.version} ({str(variant.digest)[:19]})"


def _model(release: ReleaseConfig) -> str:
    return _content(release.variants[release.stable()])


def _running(old: ReleaseConfig, new: ReleaseConfig) -> Iterator[str]:
    """What changes in what runs, besides answers."""
    for name in dict.fromkeys((*old.variants, *new.variants)):
        if name not in old.variants:
            yield f"{name} is added"
        elif name not in new.variants:
            yield f"{name} is taken out"
    for path, was, now in _differences(old.batch, new.batch):
        where = f"batch.{path}" if path else "batch"
        yield f"{where} is {now} instead of {was}"


def _reserved(lab: LabConfig) -> dict[str, str]:
    pods, cpu, memory = 0, 0, 0
    for release in lab.releases.values():
        own = len(release.variants) * release.replicas
        asked = release.resources.requests
        pods += own
        cpu += own * round(rules.amount(asked.cpu) * 1000)
        memory += own * round(rules.amount(asked.memory)) // 2**20
    return {
        "predictors reserve cpu": f"{cpu}m",
        "predictors reserve memory": f"{memory}Mi",
        "predictors: pods": str(pods),
        "releases": str(len(lab.releases)),
    }


def _volumes(lab: LabConfig) -> dict[str, str]:
    found = {"tracking.capacity": lab.tracking.capacity}
    if isinstance(lab.storage, MinioStorage):
        found["storage.capacity"] = lab.storage.capacity
    if lab.monitoring:
        found["monitoring.capacity"] = lab.monitoring.capacity
    if lab.backups:
        found["backups.staging"] = lab.backups.staging
        if lab.backups.store.kind == "minio":
            found["backups.store.capacity"] = lab.backups.store.capacity
    return found


def _differences(old: Any, new: Any) -> Iterator[tuple[str, str, str]]:
    """Path, old and new value of what differs between two sections."""
    if old is None or new is None:
        if old is not new:
            yield "", *(("there", "none") if old else ("none", "there"))
        return
    was, now = (_flat(each.model_dump(mode="json")) for each in (old, new))
    for path in dict.fromkeys((*was, *now)):
        if was.get(path) != now.get(path):
            yield path, _shown(was.get(path)), _shown(now.get(path))


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return " and ".join(map(str, value))
    return "none" if value is None else str(value)
