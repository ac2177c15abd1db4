"""The driver of `pulumi`, against a stand-in that answers as the real one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labfactory import environment
from labfactory import stack as module
from labfactory.errors import LabError
from labfactory.stack import Stack

PULUMI = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$1 $2" in
  "stack export") cat "$STATE" ;;
  "stack import") cat > "$STATE" ;;
  "config get") echo "$CONFIG_SAYS" >&2; exit 255 ;;
  "up --yes") exit "${UP_EXIT:-0}" ;;
esac
"""


@pytest.fixture
def lab(home: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    program = home / "bin" / "pulumi"
    program.parent.mkdir()
    program.write_text(PULUMI)
    program.chmod(0o755)
    state = home / "state.json"
    state.write_text(json.dumps({"version": 3, "deployment": {"resources": []}}))
    (home / "stacks").mkdir()
    monkeypatch.setenv("STATE", str(state))
    monkeypatch.setenv("CALLS", str(home / "calls"))
    monkeypatch.setenv("CONFIG_SAYS", "")
    monkeypatch.setattr(
        environment,
        "_search_path",
        lambda given: os.pathsep.join([str(program.parent), given]),
    )
    return Stack("demo", project=home)


def lock(home: Path, pid: int) -> Path:
    folder = home / "data/pulumi/.pulumi/locks/organization/labfactory/demo"
    folder.mkdir(parents=True)
    path = folder / "1.json"
    path.write_text(json.dumps({"pid": pid, "timestamp": "2026-01-01T00:00:00Z"}))
    return path


def test_the_lock_of_a_pulumi_that_died_is_removed(lab: Stack, home: Path) -> None:
    stale = lock(home, pid=2**22 + 1)

    lab.recover()

    assert not stale.exists()


def test_the_lock_of_a_pulumi_that_runs_is_respected(
    lab: Stack, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = lock(home, pid=4321)
    monkeypatch.setattr(module, "_runs_pulumi", lambda pid: pid == 4321)

    with pytest.raises(LabError, match=r"pulumi \(process 4321, started 2026-01-01"):
        lab.recover()

    assert held.exists()


def test_this_process_is_not_mistaken_for_pulumi() -> None:
    assert not module._runs_pulumi(os.getpid())


def test_operations_that_were_cut_short_are_dropped(lab: Stack, home: Path) -> None:
    state = home / "state.json"
    half_done = {"resources": [], "pending_operations": [{"type": "creating"}]}
    state.write_text(json.dumps({"version": 3, "deployment": half_done}))

    lab.recover()

    assert json.loads(state.read_text())["deployment"] == {"resources": []}


def test_a_state_without_half_done_operations_is_not_rewritten(
    lab: Stack, home: Path
) -> None:
    lab.recover()

    assert "stack import" not in (home / "calls").read_text()


def test_a_wrong_passphrase_is_named_with_the_file_it_came_from(
    lab: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIG_SAYS", "error: incorrect passphrase")

    with pytest.raises(LabError) as error:
        lab.ensure(lambda: "seed")

    assert "Pulumi.demo.yaml" in str(error.value)
    assert "/data/passphrase" in str(error.value)


def test_a_new_stack_gets_its_seed_as_a_secret(
    lab: Stack, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIG_SAYS", "error: configuration key 'seed' not found")

    lab.ensure(lambda: "the-seed")

    calls = (home / "calls").read_text()
    assert "config set --secret --stack demo seed" in calls
    assert "the-seed" not in calls  # it goes by standard input, not by the process list


def test_a_failed_up_says_how_to_go_on(
    lab: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UP_EXIT", "255")

    with pytest.raises(LabError, match="run `lab up demo` again"):
        lab.up()


def test_a_second_lab_on_the_same_stack_says_who_holds_it(lab: Stack) -> None:
    with (
        lab._only_one(),
        pytest.raises(LabError, match=rf"another `lab` \(process {os.getpid()}\)"),
    ):
        lab.up()


def test_the_passphrase_is_random_private_and_kept(lab: Stack, home: Path) -> None:
    first = environment.passphrase_file()
    text = first.read_text()

    assert environment.passphrase_file().read_text() == text
    assert len(text) >= 32
    assert first.stat().st_mode & 0o777 == 0o600


def test_a_backend_of_the_users_own_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"PULUMI_BACKEND_URL": "s3://state", "PULUMI_CONFIG_PASSPHRASE": "x"}

    found = environment.variables(given)

    assert not {"PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE_FILE"} & {*found}


def test_the_users_own_clusters_stay_reachable(home: Path) -> None:
    own = home / "data/clusters/demo/kubeconfig"
    own.parent.mkdir(parents=True)
    own.touch()

    found = environment.variables({"KUBECONFIG": "/their/config"})

    assert found["KUBECONFIG"] == f"{own}{os.pathsep}/their/config"


def test_the_program_of_a_pulumi_that_was_killed_is_ended(home: Path) -> None:
    script = home / "pulumi-language-python-exec"
    script.write_text("import time; time.sleep(60)")

    def program(stack: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, script, "--stack", stack])

    orphan, other = program("demo"), program("another")
    try:
        module.end_orphans("demo")

        assert orphan.wait(10) != 0
        assert other.poll() is None
    finally:
        for process in (orphan, other):
            process.kill()
            process.wait()


def test_pulumi_writes_no_log_of_every_message_into_a_home_of_ours(home: Path) -> None:
    logs = environment.pulumi_home() / "logs"
    logs.mkdir(parents=True)
    (logs / "old.log").write_text("megabytes")

    environment.variables({})
    environment.variables({})

    assert logs.is_file()


def test_the_logs_of_a_pulumi_home_of_the_users_own_are_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = home / "theirs"
    (theirs / "logs").mkdir(parents=True)
    monkeypatch.setenv("PULUMI_HOME", str(theirs))

    environment.variables({"PULUMI_HOME": str(theirs)})

    assert (theirs / "logs").is_dir()


def test_looking_at_somebody_elses_object_is_no_change(
    lab: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {"changeSummary": {"same": 3, "read": 1}}
    monkeypatch.setattr(Stack, "preview", lambda self: seen)

    assert lab.changes() == {}
