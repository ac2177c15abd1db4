"""How a release is joined, and what is counted of it."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, Self

from stacks.schema import ReleaseConfig
from stacks.watching import AgreementRule, QualityRule


class Rules(NamedTuple):
    """What of a release's settings says how to join."""

    variants: tuple[str, ...]
    shadows: frozenset[str]
    quality: QualityRule | None
    agreement: AgreementRule | None

    @classmethod
    def of(cls, release: ReleaseConfig) -> Self | None:
        """The rules of a release; None when it has none that need predictions."""
        guard, variants = release.guard, release.variants
        if not (guard.quality or guard.agreement):
            return None
        shadows = frozenset(n for n, v in variants.items() if v.role == "shadow")
        return cls(tuple(variants), shadows, guard.quality, guard.agreement)


class Tally:
    """What is counted, by variant, shadow or reason."""

    def __init__(self) -> None:
        """Start at 0."""
        self.labelled: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.compared: Counter[str] = Counter()
        self.agreed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.unknown = 0
        self.duplicate = 0
