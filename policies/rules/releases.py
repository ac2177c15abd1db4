"""Rules of releases: what is served, from what, and how to go back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .lab import Lab, Resource
from .rule import Complaint, Rule
from .workloads import RUNTIMES, containers, runtimes, tree

DIGEST = "labfactory.io/digest"
CARD = "labfactory.io/card"
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
LAB_SERVER = "model_server"
"""Module that serves models by their contract."""


def digest_pinned(lab: Lab) -> Iterator[Complaint]:
    """What is served is what was registered, byte for byte."""
    for found in _models(lab):
        if not _SHA256.fullmatch(str(_annotations(found).get(DIGEST))):
            yield Complaint(found.name, "its model is not pinned by a digest")


def card_present(lab: Lab) -> Iterator[Complaint]:
    """Each model that is served has a card."""
    for found in _models(lab):
        if not _annotations(found).get(CARD):
            yield Complaint(found.name, "its model has no card")


def contract_present(lab: Lab) -> Iterator[Complaint]:
    """Requests are checked against what the model was trained on."""
    strict = {
        found.owner.metadata.get("name")
        for found in runtimes(lab)
        if found.owner.kind in RUNTIMES
        and any(map(_serves_contracts, containers(found)))
    }
    for found in _models(lab):
        runtime = tree(tree(found.spec.get("predictor")).get("model")).get("runtime")
        if runtime not in strict:
            yield Complaint(found.name, "nothing checks requests against a contract")


def _serves_contracts(container: Any) -> bool:
    fields = container.fields
    words = [*(fields.get("command") or []), *(fields.get("args") or [])]
    return LAB_SERVER in words


def weights(lab: Lab) -> Iterator[Complaint]:
    """The variants of a release share all of its requests."""
    for release, variants in _releases(lab):
        total = sum(_number(each, "traffic") for each in variants.values())
        if total != 100:
            text = f"its variants get {total} per cent of the requests together"
            yield Complaint(f"releases.{release}", text)


def way_back(lab: Lab) -> Iterator[Complaint]:
    """While a candidate answers, what it would replace stays warm."""
    services = {
        found.metadata.get("name"): tree(found.spec.get("predictor"))
        for found in lab.all("InferenceService")
    }
    for release, variants in _releases(lab):
        if not _risky(variants):
            continue
        backs = [n for n, each in variants.items() if each.get("role") in ROLES_BACK]
        if not any(_warm(services.get(f"{release}-{name}")) for name in backs):
            text = "takes requests to a candidate, with nothing warm to go back to"
            yield Complaint(f"releases.{release}", text)


ROLES_BACK = ("stable", "previous")
"""Variants that a release goes back to."""


def _risky(variants: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(
        each.get("role") == "candidate" and _number(each, "traffic") > 0
        for each in variants.values()
    )


def _warm(predictor: Mapping[str, Any] | None) -> bool:
    return predictor is not None and predictor.get("minReplicas", 1) > 0


def _releases(lab: Lab) -> Iterator[tuple[str, dict[str, Mapping[str, Any]]]]:
    """Each release of the settings, and its variants."""
    for name, release in lab.group("releases").items():
        variants = tree(tree(release).get("variants"))
        yield name, {key: tree(each) for key, each in variants.items()}


def _number(variant: Mapping[str, Any], key: str) -> int:
    found = variant.get(key, 0)
    return found if isinstance(found, int) else 0


def _models(lab: Lab) -> Iterator[Resource]:
    """InferenceServices that serve a model out of a store."""
    for found in lab.all("InferenceService"):
        predictor = tree(found.spec.get("predictor"))
        if tree(predictor.get("model")).get("storageUri"):
            yield found


def _annotations(found: Resource) -> Mapping[str, Any]:
    return tree(found.metadata.get("annotations"))


RULES: tuple[Rule, ...] = (
    Rule(
        "digest-pinned",
        "mandatory",
        "Every model that is served is pinned by the digest of its files.",
        "A file that was exchanged in the store would be served without a word.",
        "release it with `lab release`, which writes the digest",
        digest_pinned,
    ),
    Rule(
        "card-present",
        "advisory",
        "Every model that is served has a card.",
        "Who uses it has to know what it was made from, and what it is bad at.",
        "release it with `lab release`, which writes the card",
        card_present,
    ),
    Rule(
        "contract-present",
        "advisory",
        "Requests are checked against the model's contract.",
        "A request with a wrong column gets an answer, and a wrong one.",
        "serve it by a template of the lab's own model server, such as `mlflow`",
        contract_present,
    ),
    Rule(
        "weights",
        "mandatory",
        "The traffic of a release's variants sums up to 100.",
        "What is missing is answered by nobody, or by whom the gateway picks.",
        "give the variants `traffic` that sums up to 100",
        weights,
    ),
    Rule(
        "way-back-warm",
        "mandatory",
        "While a candidate answers, a stable or previous variant is warm.",
        "A rollback has to be a matter of weights, not of waiting for pods.",
        "keep the stable variant with at least one replica",
        way_back,
    ),
)
