"""The launcher `lab`: what it does before Python runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from labfactory import paths

NEEDED = ("cat", "cksum", "dirname", "env", "flock", "mkdir", "mv", "readlink", "rm")
SHELL = "/bin/sh"

UV = """
[ "$1" = --version ] && exit 0
echo "uv $* downloads=$UV_PYTHON_DOWNLOADS" >>"$CALLS"
[ -z "${{UV_FAILS:-}}" ] || exit 2
[ -z "${{AT_SYNC:-}}" ] || eval "$AT_SYNC"
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"
ln -sf {python} "$UV_PROJECT_ENVIRONMENT/bin/python"
"""

HELLO = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ["LABFACTORY_UV"])
"""


class Clone:
    """A checkout with nothing but the launcher, on a machine of stubs."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "clone"
        self.bin = folder / "bin"
        self.cache = folder / "cache"
        self.calls = folder / "calls"
        (self.project / "labfactory").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(paths.PROJECT / "lab", self.project)
        (self.project / "uv.lock").write_text("version = 1\n")
        (self.project / "labfactory" / "__main__.py").write_text(HELLO)
        for name in (*NEEDED, "ln"):
            found = shutil.which(name)
            assert found
            (self.bin / name).symlink_to(found)

    def stub(self, name: str, script: str) -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!{SHELL}\n{script}\n")
        path.chmod(0o755)

    def python(self, version: str = "3.11.7", *, venv: bool = True) -> None:
        """A python3 that knows its version and whether it can make environments."""
        fits = 0 if version in ("3.11.7", "3.13.0") else 1
        self.stub(
            "python3",
            f"""
case "$*" in
  -V) echo "Python {version}" ;;
  *version_info*) exit {fits} ;;
  *ensurepip*) exit {0 if venv else 1} ;;
  "-m venv "*)
    echo "$*" >>"$CALLS"
    mkdir -p "$3/bin"
    ln -s {self.bin}/pip-python "$3/bin/python" ;;
esac""",
        )
        self.stub(
            "pip-python",
            f'echo "pip $*" >>"$CALLS"\nmkdir -p "${{0%/*}}"\n'
            f'[ -n "${{PIP_FAILS:-}}" ] && exit 1\nln -s {self.bin}/made-uv '
            '"${0%/python}/uv"',
        )
        self.stub("made-uv", UV.format(python=sys.executable))

    def uv(self) -> None:
        self.stub("uv", UV.format(python=sys.executable))

    def command(self, launcher: Path | None = None) -> list[str]:
        return [str(launcher or self.project / "lab"), "demo", "two words"]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": str(self.bin),
            "HOME": str(self.cache),
            "LABFACTORY_CACHE": str(self.cache),
            "CALLS": str(self.calls),
            **more,
        }

    def run(
        self, launcher: Path | None = None, cwd: Path | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(launcher),
            cwd=cwd or self.project,
            env=self.environment(more),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_the_first_start_makes_the_environment_and_the_next_does_not_even_call_uv(
    clone: Clone,
) -> None:
    clone.python()
    clone.uv()
    first, second = clone.run(), clone.run()
    assert first.returncode == second.returncode == 0, first.stderr
    assert "['demo', 'two words']" in first.stdout
    assert first.stderr.count("\n") == 1
    assert "preparing" in first.stderr
    assert second.stderr == ""
    [call] = clone.called()
    assert "sync" in call
    assert "--frozen --inexact" in call
    assert "--python" not in call
    assert "downloads=never" in call


def test_a_changed_lock_is_synced_again(clone: Clone) -> None:
    clone.python()
    clone.uv()
    clone.run()
    (clone.project / "uv.lock").write_text("version = 2\n")
    clone.run()
    clone.run()
    assert len(clone.called()) == 2


def test_an_interrupted_sync_is_repeated(clone: Clone) -> None:
    clone.python()
    clone.uv()
    clone.run()
    (clone.project / "uv.lock").write_text("version = 2\n")
    killed = clone.run(AT_SYNC="kill -9 $PPID; exit 1")
    assert killed.returncode != 0
    assert clone.run().returncode == 0
    assert len(clone.called()) == 3


def test_a_failed_sync_is_a_sentence_and_leaves_nothing_that_looks_ready(
    clone: Clone,
) -> None:
    clone.python()
    clone.uv()
    failed = clone.run(UV_FAILS="1")
    assert failed.returncode == 1
    assert "could not make" in failed.stderr
    assert "run this again" in failed.stderr
    assert failed.stdout == ""
    assert clone.run().returncode == 0


def test_it_works_through_a_symlink_and_stays_in_the_users_folder(
    clone: Clone, tmp_path: Path
) -> None:
    clone.python()
    clone.uv()
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "labfactory").mkdir()
    (elsewhere / "labfactory" / "__main__.py").write_text("raise SystemExit(9)")
    (elsewhere / "my-lab").symlink_to(clone.project / "lab")
    result = clone.run(elsewhere / "my-lab", cwd=elsewhere)
    assert result.returncode == 0, result.stderr
    assert str(elsewhere) in result.stdout


def test_without_uv_it_brings_its_own_in_the_pinned_version_once(clone: Clone) -> None:
    clone.python()
    first = clone.run()
    assert first.returncode == 0, first.stderr
    made = clone.called()
    assert [word for word in made[1].split() if word.startswith("uv==")]
    assert str(clone.cache / "uv") in first.stdout
    (clone.project / "uv.lock").write_text("version = 2\n")
    clone.run()
    assert len(clone.called()) == len(made) + 1


def test_a_uv_that_could_not_be_installed_is_a_sentence_and_tried_again(
    clone: Clone,
) -> None:
    clone.python()
    failed = clone.run(PIP_FAILS="1")
    assert failed.returncode == 1
    assert "could not install uv" in failed.stderr
    assert clone.run().returncode == 0


@pytest.mark.parametrize(
    ("version", "said"), [("3.9.2", "found Python 3.9.2"), (None, "found none")]
)
def test_an_old_or_absent_python_gets_a_sentence_that_says_what_to_install(
    clone: Clone, version: str | None, said: str
) -> None:
    clone.uv()
    if version:
        clone.python(version)
    result = clone.run()
    assert result.returncode == 1
    assert said in result.stderr
    assert "apt-get install python3 python3-venv" in result.stderr
    assert clone.called() == []


def test_a_newer_python_beside_an_old_one_is_used(clone: Clone) -> None:
    clone.python("3.13.0")
    script = (clone.bin / "python3").read_text()
    clone.stub("python3.13", script.replace("echo", "echo python3.13", 1))
    clone.python("3.9.2")
    assert clone.run().returncode == 0
    assert any("-m venv" in call for call in clone.called())


def test_a_debian_python_without_venv_gets_a_sentence_that_says_what_to_install(
    clone: Clone,
) -> None:
    clone.python(venv=False)
    result = clone.run()
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith("apt-get install python3-venv")
    assert clone.called() == []


def test_two_first_starts_at_once_make_the_environment_once(clone: Clone) -> None:
    clone.python()
    clone.uv()
    gate = clone.calls.with_name("gate")
    os.mkfifo(gate)
    environment = clone.environment({"AT_SYNC": f"read line <{gate}"})
    first = subprocess.Popen(
        clone.command(), env=environment, stdout=subprocess.PIPE, text=True
    )
    with gate.open("w") as file:  # returns when the first one is in its sync
        second = subprocess.Popen(
            clone.command(),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr
        assert "waiting for another lab" in second.stderr.readline()
        file.write("go\n")
    for process in (first, second):
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "['demo'" in out
    assert len(clone.called()) == 1
