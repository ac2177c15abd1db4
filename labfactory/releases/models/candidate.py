"""A model version on its way to a release: admitted with its card, or refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from labfactory.errors import LabError
from labfactory.releases.models import admission, card
from labfactory.releases.models.admission import ENVIRONMENT
from labfactory.releases.models.contract import Contract, Difference, compare
from labfactory.releases.models.registry import Location, ModelVersion, Registry
from labfactory.releases.models.server import NotThere
from model_templates.manifests import card_address

INFLUENCE = "influence.json"
"""Artifact of a run: how much each feature counts."""
REFERENCE = "reference.json"
"""Artifact of a run: how inputs and predictions spread in training."""


@dataclass(frozen=True)
class Admitted:
    """A version that may be released: pinned, compared, described."""

    found: ModelVersion
    contract: Contract
    difference: Difference | None
    """None when there is no stable variant to compare with."""
    card: dict[str, Any]
    reference: bytes | None = None
    """What the model server compares its inputs with; None when the run has none."""


def admit(
    registry: Registry,
    model: str,
    version: str,
    *,
    stable: tuple[str, str] | None,
    owner: str,
) -> Admitted:
    """Return the version (a number or an alias) of `model` with all a release says.

    `stable` is model and version of the variant that it may replace; `owner` answers
    for the model where its run names nobody. Raises LabError when the version or its
    artifact does not exist, and, with all that is missing, when its run lacks what a
    release must say. A breaking difference is no error here.
    """
    at = registry.locate(model, version)
    if not at.run_id:
        raise LabError(
            f"{at}: it was registered without a run, so nothing says what it was made "
            f"from; register it from its run: "
            f'mlflow.register_model("runs:/RUN_ID/model", "{model}")'
        )
    run, files = registry.run(at.run_id), registry.run_files(at.run_id)
    if lacking := admission.problems(run, files):
        raise LabError(f"{at}: it can't be released:" + "".join(map(_item, lacking)))
    contract = registry.contract_at(at)
    difference = None
    if stable:
        difference = compare(_contract_of_stable(registry, *stable), contract)
    found = registry.pin(at)
    return Admitted(
        found,
        contract,
        difference,
        card.card(
            found,
            run,
            contract,
            owner=owner,
            description=registry.description(model),
            influence=registry.run_object(at.run_id, INFLUENCE),
            environment=_text(registry, at, ENVIRONMENT),
            stable=stable,
            difference=difference,
        ),
        registry.run_artifact(at.run_id, REFERENCE) if REFERENCE in files else None,
    )


def publish(registry: Registry, admitted: Admitted) -> None:
    """Put the card, and the reference, beside the artifact; older ones are replaced."""
    page = card_address(admitted.found.artifact)
    data = json.dumps(admitted.card, indent=2, ensure_ascii=False) + "\n"
    registry.write(page.removesuffix(".html") + ".json", data.encode())
    registry.write(page, card.html(admitted.card).encode())
    if admitted.reference is not None:
        registry.write(f"{page.rpartition('/')[0]}/{REFERENCE}", admitted.reference)


def _contract_of_stable(registry: Registry, model: str, version: str) -> Contract:
    try:
        return registry.contract(model, version)
    except NotThere:
        return Contract()  # it was deleted: nobody can tell what its callers send


def _text(registry: Registry, at: Location, path: str) -> str:
    return registry.run_artifact(at.run_id, path).decode(errors="replace")


def _item(problem: str) -> str:
    return f"\n  - {problem}"
