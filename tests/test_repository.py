"""What holds for the repository as a whole."""

import subprocess

from labfactory.paths import PROJECT

TESTS = PROJECT / "tests"


def test_every_test_file_is_collected() -> None:
    helpers = {
        "__init__.py",
        "backups_parts.py",
        "conftest.py",
        "fake_routes.py",
        "guard_parts.py",
        "harness.py",
        "live_lab.py",
        "policy_cases.py",
        "promised.py",
        "watching.py",
    }
    lost = [
        path.name
        for path in TESTS.rglob("*.py")
        if not path.name.startswith("test_") and path.name not in helpers
    ]

    assert lost == []


def test_ci_runs_the_command_of_the_readme() -> None:
    assert "./lab test" in (PROJECT / ".ci/run").read_text()
    assert "./lab test" in (PROJECT / "README.md").read_text()


def test_no_file_names_a_path_of_one_machine() -> None:
    found = subprocess.run(
        [
            "git",
            "grep",
            "-nIE",
            r"(^|[^A-Za-z0-9_.-])/(root|work)/",
            "--",
            ".",
            ":!*.sum",
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()

    own = "tests/test_repository.py"
    assert [line for line in found if not line.startswith(own)] == []
