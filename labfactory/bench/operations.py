"""Promises kept: drills, backups, policies, secrets; each part has a name of its own.

`lab bench operations` measures all of them, `lab bench operations-policies` one.
"""

from __future__ import annotations

from collections.abc import Callable

from labfactory.bench import (
    operations_drills,
    operations_policies,
    operations_rules,
    operations_secrets,
    operations_throughput,
)
from labfactory.bench.figure import Figure
from labfactory.bench.ground import Ground
from labfactory.bench.operations_lab import backed_up

SAMPLE = 200
"""Mutants of the rules that are tried: some minutes; all of them take an hour."""


def secrets(ground: Ground, runs: int) -> list[Figure]:
    """Look for every secret in a lab with a backup; once, whatever `runs` says."""
    backed_up(ground)
    return operations_secrets.measure(ground, runs)


def rules(ground: Ground, runs: int) -> list[Figure]:
    """Try a sample of mutants; always the same, so once is all there is to know."""
    with ground.progress.step(f"{SAMPLE} mutants of the rules", estimate=1.5 * SAMPLE):
        return operations_rules.rules(SAMPLE)


PARTS: dict[str, Callable[[Ground, int], list[Figure]]] = {
    "operations-drills": operations_drills.measure,
    "operations-secrets": secrets,
    "operations-policies": operations_policies.previews,
    "operations-throughput": operations_throughput.measure,
    "operations-check": operations_policies.check,
    # Needs cosmic-ray: where that is missing, everything else is saved by then.
    "operations-rules": rules,
}
"""Those that need a lab use the same one."""
