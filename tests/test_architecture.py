"""Who may import whom, and that no test is lost."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import ROOT

HOUSE = (
    "stacks",
    "model_templates",
    "images",
    "components",
    "policies",
    "labfactory",
)
MAY_IMPORT = {
    "stacks": {"stacks"},
    "images": {"images"},
    "model_templates": {"model_templates", "stacks"},
    "components": {"components", "model_templates", "images", "policies", "stacks"},
    "policies": {"policies"},
    "labfactory": {"labfactory", "model_templates", "images", "policies", "stacks"},
}
IN_THE_POD = ROOT / "model_templates" / "server"
"""Runs in the lab's image, where nothing else of the house is."""
NOT_TESTS = {"__init__.py", "conftest.py"}


def modules(folder: str) -> Iterator[Path]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        if IN_THE_POD not in path.parents:
            yield path


def imported(path: Path) -> set[str]:
    """The first names of everything that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("folder", HOUSE)
def test_imports_point_one_way(folder: str) -> None:
    ours = {*HOUSE, "tests", "__main__"}

    wrong = {
        str(path.relative_to(ROOT)): bad
        for path in modules(folder)
        if (bad := imported(path) & ours - MAY_IMPORT[folder])
    }

    assert wrong == {}
    assert [*modules(folder)]


def test_what_runs_in_the_pod_needs_nothing_of_the_house() -> None:
    wrong = {
        str(path.relative_to(ROOT)): bad
        for path in IN_THE_POD.rglob("*.py")
        if (bad := imported(path) & {*HOUSE, "tests", "pulumi"})
    }

    assert wrong == {}


def test_what_the_guard_decides_follows_from_the_settings_and_what_it_observed() -> (
    None
):
    reached = (
        r"(?m)^ *(?:from|import) ((?:labfactory|httpx|kubernetes|lightkube)[\w.]*)"
    )
    found = {
        name
        for path in modules("labfactory/releases/decisions")
        for name in re.findall(reached, path.read_text())
        if not name.startswith("labfactory.releases.decisions")
    }

    assert found == set()


def test_the_rooms_read_no_settings_of_their_own() -> None:
    asked = r"pulumi\.Config\(|pulumi\.export\(|get_stack\(|os\.environ|\bprint\("

    wrong = {
        str(path.relative_to(ROOT)): found
        for path in modules("components")
        if (found := re.findall(asked, path.read_text()))
    }

    assert wrong == {}


def test_only_the_cluster_s_room_knows_the_kinds_of_targets() -> None:
    knowing = {
        path.name
        for path in modules("components")
        if "EmbeddedCluster" in path.read_text()
    }

    assert knowing == {"cluster.py"}


def test_a_preview_does_not_pay_for_imports_it_does_not_need() -> None:
    heavy = {"kserve", "kubernetes", "mlflow", "pulumi_kubernetes", "httpx", "rich"}
    rooms = ("stacks", "model_templates", "images", "components", "policies")

    wrong = {
        str(path.relative_to(ROOT)): bad
        for folder in rooms
        for path in modules(folder)
        if (bad := imported(path) & heavy)
    }

    assert wrong == {}


def test_rules_need_nothing_but_yaml() -> None:
    allowed = {*sys.stdlib_module_names, "yaml"}

    wrong = {
        path.name: bad
        for path in (ROOT / "policies" / "rules").glob("*.py")
        if (bad := imported(path) - allowed)
    }

    assert wrong == {}


def test_every_test_file_is_collected() -> None:
    lost = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if not path.name.startswith("test_")
        and path.name not in NOT_TESTS
        and any(
            isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            for node in ast.parse(path.read_text()).body
        )
    }
    nested = {
        p for p in (ROOT / "tests").rglob("test_*.py") if p.parent.name != "tests"
    }

    assert lost == set()
    assert nested == set()


def test_no_two_tests_of_a_file_have_the_same_name() -> None:
    for path in (ROOT / "tests").glob("test_*.py"):
        names = [
            node.name
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef)
        ]
        assert sorted(set(names)) == sorted(names), path.name


def test_each_room_can_be_read_before_all_others() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules("components")
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    for known in [m for m in sys.modules if m.startswith('components')]:\n"
        "        del sys.modules[known]\n"
        "    importlib.import_module(name)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
