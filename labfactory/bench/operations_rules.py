"""How many changes of the policy rules their tests notice: cosmic-ray's mutants.

Each mutant is one small change of one rule (a comparison, a number, a constant), in a
copy of the project. A test that fails kills it. Type hints are left out: nothing runs
them.
"""

from __future__ import annotations

import ast
import os
import random
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from labfactory import paths
from labfactory.bench.figure import Aim, Figure
from labfactory.errors import LabError

COPIED = [
    "components",
    "images",
    "labfactory",
    "model_templates",
    "policies",
    "stacks",
    "tests",
]
"""Folders of the copy: what tests of rules import."""
TESTS = ("tests/test_policy_*.py", "tests/test_budget.py", "tests/test_costs.py")
SLOW = "not house and not pack"
"""Tests that say nothing about a single rule, and take longer than all others."""
SEED = 20_260_101
LONGEST = 60
"""Seconds after which a mutant hangs: noticed too."""
MOST = 40
"""Survivors that are named."""


def rules(sample: int | None = None, *, seed: int = SEED) -> list[Figure]:
    """The share of mutants that are killed; of so many, picked by `seed`, or of all.

    One mutant takes about a second and a half. Raises LabError without cosmic-ray.
    """
    killed, survived = mutate(sample, seed)
    total = killed + len(survived)
    return [
        Figure(
            f"changes of the policy rules that a test notices, of {total}",
            "",
            "%",
            Aim(90, of="value", at_least=True),
            (100 * killed / total,),
            note="; ".join(survived[:MOST]),
        )
    ]


def mutate(sample: int | None, seed: int) -> tuple[int, list[str]]:
    """How many mutants were killed, and where each other one is."""
    try:
        from cosmic_ray.mutating import (  # type: ignore[import-untyped]
            mutate_and_test,
        )
        from cosmic_ray.work_item import TestOutcome  # type: ignore[import-untyped]
    except ImportError:
        raise LabError(
            "cosmic-ray: is not installed; `uv sync --group mutation` installs it"
        ) from None
    killed, survived = 0, []
    with TemporaryDirectory(prefix="labfactory-rules-") as folder:
        copy = Path(folder)
        _copy(copy)
        _passes(copy)
        for mutant in _picked(list(_mutants(copy)), sample, seed):
            [spec] = mutant.mutations
            result = mutate_and_test(mutant.mutations, _command(copy), LONGEST)
            if result.test_outcome == TestOutcome.SURVIVED:
                where = Path(spec.module_path).name
                survived.append(f"{where}:{spec.start_pos[0]} {spec.operator_name}")
            else:
                killed += 1
    return killed, survived


def _mutants(copy: Path) -> Iterator[Any]:
    """Every mutant of every rule, without those of type hints."""
    from cosmic_ray.commands import init  # type: ignore[import-untyped]
    from cosmic_ray.work_db import WorkDB, use_db  # type: ignore[import-untyped]

    modules = sorted((copy / "policies" / "rules").glob("*.py"))
    hints = {str(path): [*_hints(path)] for path in modules}
    with use_db(str(copy / "mutants.sqlite"), WorkDB.Mode.create) as work:
        init(modules, work, {})
        found = sorted(work.work_items, key=_place)
    for mutant in found:
        [spec] = mutant.mutations
        spans = hints[str(spec.module_path)]
        if not any(first <= spec.start_pos <= last for first, last in spans):
            yield mutant


def _place(mutant: Any) -> tuple[Any, ...]:
    [spec] = mutant.mutations
    return str(spec.module_path), spec.start_pos, spec.operator_name, spec.occurrence


def _picked(mutants: list[Any], sample: int | None, seed: int) -> list[Any]:
    if sample is None or sample >= len(mutants):
        return mutants
    return random.Random(seed).sample(mutants, sample)


def _hints(path: Path) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """First and last place of each type hint."""
    for node in ast.walk(ast.parse(path.read_text())):
        for name in ("annotation", "returns"):
            hint = getattr(node, name, None)
            if isinstance(hint, ast.expr):
                assert hint.end_lineno
                last = (hint.end_lineno, hint.end_col_offset or 0)
                yield (hint.lineno, hint.col_offset), last


def _copy(into: Path) -> None:
    unneeded = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in COPIED:
        shutil.copytree(paths.PROJECT / name, into / name, ignore=unneeded)
    for name in ("pyproject.toml", "__main__.py"):
        shutil.copy(paths.PROJECT / name, into / name)


def _passes(copy: Path) -> None:
    """Make sure that the tests pass where nothing was changed."""
    if os.system(f"{_command(copy)} >{shlex.quote(str(copy / 'log'))} 2>&1"):
        last = (copy / "log").read_text().strip().splitlines()[-1:]
        raise LabError(
            f"tests of the rules: fail without any change ({''.join(last)}); mend them"
        )


def _command(copy: Path) -> str:
    tests = [str(path) for each in TESTS for path in sorted(copy.glob(each))]
    # Compiled files of one mutant must not be taken for those of the next.
    words = ["env", "-C", str(copy), "PYTHONDONTWRITEBYTECODE=1", sys.executable]
    words += ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", SLOW, *tests]
    return shlex.join(words)
