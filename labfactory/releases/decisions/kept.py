"""What the guard keeps of each variant in its state, and its form as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from labfactory.releases.decisions.case import Case
from labfactory.releases.decisions.observed import State
from labfactory.releases.decisions.reference import Reference
from labfactory.releases.decisions.trial import Trial
from stacks.schema import ReleaseConfig, VariantConfig

VERSION = 1
"""Of the form below; another one is not read."""


@dataclass
class Kept:
    """What is kept of one variant."""

    model: str
    """Which model it is: another one under the same name begins with nothing."""
    reference: Reference = field(default_factory=Reference)
    trial: Trial = field(default_factory=Trial)
    """As a candidate, or after it has been promoted."""
    own: Trial = field(default_factory=Trial)
    """As the stable variant, against its own limits."""
    disagreement: dict[str, Case] = field(default_factory=dict)
    """As a shadow, by the share that must agree."""


def read(state: State, settings: ReleaseConfig) -> dict[str, Kept]:
    """What is kept of each variant that there is; nothing when it can't be read."""
    trials = state.trials if isinstance(state.trials, Mapping) else {}
    return {
        name: _read(trials.get(name), model(variant))
        for name, variant in settings.variants.items()
    }


def written(kept: Mapping[str, Kept]) -> dict[str, dict[str, Any]]:
    """The same as JSON values, without what is empty."""
    found = {}
    for name, each in kept.items():
        parts: dict[str, Any] = {}
        if each.reference != Reference():
            parts["reference"] = each.reference.written()
        if each.trial != Trial():
            parts["trial"] = each.trial.written()
        if each.own != Trial():
            parts["own"] = each.own.written()
        if each.disagreement:
            cases = {share: case.written() for share, case in each.disagreement.items()}
            parts["disagreement"] = cases
        if parts:
            found[name] = {"version": VERSION, "model": each.model, **parts}
    return found


def model(variant: VariantConfig) -> str:
    """Which model a variant is, in a few letters."""
    if variant.digest:
        return variant.digest[-12:]
    url = variant.external.url if variant.external else ""
    return f"{crc32(str(url).encode()):08x}"


def _read(found: Any, model: str) -> Kept:
    kept = Kept(model)
    try:
        if (found["version"], found["model"]) != (VERSION, model):
            return kept
        cases = found.get("disagreement", {})
        return Kept(
            model,
            Reference.read(found["reference"]) if "reference" in found else Reference(),
            Trial.read(found["trial"]) if "trial" in found else Trial(),
            Trial.read(found["own"]) if "own" in found else Trial(),
            {share: Case.read(each) for share, each in cases.items()},
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return kept
