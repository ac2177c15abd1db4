"""What a check has found, for a terminal: by rule, and by stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labfactory.check.checked import SETTINGS, Checked
from policies.rules import RULES


def show(checked: Sequence[Checked]) -> None:
    """Print every breach, and how many there are."""
    for line in lines(checked):
        print(line)


def lines(checked: Sequence[Checked]) -> Iterator[str]:
    """Each rule that is broken somewhere, where it is, and a line that sums up."""
    for rule in (SETTINGS, *RULES):
        broken = [
            (each, breach)
            for each in checked
            for breach in each.breaches
            if breach.rule == rule
        ]
        if broken:
            yield f"{rule}: {RULES[rule].what}" if rule in RULES else rule
        for each, breach in broken:
            yield f"  {each.file}:{breach.line}: {breach.level}: {breach.told}"
    levels = [breach.level for each in checked for breach in each.breaches]
    refused = [each.stack for each in checked if not each.ok]
    outcome = f"refused: {', '.join(refused)}" if refused else "nothing is refused"
    yield (
        f"{len(RULES)} rules, {_count(len(checked), 'stack')}: "
        f"{levels.count('mandatory')} mandatory, {levels.count('advisory')} advisory; "
        f"{outcome}"
    )


def table() -> str:
    """Every rule as a row of Markdown; docs/ci.md holds it."""
    rows = ["| rule | level | what has to hold |", "|---|---|---|"]
    rows += [
        f"| `{each.name}` | {each.level} | {each.what} |" for each in RULES.values()
    ]
    return "\n".join(rows) + "\n"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
