"""`lab backup` and `lab drill`: what is started, what is told, what is printed."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from labfactory import environment
from labfactory import jobs as real_jobs
from labfactory.backups import cluster as edge
from labfactory.backups import history, jobs, key, record, shown
from labfactory.backups.errands import (
    BACKUP,
    REPOSITORY,
    RESTORE,
    Order,
    manifest,
    running,
)
from labfactory.backups.history import Backup, Drill, fresh, last_drill
from labfactory.backups.source import found_in
from labfactory.errors import LabError
from labfactory.stack import Stack
from stacks.promises import Recovery
from tests.backups_parts import (
    DONE,
    ENTRY,
    RECOVERY,
    SECRET,
    FakeCluster,
    a_job,
    cron_job,
    lab_with_backups,
    repository,
)
from tests.fake_routes import a_lab

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WELL = {
    "started": "2026-11-21T09:00:00+00:00",
    "finished": "2026-11-21T09:03:00+00:00",
    "consistent_at": "2026-11-21T08:30:00+00:00",
    "rpo_seconds": 1800,
    "rto_seconds": 180,
    "rows": 10,
    "objects": 2,
    "runs": 3,
    "predictions": 4,
    "equal": True,
    "ok": True,
    "problems": [],
}
BAD = {**WELL, "ok": False, "equal": False, "problems": ["table runs: has 9 rows"]}


class FakeJobs:
    """What labfactory.jobs.Jobs does: a Job is started, and ends as it was told to."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.started: list[dict[str, Any]] = []
        self.ends: Any = lambda: None

    def __call__(self, context: str, namespace: str) -> FakeJobs:
        return self

    def start(self, manifest: dict[str, Any], *, again: bool) -> None:
        self.started.append(manifest)

    def follow(self, name: str, step: Any, **_: Any) -> list[str]:
        self.ends()
        return []


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    found = FakeCluster()
    found.has_lab("example")
    monkeypatch.setattr(edge, "Cluster", lambda _: found)
    stack = SimpleNamespace(settings=lab_with_backups())
    for module in (jobs, shown):
        monkeypatch.setattr(module, "Stack", lambda _: stack)
    return found


@pytest.fixture
def started(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, home: Path
) -> FakeJobs:
    found = FakeJobs(cluster)
    monkeypatch.setattr(real_jobs, "Jobs", found)
    monkeypatch.setattr(record, "keep", lambda _: None)
    return found


def test_a_backup_says_what_the_keeper_wrote_of_it(
    cluster: FakeCluster, started: FakeJobs
) -> None:
    cluster.wrote("example", history.BACKUPS, [{**ENTRY, "rows": 1}])
    started.ends = lambda: cluster.wrote(
        "example", history.BACKUPS, [{**ENTRY, "rows": 1}, ENTRY]
    )

    found = jobs.back_up("example")

    assert (found.rows, found.ok) == (1234, True)
    assert [each["metadata"]["name"] for each in started.started] == ["backup-now"]


def test_a_backup_that_says_nothing_of_itself_is_no_backup(
    cluster: FakeCluster, started: FakeJobs
) -> None:
    cluster.wrote("example", history.BACKUPS, [ENTRY])

    with pytest.raises(LabError, match=r"does not say how it went.*logs -f job/backup"):
        jobs.back_up("example")


def test_a_backup_that_failed_tells_the_keeper_s_own_sentence_and_the_way_out(
    cluster: FakeCluster, started: FakeJobs
) -> None:
    def fails() -> None:
        entry = {**ENTRY, "ok": False, "error": "the second store does not answer"}
        cluster.wrote("example", history.BACKUPS, [entry])
        raise LabError("job 'backup-now' failed")

    started.ends = fails

    with pytest.raises(LabError, match=r"store does not answer; .*`lab backup now ex"):
        jobs.back_up("example")


def test_a_job_that_failed_before_it_could_write_tells_what_its_pod_said(
    cluster: FakeCluster, started: FakeJobs
) -> None:
    def fails() -> None:
        raise LabError("job 'check-now' failed; its last lines:\n  pack 12ab is bad")

    started.ends = fails

    with pytest.raises(LabError, match=r"pack 12ab is bad\n.*`lab backup now example`"):
        jobs.check("example")


def test_a_drill_runs_in_the_namespace_of_drills_and_tells_what_was_not_equal(
    cluster: FakeCluster, started: FakeJobs
) -> None:
    started.ends = lambda: cluster.wrote("example-drill", history.DRILLS, [BAD])

    with pytest.raises(LabError, match=r"a drill failed: table runs: has 9 rows; the"):
        jobs.rehearse("example")

    started.ends = lambda: cluster.wrote("example-drill", history.DRILLS, [BAD, WELL])
    assert jobs.rehearse("example").runs == 3


@pytest.mark.parametrize(
    "job",
    [a_job("backup-29384", owner="backup"), a_job("backup-now")],
    ids=["on schedule", "by hand"],
)
def test_a_second_backup_says_that_one_is_running(
    cluster: FakeCluster, started: FakeJobs, job: dict[str, Any]
) -> None:
    cluster.running["example"] = [job]

    with pytest.raises(LabError, match=rf"running already.*{job['metadata']['name']}"):
        jobs.back_up("example")

    assert started.started == []


def test_what_has_ended_or_is_another_errand_is_not_running() -> None:
    others = [
        a_job("backup-1", owner="backup", status=DONE),
        a_job("check-now"),
        a_job("backup-of-mine"),
    ]

    assert running(others, BACKUP) is None
    assert running([*others, a_job("backup-2", owner="backup")], BACKUP)


def test_ctrl_c_leaves_the_job_and_says_how_to_see_it(
    cluster: FakeCluster, started: FakeJobs, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    started.ends = interrupted

    with pytest.raises(KeyboardInterrupt):
        jobs.back_up("example")

    said = capsys.readouterr().err
    assert "goes on in the cluster" in said
    assert "`kubectl -n example logs -f job/backup-now`" in said


def test_a_lab_that_was_not_applied_since_it_has_backups_says_so(
    cluster: FakeCluster, started: FakeJobs
) -> None:
    cluster.cron_jobs.clear()

    with pytest.raises(LabError, match=r"a backup yet; `lab up example` brings it"):
        jobs.back_up("example")


def test_a_lab_without_backups_is_told_what_to_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = lab_with_backups().model_copy(update={"backups": None})
    monkeypatch.setattr(jobs, "Stack", lambda _: SimpleNamespace(settings=settings))

    with pytest.raises(LabError, match=r"has no `backups`.*staging"):
        jobs.back_up("example")


def test_a_job_is_its_cronjob_with_other_values_and_another_repository() -> None:
    schedule = cron_job("restore")
    order = Order(
        RESTORE,
        "example",
        "example",
        "restore",
        environment={"AT": "2026-11-21T10:00:00+00:00", "OVER": "example"},
        repository="keeper-source",
        notes={"labfactory.io/source": "other"},
    )

    found = manifest(schedule, order)

    [container] = found["spec"]["template"]["spec"]["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert values["AT"] == "2026-11-21T10:00:00+00:00"
    assert values["OVER"] == "example"
    assert "keeper-repository" not in json.dumps(found)
    assert container["envFrom"][1]["secretRef"]["name"] == "storage-backup"
    assert found["metadata"]["annotations"]["labfactory.io/source"] == "other"
    assert "ttlSecondsAfterFinished" not in found["spec"]
    assert schedule == cron_job("restore")


def test_the_record_holds_settings_and_state_and_says_of_when() -> None:
    found = record.made(b"config: {}", b'{"version": 3}', NOW)

    assert found.data["settings"] == b"config: {}"
    assert gzip.decompress(found.data["state"]) == b'{"version": 3}'
    assert found.data["at"] == b"2026-11-21T12:00:00+00:00"
    assert found.warning is None


def test_a_state_that_is_too_large_is_left_out_and_the_record_says_so() -> None:
    noise = random.Random(1).randbytes(record.MOST)

    found = record.made(b"config: {}", noise, NOW)

    assert "state" not in found.data
    assert found.warning
    assert found.data["left-out"].decode() == found.warning
    assert "`pulumi stack export`" in found.warning


def test_keeping_the_record_never_asks_for_secrets_in_plain_text(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path
) -> None:
    asked: list[str] = []

    def pulumi(words: tuple[str, ...], **_: Any) -> Any:
        asked.extend(words)
        return SimpleNamespace(returncode=0, stdout=b"{}", stderr=b"")

    monkeypatch.setattr(subprocess, "run", pulumi)
    monkeypatch.setattr(environment, "variables", dict)
    stack = a_lab(tmp_path, {})

    assert record.keep(stack) is None

    assert asked[:3] == ["pulumi", "stack", "export"]
    assert "--show-secrets" not in asked
    kept = cluster.secrets["example", "lab-record"]
    assert kept["settings"] == stack.file.read_bytes()


def test_a_state_that_cannot_be_read_is_told_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, cluster: FakeCluster
) -> None:
    failed = SimpleNamespace(returncode=255, stdout=b"", stderr=b"no stack named 'x'")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setattr(environment, "variables", dict)

    with pytest.raises(LabError, match="no stack named"):
        record.exported(Stack("x"))


@pytest.mark.parametrize(
    ("drills", "after", "said"),
    [
        ([], timedelta(), "no drill has shown yet"),
        ([WELL, BAD], timedelta(), r"failed \(table runs: has 9 rows\)"),
        ([WELL], timedelta(days=10, hours=12, seconds=1), "one every 7 days"),
        ([{**WELL, "finished": None, "started": "?"}], timedelta(), "an unknown time"),
    ],
    ids=["never", "failed", "too old", "of no time"],
)
def test_drills_that_show_nothing_say_why(
    drills: list[Any], after: timedelta, said: str
) -> None:
    finished = datetime.fromisoformat(str(WELL["finished"]))

    reason = fresh([Drill.read(each) for each in drills], 7, finished + after)

    assert re.search(said, reason or "")


def test_a_drill_that_is_half_as_late_again_is_still_fresh() -> None:
    finished = datetime.fromisoformat(str(WELL["finished"]))
    drills = [Drill.read(BAD), Drill.read(WELL)]

    assert fresh(drills, 7, finished + timedelta(days=10, hours=12)) is None


def test_the_last_drill_is_the_newest_entry(cluster: FakeCluster) -> None:
    settings = lab_with_backups()
    cluster.wrote("example-drill", history.DRILLS, [WELL, BAD])

    assert last_drill(settings) == BAD


def test_a_lab_that_never_drilled_is_another_thing_than_one_nobody_can_ask(
    cluster: FakeCluster,
) -> None:
    settings = lab_with_backups()

    assert last_drill(settings) is None
    cluster.maps["example-drill", "keeper"] = {}
    assert last_drill(settings) == {}
    cluster.away = True
    assert last_drill(settings) is None


def test_results_that_are_no_list_are_told(cluster: FakeCluster) -> None:
    cluster.maps["example", "keeper"] = {history.BACKUPS: "[{"}

    with pytest.raises(LabError, match=r"backups.json can't be read"):
        history.entries(cluster, "example", history.BACKUPS)  # type: ignore[arg-type]


def printed(table: Any) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_backups_are_shown_with_what_they_hold_and_why_they_failed() -> None:
    found = [Backup.read(ENTRY), Backup.read({"ok": False, "error": "cut short"})]

    text = printed(shown.backups_table("example", found))

    assert "2026-11-21 10:00 UTC" in text
    assert "01234567 " in text
    assert "1,234" in text
    assert "3.0" in text
    assert "✗" in text
    assert [*shown.failures(found)] == ["an unknown time: cut short"]


def test_drills_are_shown_beside_what_was_promised() -> None:
    slow = {**WELL, "rto_seconds": 3600, "ok": False, "problems": ["too late"]}
    drills = [Drill.read(WELL), Drill.read(slow)]

    text = printed(shown.drills_table("example", drills, Recovery(**RECOVERY)))

    assert "30 min 00 s of 60 min ✓" in text
    assert "3 min 00 s of 30 min ✓" in text
    assert "60 min 00 s of 30 min ✗" in text
    [why] = shown.failures(drills)
    assert why.endswith(": too late")


def test_backups_and_drills_are_printed_as_json(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.wrote("example", history.BACKUPS, [ENTRY])
    cluster.wrote("example-drill", history.DRILLS, [WELL])

    shown.show_backups("example", json=True)
    assert json.loads(capsys.readouterr().out) == [ENTRY]
    shown.show_drills("example", json=True)
    assert json.loads(capsys.readouterr().out) == [WELL]


def test_drills_end_with_why_they_do_not_do(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.wrote("example-drill", history.DRILLS, [BAD])

    shown.show_drills("example")

    assert "failed (table runs: has 9 rows)" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_sheet_says_how_to_read_a_backup_with_restic_alone() -> None:
    text = key.sheet("demo", repository("demo"), "Pulumi.demo.yaml", "/home/passphrase")

    assert SECRET in text
    assert "kubectl -n demo-backups port-forward service/minio 9000:9000" in text
    assert "RESTIC_REPOSITORY=s3:http://localhost:9000/backups/demo" in text
    assert "restic restore latest --no-lock --target ./restored" in text
    assert "/home/passphrase" in text


def test_a_store_elsewhere_needs_no_forwarded_port() -> None:
    there = {
        **repository("demo"),
        "RESTIC_REPOSITORY": "s3:https://s3.example.com/copies/demo",
    }

    text = key.sheet("demo", there, "Pulumi.demo.yaml", None)

    assert "port-forward" not in text
    assert "RESTIC_REPOSITORY=s3:https://s3.example.com/copies/demo" in text


def test_secrets_are_printed_to_a_terminal_alone_unless_that_is_meant(
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    home: Path,
) -> None:
    stack = SimpleNamespace(
        settings=lab_with_backups(), file=Path("Pulumi.example.yaml")
    )
    monkeypatch.setattr(key, "Stack", lambda _: stack)

    with pytest.raises(LabError, match="--yes"):
        key.show("example")
    assert SECRET not in capsys.readouterr().out

    key.show("example", yes=True)
    assert SECRET in capsys.readouterr().out


def test_the_repository_is_found_where_it_outlives_the_lab(
    cluster: FakeCluster,
) -> None:
    kept = cluster.secrets.pop(("example", REPOSITORY))
    with pytest.raises(LabError, match=r"example-drill, example-backups"):
        found_in(cluster, "example")  # type: ignore[arg-type]

    cluster.secrets["example-backups", REPOSITORY] = kept
    assert found_in(cluster, "example") == kept  # type: ignore[arg-type]


def test_a_backup_that_is_older_than_the_lab_is_listed_without_what_nobody_kept() -> (
    None
):
    old = {"snapshot": "0" * 8, "consistent_at": "2026-11-21T10:00:00Z", "ok": True}

    text = printed(shown.backups_table("example", [Backup.read(old)]))

    assert "00000000" in text
    assert text.count("–") == 4


def test_a_backup_and_a_drill_are_told_in_a_sentence() -> None:
    told = shown.line(Backup.read(ENTRY))
    drill = shown.drill_line(Drill.read(WELL))

    assert told.startswith("backup 01234567 holds the lab of 2026-11-21 10:00 UTC: ")
    assert "RTO 3 min 00 s" in drill
    assert "RPO 30 min 00 s" in drill
