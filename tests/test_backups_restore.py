"""`lab restore`: what is refused, in which order things happen, and what is resumed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from labfactory import jobs as real_jobs
from labfactory import labs
from labfactory.backups import begun, carried_back, quiet
from labfactory.backups import cluster as edge
from labfactory.backups import restore as engine
from labfactory.backups.restored import Restored, left_to_do
from labfactory.backups.source import must_be_in_reach
from labfactory.errors import LabError
from labfactory.stack import Stack
from tests.backups_parts import (
    BACKUPS,
    DONE,
    RECOVERY,
    FakeCluster,
    a_job,
    repository,
)
from tests.fake_routes import a_lab, release

IRIS = release({"traffic": 100})
WHOLE = {"recovery": RECOVERY}
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ANSWER = {
    "snapshot": "0123456789abcdef",
    "consistent_at": "2026-11-21T10:00:05+00:00",
    "rows": 1234,
    "objects": 5,
    "runs": 3,
    "problems": [],
    "releases": {"iris": IRIS},
}


class House:
    """A cluster, the settings of one lab, and everything that happens, in order."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.cluster = FakeCluster()
        self.log = self.cluster.log
        self.started: list[dict[str, Any]] = []
        self.applied = False
        self.ends: Callable[[], None] = self.end_well

    def stand_up(self, name: str, *, rescue: bool, **_: Any) -> dict[str, Any]:
        assert rescue, "a policy may stand in its way"
        self.log.append(f"up with {sorted(self.stack.settings.releases)}")
        self.cluster.has_lab("example")
        self.applied = True
        return {}

    def is_up(self) -> None:
        self.cluster.has_lab("example")
        self.applied = True

    def end_well(self) -> None:
        self.log.append("restored")
        self.cluster.wrote("example", engine.RESTORED, ANSWER)  # type: ignore[arg-type]
        self.job(DONE)

    def job(self, status: Mapping[str, Any] | None) -> None:
        notes = self.started[-1]["metadata"]["annotations"]
        job = a_job("restore-now", status=status, notes=notes)
        self.cluster.running["example"] = [job]

    def Jobs(self, *_: str) -> House:
        return self

    def start(self, manifest: dict[str, Any], *, again: bool) -> None:
        self.started.append(manifest)

    def follow(self, *_: Any, **__: Any) -> list[str]:
        self.ends()
        return []

    def values(self) -> dict[str, Any]:
        """The environment of the last Job."""
        [container] = self.started[-1]["spec"]["template"]["spec"]["containers"]
        return {each["name"]: each.get("value") for each in container["env"]}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> House:
    stack = a_lab(
        tmp_path, {"iris": IRIS}, backups=BACKUPS, agreements={"lab": {**WHOLE}}
    )
    found = House(stack)

    def named(name: str) -> Stack:
        if name == "example":
            return stack
        return Stack(name, project=tmp_path)

    monkeypatch.setattr(engine, "Stack", named)
    monkeypatch.setattr(edge, "Cluster", lambda _: found.cluster)
    monkeypatch.setattr(real_jobs, "Jobs", found.Jobs)
    monkeypatch.setattr(labs, "stand_up", found.stand_up)
    monkeypatch.setattr(labs, "prepare", lambda *_: None)
    monkeypatch.setattr(stack, "ensure", lambda _: None)
    monkeypatch.setattr(
        stack, "outputs", lambda: {"lab_image": "x"} if found.applied else {}
    )
    return found


def test_a_lab_that_is_gone_comes_back_with_its_releases_last(house: House) -> None:
    found = engine.restore("example", to="example")

    assert house.log == [
        "up with []",
        "suspend backup",
        *("mlflow 0", "feedback 0", "guard 0"),
        "restored",
        *("mlflow 1", "feedback 1", "guard 1"),
        "resume backup",
        "up with ['iris']",
    ]
    assert found.releases == ("iris",)
    assert (found.rows, found.objects, found.runs) == (1234, 5, 3)
    assert not carried_back.aside(house.stack).exists()
    assert house.stack.file.read_text().startswith("# a comment\n")


def test_the_moment_to_go_back_to_is_before_the_empty_lab_was_made(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[datetime] = []

    def stand_up(name: str, **how: Any) -> dict[str, Any]:
        made.append(datetime.now(UTC))
        return house.stand_up(name, **how)

    monkeypatch.setattr(labs, "stand_up", stand_up)

    engine.restore("example", to="example")

    assert datetime.fromisoformat(house.values()["AT"]) <= made[0]
    assert "OVER" not in house.values()


def test_nothing_is_left_of_the_way_in(house: House) -> None:
    engine.restore("example", to="example")

    assert ("example", quiet.WAY_IN) not in house.cluster.secrets
    assert house.cluster.policies == set()


def test_the_job_reads_the_source_s_repository(house: House) -> None:
    house.is_up()
    house.stack.file.write_text(house.stack.file.read_text())
    house.cluster.secrets["other-backups", "keeper-repository"] = repository("other")
    house.cluster.namespaces.add("other-backups")
    seen: dict[str, Any] = {}

    def ends() -> None:
        seen.update(house.cluster.secrets["example", quiet.WAY_IN])
        seen["policies"] = set(house.cluster.policies)
        house.end_well()

    house.ends = ends

    engine.restore("other", to="example", over="example")

    assert seen["RESTIC_REPOSITORY"].decode().endswith("/backups/other")
    assert seen["policies"] == {
        ("example", quiet.WAY_IN),
        ("other-backups", quiet.WAY_IN),
    }
    assert house.values()["OVER"] == "example"
    assert house.cluster.policies == set()


def test_a_source_whose_backups_nobody_knows_changes_nothing(house: House) -> None:
    house.is_up()
    before = house.stack.file.read_bytes()

    with pytest.raises(LabError, match=r"lab 'other': nothing in the cluster says"):
        engine.restore("other", to="example", over="example")

    assert (house.log, house.stack.file.read_bytes()) == ([], before)


def test_a_living_lab_is_not_replaced_unless_its_name_is_given(house: House) -> None:
    house.is_up()
    before = house.stack.file.read_bytes()

    for _ in range(2):  # nor when the command is simply repeated
        with pytest.raises(LabError, match=r"is alive.*add `--over example`"):
            engine.restore("example", to="example")

    assert (house.log, house.stack.file.read_bytes()) == ([], before)


@pytest.mark.parametrize("answer", ["example", "exampel"])
def test_at_a_terminal_the_name_is_typed(
    house: House, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    house.is_up()
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "prompt", lambda _: answer)

    if answer != "example":
        with pytest.raises(LabError, match="nothing was changed"):
            engine.restore("example", to="example")
        assert house.log == []
    else:
        engine.restore("example", to="example")
        assert house.values()["OVER"] == "example"


def test_another_name_than_the_target_s_is_refused(house: House) -> None:
    with pytest.raises(LabError, match="--over exampel"):
        engine.restore("example", to="example", over="exampel")


def test_a_time_to_come_is_refused_and_one_without_a_zone_is_in_utc() -> None:
    naive = datetime(2026, 11, 21, 11)

    assert engine.checked("demo", naive, None, NOW) == naive.replace(tzinfo=UTC)
    with pytest.raises(LabError, match="is still to come"):
        engine.checked("demo", NOW + timedelta(minutes=1), None, NOW)


def test_a_time_that_is_asked_for_is_what_the_job_gets(house: House) -> None:
    found = engine.restore("example", to="example", at=datetime(2026, 1, 2, 3, 4))

    assert house.values()["AT"] == "2026-01-02T03:04:00+00:00"
    assert found.rpo_seconds is None


def test_a_restore_that_failed_lets_the_lab_work_again(house: House) -> None:
    def fails() -> None:
        house.job({"conditions": [{"type": "Failed", "status": "True"}]})
        raise LabError("job 'restore-now' failed; its last lines:\n  it is not empty")

    house.ends = fails

    with pytest.raises(LabError, match=r"not empty\n.*run the same command again"):
        engine.restore("example", to="example")

    assert house.log[-4:] == ["mlflow 1", "feedback 1", "guard 1", "resume backup"]
    assert ("example", quiet.WAY_IN) not in house.cluster.secrets


def test_ctrl_c_leaves_the_lab_at_rest_and_the_same_command_finishes_it(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        house.job(None)
        raise KeyboardInterrupt

    house.ends = interrupted
    with pytest.raises(KeyboardInterrupt):
        engine.restore("example", to="example")

    assert house.log[-1] == "guard 0"
    assert ("example", quiet.WAY_IN) in house.cluster.secrets
    assert "run the same command again" in capsys.readouterr().err
    first = house.values()["AT"]

    house.ends = house.end_well
    engine.restore("example", to="example")

    assert house.values()["AT"] == first
    assert "goes on with the restore" in capsys.readouterr().err
    assert house.log[-1] == "up with ['iris']"
    assert house.log.count("up with []") == 1


def test_data_that_is_back_is_not_restored_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(carried_back, "put_back", dies)
        with pytest.raises(KeyboardInterrupt):
            engine.restore("example", to="example")
    assert house.stack.settings.releases == {}

    engine.restore("example", to="example")

    assert house.log.count("restored") == 1
    assert sorted(house.stack.settings.releases) == ["iris"]


def test_a_restore_that_is_finished_is_another_one_the_next_time(house: House) -> None:
    engine.restore("example", to="example")

    with pytest.raises(LabError, match="is alive"):
        engine.restore("example", to="example")


def test_two_restores_at_the_same_time_do_not_meet(house: House) -> None:
    house.is_up()
    house.cluster.running["example"] = [a_job("restore-now", notes={"a": "b"})]

    with pytest.raises(LabError, match="a restore is running already"):
        engine.restore("example", to="example", over="example")

    assert ("example", quiet.WAY_IN) not in house.cluster.secrets
    assert "mlflow 0" not in house.log


def test_a_backup_that_is_running_is_not_disturbed(house: House) -> None:
    house.is_up()
    house.cluster.running["example"] = [a_job("backup-1", owner="backup")]

    with pytest.raises(LabError, match="a backup is running already"):
        engine.restore("example", to="example", over="example")

    assert house.started == []
    assert house.log[-1] == "resume backup"


def test_pods_that_do_not_end_are_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.cluster, "pods", lambda _, app: int(app == "mlflow"))
    monkeypatch.setattr(quiet, "GONE_SECONDS", 0)

    with pytest.raises(LabError, match="pods of mlflow do not end"):
        quiet.silence(house.cluster, "example", pause=lambda _: None)  # type: ignore[arg-type]


def test_agreements_about_releases_wait_with_them() -> None:
    about = {"covers": ["iris"], "consumers": ["claims"]}
    tree = {"agreements": {"lab": WHOLE, "iris": about}, "releases": {"iris": IRIS}}

    without = carried_back.without_releases(tree)

    assert without == {"agreements": {"lab": WHOLE}, "releases": {}}
    assert carried_back.with_releases(without, {"iris": IRIS}, tree) == tree
    assert carried_back.with_releases(without, {"wine": IRIS}, tree) == {
        **without,
        "releases": {"wine": IRIS},
    }


def test_releases_that_are_there_stay_and_a_backup_without_settings_takes_none() -> (
    None
):
    there = {"releases": {"wine": IRIS}}

    assert carried_back.with_releases(there, {"iris": IRIS}, {}) == there
    assert carried_back.with_releases({"name": "x"}, {}, {}) == {"name": "x"}
    before = {"releases": {"iris": IRIS}}
    assert carried_back.with_releases({"releases": {}}, {}, before) == before


def test_releases_that_do_not_fit_are_told_and_nothing_is_written(
    house: House,
) -> None:
    carried_back.take_out(house.stack)
    before = house.stack.file.read_bytes()
    elsewhere = {"iris": {**IRIS, "template": "none-such"}}

    with pytest.raises(
        LabError,
        match=r"its data is back, but.*\n.*iris.template: is not a model template",
    ):
        carried_back.put_back(house.stack, elsewhere, "other")

    assert house.stack.file.read_bytes() == before


def test_the_settings_as_they_were_are_kept(house: House) -> None:
    before = yaml.safe_load(house.stack.file.read_text())

    engine.restore("example", to="example")

    kept = house.stack.file.with_name("Pulumi.example.yaml.old")
    assert yaml.safe_load(kept.read_text()) == before


def test_a_restore_that_nobody_finished_for_a_day_is_begun_anew(home: Path) -> None:
    old = begun.begin("a", "b", at=None, over=None, now=NOW)
    begun.keep(old)

    soon = begun.begin("a", "b", at=None, over=None, now=NOW + timedelta(hours=23))
    late = begun.begin("a", "b", at=None, over=None, now=NOW + timedelta(days=1))
    other = begun.begin("c", "b", at=None, over=None, now=NOW)

    assert (soon.at, soon.resumed) == (old.at, True)
    assert (late.resumed, other.resumed) == (False, False)


def test_a_store_inside_of_another_cluster_is_out_of_reach() -> None:
    with pytest.raises(LabError, match=r"inside of cluster 'one'.*cluster 'two'"):
        must_be_in_reach(repository("demo"), "demo", "one", "two")

    must_be_in_reach(repository("demo"), "demo", "one", "one")
    there = {"RESTIC_REPOSITORY": "s3:https://s3.example.com/copies/demo"}
    must_be_in_reach(there, "demo", "one", "two")


def test_what_no_backup_brings_back_is_told(house: House) -> None:
    endpoint = {"url": "https://m.example.com/p", "cost_per_call": 0.1, "key": "m"}
    done = Restored("other", "example", "", NOW, 1, 1, 1, (), 1.0, None)
    variants = house.stack.settings.releases["iris"].variants
    iris = house.stack.settings.releases["iris"]
    external = variants["v1"].model_copy(update={"external": type("E", (), endpoint)()})
    settings = house.stack.settings.model_copy(
        update={
            "releases": {"iris": iris.model_copy(update={"variants": {"v1": external}})}
        }
    )

    told = "\n".join(left_to_do(done, settings))

    assert "external-m" in told
    assert "tell the callers of 'other'" in told
    assert "written after 2026-11-21 12:00 UTC" in told
