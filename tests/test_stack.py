"""The driver of `pulumi`, against a stand-in that answers as the real one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labfactory import environment
from labfactory import stack as module
from labfactory.check import pack
from labfactory.errors import LabError
from labfactory.stack import Stack
from tests.harness import ROOT

PULUMI = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$1 $2" in
  "stack export") cat "$STATE" ;;
  "stack import") cat > "$STATE" ;;
  "config get") echo "$CONFIG_SAYS" >&2; exit 255 ;;
  "up --yes")
    if [ -n "$PACK_SAYS" ]; then echo "$PACK_SAYS" > "$LABFACTORY_TOLD"; fi
    exit "${UP_EXIT:-0}" ;;
  "preview --json")
    cat "$LABFACTORY_FACTS" >> "$CALLS"
    if [ -n "$PACK_SAYS" ]; then echo "$PACK_SAYS" > "$LABFACTORY_TOLD"; fi
    printf '%s' "$PREVIEW_SAYS"; exit "${PREVIEW_EXIT:-0}" ;;
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


def said(*rows: tuple[str, str, str], preview: bool = True) -> str:
    """What the pack writes of a run."""
    found = [{"rule": rule, "level": level, "told": t} for rule, level, t in rows]
    return json.dumps({"preview": preview, "found": found})


BUDGET = ("budget", "mandatory", "agreements.lab.cost: too much; spend less")
ADVICE = ("card-present", "advisory", "iris: no card; write one")


def test_a_preview_runs_the_policies_and_hands_on_what_they_advise(
    lab: Stack, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACK_SAYS", said(ADVICE))
    monkeypatch.setenv("PREVIEW_SAYS", '{"steps": []}')

    found = lab.preview(drill={"ok": True})

    assert [row["rule"] for row in found["policies"]] == ["card-present"]
    assert found["steps"] == []
    calls = (home / "calls").read_text()
    assert f"--policy-pack {home}/data/policy-pack" in calls
    assert '{"drill": {"ok": true}}' in calls


def test_a_preview_names_every_rule_that_refuses(
    lab: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ("no-root", "mandatory", "server: may run as root; do not")
    monkeypatch.setenv("PACK_SAYS", said(BUDGET, ADVICE, other))
    monkeypatch.setenv("PREVIEW_EXIT", "1")

    with pytest.raises(LabError) as error:
        lab.preview()

    assert str(error.value).splitlines() == [
        "stack 'demo': refused by its policies; nothing was changed:",
        "  agreements.lab.cost: too much; spend less (budget)",
        "  server: may run as root; do not (no-root)",
    ]


def test_a_preview_that_fails_for_another_reason_says_pulumi_s_errors_alone(
    lab: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [
        {"severity": "warning", "message": "old\n"},
        {"severity": "error", "message": "no cluster\n"},
    ]
    monkeypatch.setenv("PACK_SAYS", said(ADVICE))
    monkeypatch.setenv("PREVIEW_SAYS", json.dumps({"diagnostics": told}))
    monkeypatch.setenv("PREVIEW_EXIT", "1")

    with pytest.raises(LabError, match=r"pulumi says: no cluster$"):
        lab.preview()


def test_an_up_that_is_refused_says_by_which_rule(
    lab: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACK_SAYS", said(BUDGET))
    monkeypatch.setenv("UP_EXIT", "255")

    with pytest.raises(LabError, match=r"nothing was changed:\n  .* \(budget\)$"):
        lab.up()


def test_what_only_shows_when_all_is_done_is_not_told_as_if_nothing_was_changed(
    lab: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACK_SAYS", said(BUDGET, preview=False))
    monkeypatch.setenv("UP_EXIT", "255")

    with pytest.raises(LabError, match="refused by its policies; see above:"):
        lab.up()


def test_the_policies_see_an_up_too(lab: Stack, home: Path) -> None:
    lab.up()

    [call] = [c for c in (home / "calls").read_text().splitlines() if "up" in c]
    assert "--policy-pack" in call


def test_the_twin_of_the_pack_starts_the_committed_one(home: Path) -> None:
    twin = pack.twin(home / "pulumi-home")

    [script] = home.glob("pulumi-home/plugins/*/pulumi-analyzer-policy-*")
    assert os.access(script, os.X_OK)
    assert f"{sys.executable} {ROOT / 'policies' / '__main__.py'}" in script.read_text()
    assert (
        f"runtime: {script.name.rpartition('-')[2]}\n"
        in (twin / "PulumiPolicy.yaml").read_text()
    )


def test_a_twin_of_another_checkout_is_replaced(home: Path) -> None:
    first = pack.twin(home / "pulumi-home", home / "other")
    [script] = home.glob("pulumi-home/plugins/*/pulumi-analyzer-policy-*")
    other = script.read_text()

    assert pack.twin(home / "pulumi-home") == first
    assert script.read_text() != other
    assert [*script.parent.glob("*.[0-9]*")] == []


def test_plain_pulumi_finds_the_pack_by_the_lab_s_environment(home: Path) -> None:
    found = environment.variables({"PATH": "/usr/bin"})

    assert found["LABFACTORY_POLICIES"] == str(home / "data" / "policy-pack")
    plugins = Path(found["PULUMI_HOME"]) / "plugins"
    assert [*plugins.glob("analyzer-policy-*/pulumi-analyzer-policy-*")]


def test_what_rescues_a_lab_is_not_held_against_its_policies(
    lab: Stack, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACK_SAYS", said(BUDGET, preview=False))

    lab.up(judged=False)

    [call] = [c for c in (home / "calls").read_text().splitlines() if "up" in c]
    assert "--policy-pack" not in call


def test_a_preview_that_is_refused_still_tells_what_would_change(
    lab: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACK_SAYS", said(BUDGET))
    monkeypatch.setenv("PREVIEW_SAYS", '{"steps": []}')
    monkeypatch.setenv("PREVIEW_EXIT", "1")

    found = lab.preview(judged=False)

    assert found["steps"] == []
    assert [row["level"] for row in found["policies"]] == ["mandatory"]
