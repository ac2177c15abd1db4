"""Hold a lab against the rules, each at the level that the lab's settings give it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from .lab import Lab
from .rule import Complaint, Level, Rule

EXIST = "policies-exist"


class Finding(NamedTuple):
    """A breach, and how much it weighs in this lab."""

    rule: Rule
    level: Level
    complaint: Complaint
    broken: bool = False
    """Whether the rule itself could not be asked."""

    @property
    def told(self) -> str:
        """The breach as one sentence, without the name of its rule."""
        where, text = self.complaint
        if self.broken:
            return f"{where}: {text}; mend the rule, or set `{where}.level` to off"
        return self.rule.told(self.complaint)


def level(rule: Rule, settings: Mapping[str, Any]) -> Level | Literal["off"]:
    """How a breach of the rule is taken in a lab with these settings."""
    policies = settings.get("policies")
    own = policies.get(rule.name) if isinstance(policies, Mapping) else None
    said = own.get("level") if isinstance(own, Mapping) else None
    if said in ("mandatory", "advisory", "off"):
        found: Level | Literal["off"] = said
        return found
    return "mandatory" if rule.strict_when(settings) else rule.level


def findings(lab: Lab, rules: Iterable[Rule]) -> Iterator[Finding]:
    """Every breach of every rule that is not off.

    A rule that raises is a breach too, and always a mandatory one: what was not
    looked at must not pass. What it says stays unsaid; it may quote a secret.
    """
    for rule in rules:
        weight = level(rule, lab.settings)
        if weight == "off":
            continue
        try:
            found = list(rule.check(lab))
        except Exception as error:
            text = f"the rule has raised {type(error).__name__}, and was not looked at"
            where = Complaint(f"policies.{rule.name}", text)
            yield Finding(rule, "mandatory", where, broken=True)
        else:
            for complaint in found:
                yield Finding(rule, weight, complaint)


def exist(names: Collection[str]) -> Rule:
    """The rule that the settings speak only of rules that there are."""

    def check(lab: Lab) -> Iterator[Complaint]:
        for name in lab.group("policies"):
            if name not in (*names, EXIST):
                close = get_close_matches(name, names)
                hint = f" (did you mean {close[0]}?)" if close else ""
                yield Complaint(f"policies.{name}", f"there is no such rule{hint}")

    return Rule(
        EXIST,
        "mandatory",
        "The settings speak only of rules that there are.",
        "A rule that was meant to be mandatory, and is misspelt, is not looked at.",
        "take it out, or spell it as `lab check` does",
        check,
    )
