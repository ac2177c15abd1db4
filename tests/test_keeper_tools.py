"""How the keeper takes what restic, rclone and PostgreSQL's tools say."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from labfactory.errors import LabError
from labfactory.keeper import backup, database, integrity, objects, repository
from labfactory.keeper.processes import Done, run
from labfactory.keeper.repository import Repository, Snapshot
from labfactory.keeper.restore import refuse_to_replace
from labfactory.keeper.settings import (
    DatabaseAccess,
    RepositoryAccess,
    Settings,
    StoreAccess,
    read,
)
from tests.test_keeper import ENVIRONMENT

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
PACK = "ab" * 32
OLD, NEW = (Snapshot(each * 64, AT.replace(hour=h)) for each, h in (("1", 8), ("2", 9)))
FINE = Done(0, "", "")


class Tool:
    """Answers by the first words of a command, and remembers every one."""

    def __init__(self, **answers: Done) -> None:
        self.answers = answers
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], *_: Any, **__: Any) -> Done:
        self.commands.append([Path(command[0]).name, *command[1:]])
        tool = self.commands[-1][0]
        name = tool if tool.startswith("pg") else command[1]
        return self.answers.get(name, FINE)

    def verbs(self) -> list[str]:
        return [command[1] for command in self.commands]


def listing(*snapshots: Snapshot) -> str:
    return json.dumps([{"id": s.id, "time": s.at.isoformat()} for s in snapshots])


@pytest.fixture
def restic(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[Tool, Repository]]:
    def with_answers(**answers: Done) -> tuple[Tool, Repository]:
        tool = Tool(**answers)
        monkeypatch.setattr(repository, "run", tool)
        access = RepositoryAccess("/kept/vision", "one", "key", "secret", "us-east-1")
        return tool, Repository(access, tmp_path)

    return with_answers


def no_repository(why: str) -> Done:
    return Done(1, "", f"Fatal: unable to open config file: {why}\n{repository.ABSENT}")


def test_a_repository_is_made_where_there_is_none(restic: Any) -> None:
    tool, kept = restic(cat=no_repository("Stat: The specified key does not exist."))

    kept.open(make=True)

    assert tool.verbs() == ["cat", "init"]
    with pytest.raises(LabError, match="there is no backup yet"):
        kept.open()


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (Done(1, "", "Fatal: wrong password or no key found"), "another password"),
        (no_repository("Stat: Access Denied."), "can't be opened"),
    ],
    ids=["password", "keys"],
)
def test_no_repository_is_made_over_one_that_does_not_open(
    restic: Any, done: Done, said: str
) -> None:
    tool, kept = restic(cat=done)

    with pytest.raises(LabError, match=said):
        kept.open(make=True)
    assert tool.verbs() == ["cat"]


def test_a_store_that_is_away_is_named_with_its_address() -> None:
    with pytest.raises(LabError, match=r"the second store at http://127\.0\.0\.1:1: "):
        objects.answers("http://127.0.0.1:1", "the second store", patience=0)


def test_a_backup_is_of_the_moment_that_it_is_consistent_at(
    restic: Any, tmp_path: Path
) -> None:
    summary = {"message_type": "summary", "snapshot_id": "ab", "total_bytes": 1}
    tool, kept = restic(backup=Done(0, f'x\n{{"a":1}}\n{json.dumps(summary)}\n', ""))

    assert kept.backup(tmp_path / "copy", "vision", AT) == summary
    [command] = tool.commands
    assert "--time=2026-01-31 10:00:00" in command
    assert "--host=vision" in command


def test_a_backup_that_lacks_a_file_does_not_stay(restic: Any, tmp_path: Path) -> None:
    summary = json.dumps({"message_type": "summary", "snapshot_id": "ab"})
    tool, kept = restic(backup=Done(3, summary, "a file could not be read"))

    with pytest.raises(LabError, match="could not be read"):
        kept.backup(tmp_path / "copy", "vision", AT)
    assert tool.commands[-1] == ["restic", "forget", "ab"]


def test_old_backups_stay_as_long_as_somebody_else_uses_them(restic: Any) -> None:
    tool, kept = restic(forget=Done(1, "", "repository is already locked by PID 1"))

    said = kept.thin("vision", {"hourly": 24, "weekly": 0})

    assert "were not removed yet" in said
    assert "--keep-hourly=24" in tool.commands[0]
    assert not [each for each in tool.commands[0] if "weekly" in each]


def test_a_backup_with_a_flipped_bit_is_not_given_back(
    restic: Any, tmp_path: Path
) -> None:
    err = "ignoring error for /objects/mlflow/a: ciphertext verification failed"
    _, kept = restic(restore=Done(1, "", err))

    with pytest.raises(
        LabError, match=r"backup 22222222 of 2026-01-31T09:00:00\+00:00: can't be trus"
    ) as found:
        kept.restore(NEW, tmp_path)
    assert "`--at`" in str(found.value)
    assert "`lab backup now`" in str(found.value)


def test_a_restore_that_meets_the_removal_of_old_backups_begins_again(
    restic: Any, tmp_path: Path
) -> None:
    tool, kept = restic(restore=Done(1, "", "The specified key does not exist."))

    with pytest.raises(LabError, match="can't give back"):
        kept.restore(NEW, tmp_path)
    assert tool.verbs() == ["restore", "restore"]


FLIPPED = Done(1, "", f"Pack ID does not match, want {PACK}, got {'cd' * 32}")


def test_a_flipped_bit_names_every_backup_that_uses_it(
    restic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, kept = restic(check=FLIPPED, snapshots=Done(0, listing(NEW, OLD), ""))
    monkeypatch.setattr(integrity, "_uses", lambda _, each, packs: each == NEW)

    with pytest.raises(
        LabError, match=r"backup 22222222 of [^,]+ can't be trusted"
    ) as e:
        integrity.check(kept)

    assert "restore the backup 11111111 of" in str(e.value)
    assert "`lab backup now`" in str(e.value)


def test_a_damaged_record_is_not_advised_though_the_cache_has_it(restic: Any) -> None:
    err = f"error: load <snapshot/{NEW.id[:10]}>: invalid data returned"
    _, kept = restic(check=Done(1, "", err), snapshots=Done(0, listing(NEW, OLD), ""))

    with pytest.raises(LabError, match="backup 22222222 can't be trusted") as found:
        integrity.check(kept)
    assert "restore the backup 11111111" in str(found.value)


def test_a_damaged_index_puts_every_backup_in_doubt(restic: Any) -> None:
    err = f"error loading index {PACK}: load <index/abab>: invalid data returned"
    _, kept = restic(check=Done(1, "", err), snapshots=Done(0, listing(OLD), ""))

    with pytest.raises(LabError, match="every backup in it can't be trusted"):
        integrity.check(kept)


def test_a_check_that_could_not_run_calls_nothing_damaged(restic: Any) -> None:
    _, kept = restic(check=Done(1, "", "dial tcp: connection refused"))

    with pytest.raises(LabError, match="can't be checked") as found:
        integrity.check(kept)
    assert "trusted" not in str(found.value)


def test_the_newest_is_not_silently_an_older_one(restic: Any) -> None:
    err = f"could not load snapshot: load <snapshot/{NEW.id[:10]}>: invalid data"
    _, kept = restic(snapshots=Done(0, listing(OLD), err))

    with pytest.raises(LabError, match="backup 22222222 can't be trusted"):
        kept.snapshots()
    assert kept.snapshots(at=AT) == [OLD]


def test_what_is_damaged_is_set_aside_so_that_it_is_written_anew(
    restic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool, kept = restic(check=FLIPPED)
    aside: list[str] = []
    monkeypatch.setattr(integrity, "_set_aside", lambda _, path: aside.append(path))

    assert "(packs: 1)" in integrity.mend(kept)
    assert aside == [f"data/ab/{PACK}"]
    assert tool.verbs() == ["check", "rebuild-index"]


def test_a_repository_that_is_whole_is_let_be(restic: Any) -> None:
    tool, kept = restic()

    assert integrity.mend(kept) == ""
    integrity.check(kept)
    assert set(tool.verbs()) == {"check"}


def postgres(monkeypatch: pytest.MonkeyPatch, **answers: Done) -> Any:
    tool = Tool(**answers)
    monkeypatch.setattr(database, "run", tool)
    found = database.Database(DatabaseAccess("db", 5432, "keeper", "one", "mlflow"))
    return tool, found


CUT = Done(1, "", "pg_restore: error: could not read from input file: end of file")


def test_a_dump_that_was_cut_short_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, found = postgres(monkeypatch, pg_restore=CUT)

    with pytest.raises(LabError, match="dump of the database is not whole") as error:
        found.dump("0001", tmp_path / "database.dump")
    assert "`lab backup now`" in str(error.value)


def test_a_dump_that_is_not_whole_changes_no_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool, found = postgres(monkeypatch, pg_restore=CUT)

    def connected(*_: Any) -> Any:
        raise AssertionError("the database was touched")

    monkeypatch.setattr(found, "connected", connected)

    with pytest.raises(LabError, match="is not whole"):
        found.restore(tmp_path / "database.dump")
    assert ["--file=/dev/null" in each for each in tool.commands] == [True]


def test_no_password_is_in_a_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool, found = postgres(monkeypatch)
    secret = "a-word-like-no-other"
    store = objects.Store(StoreAccess("http://s:9000", "us-east-1", "key", secret))
    monkeypatch.setattr(objects, "run", tool)

    found.dump("0001", tmp_path / "database.dump")
    store.pull("mlflow", tmp_path, AT)

    assert secret not in str(tool.commands)
    assert "one" not in [word for command in tool.commands for word in command]
    assert "--s3-version-at=2026-01-31T10:00:00Z" in tool.commands[-1]


def test_a_restore_waits_for_others_and_then_names_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, found = postgres(monkeypatch)
    there = [["role 'mlflow'"], []]
    monkeypatch.setattr(found, "_others", lambda: there.pop(0))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    found.alone()
    assert there == []

    monkeypatch.setattr(found, "_others", lambda: ["role 'mlflow'"])
    with pytest.raises(LabError, match="role 'mlflow' is connected"):
        found.alone(patience=-1)


class Target:
    """A database and a store with what a test puts into them."""

    endpoint = "http://minio:9000"

    def __init__(self, *held: str, objects: int = 0, lacking: str = "") -> None:
        self._held, self._objects, self._lacking = held, objects, lacking

    def held(self) -> list[str]:
        return [*self._held]

    def count(self, bucket: str) -> int:
        return self._objects if bucket == "mlflow" else 0

    def lacks(self, _: Any) -> list[str]:
        return [self._lacking] if self._lacking else []


def asked(**more: str) -> Settings:
    return read({**ENVIRONMENT, **more}, "restore")


def refused(settings: Settings, target: Any) -> str:
    with pytest.raises(LabError) as found:
        refuse_to_replace(settings, target, target)
    return str(found.value)


def test_a_lab_that_is_not_empty_is_refused_with_what_is_there() -> None:
    said = refused(asked(), Target("runs: 3", objects=7))

    assert "is not empty (runs: 3, objects in bucket 'mlflow': 7)" in said
    assert "`--over vision`" in said
    assert "7 or more" not in said
    many = Target(objects=objects.COUNTED)
    assert "'mlflow': 1000 or more" in refused(asked(), many)


def test_only_the_lab_s_own_name_lets_its_content_be_replaced() -> None:
    full: Any = Target("runs: 3")

    refuse_to_replace(asked(OVER="vision"), full, full)
    empty: Any = Target()
    refuse_to_replace(asked(), empty, empty)

    assert "what was typed is 'visio'" in refused(asked(OVER="visio"), full)


def test_a_bucket_that_the_lab_lacks_is_named() -> None:
    assert "has no bucket datasets" in refused(asked(), Target(lacking="datasets"))


class Bucketed:
    """A store whose bucket changes while it is read; remembers what it was asked."""

    endpoint = "http://minio:9000"

    def __init__(self, *, versions: bool) -> None:
        self.versions = versions
        self.pulled: list[datetime | None] = []

    def lacks(self, _: Any) -> list[str]:
        return []

    def versioned(self, _: str) -> bool:
        return self.versions

    def pull(self, bucket: str, folder: Path, at: datetime | None) -> None:
        self.pulled.append(at)
        (folder / "a").write_text(bucket)


@pytest.mark.parametrize("versions", [True, False], ids=["versions", "none"])
def test_a_bucket_is_read_as_it_was_when_it_keeps_versions(
    tmp_path: Path, versions: bool
) -> None:
    store: Any = Bucketed(versions=versions)
    (tmp_path / "gone").mkdir()

    notes = backup.pull(store, ("mlflow",), tmp_path, AT)

    assert store.pulled == [AT if versions else None]
    assert bool(notes) is not versions
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow"]


def test_the_store_s_time_is_noted_after_the_database_s_moment(tmp_path: Path) -> None:
    order: list[str] = []

    class Frozen:
        @contextmanager
        def frozen(self) -> Any:
            order.append("database")
            yield None, "0001"

        def dump(self, snapshot: str, _: Path) -> None:
            order.append(f"dump {snapshot}")

    class Clock:
        def now(self) -> datetime:
            order.append("store")
            return AT

    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(backup, "sums", lambda _: {})
        patched.setattr(backup, "registered", lambda _: {})
        database_: Any = Frozen()
        clock: Any = Clock()
        found = backup.freeze(database_, clock, tmp_path / "database.dump")

    assert order == ["database", "store", "dump 0001"]
    assert found.at == AT


def test_the_store_s_whole_seconds_lose_no_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    date = "Sat, 31 Jan 2026 09:59:59 GMT"
    monkeypatch.setattr(objects, "answers", lambda *_: date)
    store = objects.Store(StoreAccess("http://s:9000", "us-east-1", "key", "secret"))

    assert store.now() == AT


def test_a_tool_that_finds_a_full_volume_is_a_sentence(tmp_path: Path) -> None:
    script = "import sys; sys.exit('write a: no space left on device')"

    with pytest.raises(LabError, match=r"set a larger `backups\.staging`"):
        run([sys.executable, "-c", script], {})


def test_a_tool_that_is_not_in_the_image_is_named() -> None:
    with pytest.raises(LabError, match=r"^no-such-tool: is not in this image"):
        run(["no-such-tool"], {})


def test_the_reason_of_a_tool_is_its_last_lines() -> None:
    said = "first\n\nsecond\ngithub.com/restic/restic/main.go:1\nthird\nfourth\n"

    assert Done(1, "", said).reason == "second; third; fourth"
    assert Done(7, "", "").reason == "exit code 7"


def test_a_tool_is_stopped_when_the_keeper_is(
    tmp_path: Path,
) -> None:
    file = tmp_path / "said"
    script = (
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"file = pathlib.Path({str(file)!r})\n"
        "try:\n"
        "    file.write_text('begun')\n"
        "    time.sleep(20)\n"
        "except KeyboardInterrupt:\n"
        "    file.write_text('stopped')\n"
    )

    def interrupt() -> None:
        while not file.exists() or file.read_text() != "begun":
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    def stopped(*_: Any) -> None:
        raise LabError("stopped")

    before = signal.signal(signal.SIGUSR1, stopped)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(LabError, match="stopped"):
            run([sys.executable, "-c", script], {})
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert file.read_text() == "stopped"
