"""How requests are shared out by a release's HTTPRoute, read back from it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from model_templates.routes import REQUEST_ID, preview_path

HEX_PAIRS = [f"{number:02x}" for number in range(256)]


@dataclass(frozen=True)
class Traffic:
    """Who answers which requests of a release."""

    weights: Mapping[str, int] = field(default_factory=dict)
    """Per cent of the requests by variant; those that may take some at 0 too."""
    mirrors: Mapping[str, int] = field(default_factory=dict)
    """Per cent of the requests that a shadow gets copies of."""
    matches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Header matches by the variant that answers them, whatever the weights say."""
    stable: str | None = None
    """The one variant that needs no preview address."""

    def answers(self, variant: str) -> bool:
        """Whether a caller may get an answer of the variant at the release's address.

        Copies of requests do not count: nobody waits for what a shadow says.
        """
        return self.weights.get(variant, 0) > 0 or variant in self.matches


def read(release: str, route: Mapping[str, Any]) -> Traffic:
    """Return the traffic that the manifest of a release's HTTPRoute means."""
    weights: dict[str, int] = {}
    mirrors: dict[str, int] = {}
    matches: dict[str, list[str]] = {}
    previewed = set()
    for rule in route.get("spec", {}).get("rules", []):
        shares = _shares(release, rule)
        if previews := _previewed(rule, shares):
            previewed |= previews
            continue
        wanted, percent = _conditions(rule)
        for shadow in _shadows(release, rule):
            mirrors[shadow] = max(percent, mirrors.get(shadow, 0))
        if not wanted:
            weights = shares
            continue
        for variant in shares:
            matches.setdefault(variant, []).append(" and ".join(wanted))
    return Traffic(
        weights=_per_cent(weights),
        mirrors=mirrors,
        matches={name: tuple(dict.fromkeys(all_)) for name, all_ in matches.items()},
        stable=next((name for name in weights if name not in previewed), None),
    )


def _shares(release: str, rule: Mapping[str, Any]) -> dict[str, int]:
    """Each backend's weight; one that has none counts as 1, as in the Gateway API."""
    return {
        _variant(release, backend): backend.get("weight", 1)
        for backend in rule.get("backendRefs", [])
    }


def _per_cent(weights: Mapping[str, int]) -> dict[str, int]:
    whole = sum(weights.values()) or 1
    return {name: round(100 * weight / whole) for name, weight in weights.items()}


def _previewed(rule: Mapping[str, Any], variants: Mapping[str, int]) -> set[str]:
    """The variants that a rule is the preview address of."""
    paths = [match.get("path", {}).get("value", "") for match in rule["matches"]]
    return {
        variant
        for variant in variants
        if any(path.startswith(f"{preview_path(variant)}/") for path in paths)
    }


def _conditions(rule: Mapping[str, Any]) -> tuple[list[str], int]:
    """The headers that a request must have, and the per cent of those that is meant.

    The sample of a shadow is a match of the request id's first two digits.
    """
    wanted, percent = [], 100
    # The matches of a rule differ in their paths alone.
    for header in rule["matches"][0].get("headers", []):
        if header["name"] == REQUEST_ID:
            percent = _sampled(header["value"])
        else:
            sign = "=" if header.get("type", "Exact") == "Exact" else "~"
            wanted.append(f"{header['name']} {sign} {header['value']}")
    return wanted, percent


def _sampled(expression: str) -> int:
    matching = sum(bool(re.fullmatch(expression, pair)) for pair in HEX_PAIRS)
    return round(100 * matching / len(HEX_PAIRS))


def _shadows(release: str, rule: Mapping[str, Any]) -> Iterator[str]:
    for each in rule.get("filters", []):
        if mirror := each.get("requestMirror"):
            yield _variant(release, mirror["backendRef"])


def _variant(release: str, backend: Mapping[str, Any]) -> str:
    name: str = backend["name"]
    return name.removeprefix(f"{release}-").removesuffix("-predictor")
