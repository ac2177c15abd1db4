"""What `lab bench operations` makes of drills, backups, previews; nothing is timed."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest

from labfactory import bench
from labfactory.backups.history import Drill
from labfactory.bench import (
    operations,
    operations_drills,
    operations_lab,
    operations_policies,
    operations_rules,
    operations_secrets,
    operations_throughput,
)
from labfactory.bench.figure import Figure
from labfactory.bench.ground import NAME, Ground, unwatched
from labfactory.bench.kubectl import Kubectl
from labfactory.bench.operations_throughput import (
    BARE,
    MIB,
    SWEEP,
    by_shell,
    compared,
    filled,
    place,
    seconds,
)
from labfactory.errors import LabError
from labfactory.keeper import objects
from labfactory.keeper.processes import Done
from labfactory.keeper.settings import StoreAccess
from labfactory.settings.edit import edit
from labfactory.settings.new import new
from stacks.load import read
from stacks.promises import Recovery
from tests.backups_parts import cron_job, repository

ADDRESS = repository(NAME)["RESTIC_REPOSITORY"]
WELL = Drill.read(
    {
        "rpo_seconds": 90,
        "rto_seconds": 120,
        "rows": 1234,
        "objects": 56,
        "runs": 7,
        "predictions": 2,
        "equal": True,
        "ok": True,
    }
)


class FakeGround:
    """A lab of which nothing is real but its settings."""

    def __init__(self, file: Path) -> None:
        self.log: list[str] = []
        self.stack = SimpleNamespace(file=file, settings=SimpleNamespace(name=NAME))
        self.progress = self

    @contextmanager
    def step(self, title: str, *, estimate: float | None = None) -> Iterator[None]:
        yield

    def say(self, text: str) -> None:
        self.log.append(text)

    def cluster_ip(self, namespace: str, service: str) -> str:
        return f"{service}.{namespace}"


class FakeKubectl:
    """Answers with the Secrets and the CronJob of a lab."""

    def get(self, *words: str) -> dict[str, Any]:
        if words[2] == "cronjob":
            return cron_job(words[3])
        told = {
            "keeper-repository": repository(NAME),
            "minio-root": {"MINIO_ROOT_USER": "root", "MINIO_ROOT_PASSWORD": "not-one"},
        }[words[3]]
        coded = {k: base64.b64encode(v.encode()).decode() for k, v in told.items()}
        return {"data": coded}


@pytest.fixture
def ground(tmp_path: Path) -> FakeGround:
    return FakeGround(tmp_path / "Pulumi.labbench.yaml")


def as_ground(found: FakeGround) -> Ground:
    return cast(Ground, found)


def changed(
    folder: Path, operation: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Any:
    """The settings that `operation` makes of a new lab's."""
    file = new(NAME, owner="bench", target="embedded", folder=folder)
    edit(file, operation).write()
    return read(file)


def test_the_lab_of_operations_is_watched_backed_up_and_promised(
    tmp_path: Path,
) -> None:
    found = changed(tmp_path, operations_lab.promised)

    assert found.monitoring
    assert found.guard is None
    assert found.backups.store.kind == "minio"
    assert found.agreement.recovery == Recovery(rpo_minutes=1440, rto_minutes=60)


def test_the_lab_of_other_figures_has_nothing_that_works_by_itself(
    tmp_path: Path,
) -> None:
    found = changed(tmp_path, unwatched)

    assert (found.monitoring, found.guard, found.backups) == (None, None, None)
    assert not found.agreements


def test_a_lab_that_has_backups_is_used_again_and_another_one_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    did: list[str] = []
    file = tmp_path / f"Pulumi.{NAME}.yaml"

    def lab() -> Any:
        if not file.exists():
            new(NAME, owner="bench", target="embedded", folder=tmp_path)
            edit(file, unwatched).write()
        return SimpleNamespace(apply=lambda: did.append("apply"))

    def clear() -> None:
        did.append("clear")
        file.unlink(missing_ok=True)

    class FakeStack:
        def __init__(self) -> None:
            self.file = file

        @property
        def settings(self) -> Any:
            return read(file)

    found: Any = SimpleNamespace(
        stack=FakeStack(),
        lab=lab,
        clear=clear,
    )
    lab()

    operations_lab.promising(found)
    operations_lab.promising(found)

    assert did == ["clear", "apply"]
    assert read(file).backups


def drilled(
    monkeypatch: pytest.MonkeyPatch, ground: FakeGround, *outcomes: Drill | LabError
) -> list[Figure]:
    """The figures of drills that end like this, one after the other."""
    left = iter(outcomes)

    def rehearse(lab: str, *, progress: Any) -> Drill:
        outcome = next(left)
        if isinstance(outcome, LabError):
            raise outcome
        return outcome

    monkeypatch.setattr(operations_drills, "backed_up", lambda _: None)
    monkeypatch.setattr(f"{operations_drills.__name__}.jobs.rehearse", rehearse)
    return operations_drills.measure(as_ground(ground), len(outcomes))


def test_drills_that_find_everything_equal_stand_beside_the_agreement(
    monkeypatch: pytest.MonkeyPatch, ground: FakeGround
) -> None:
    slower = replace(WELL, rpo_seconds=150.0, rto_seconds=240.0)

    equal, rpo, rto = drilled(monkeypatch, ground, WELL, slower, slower)

    assert (equal.value, equal.met, len(equal.values)) == (100, True, 3)
    assert equal.note == "1,234 rows, 56 objects, 7 runs, the answers of 2 models"
    assert (rpo.values, rpo.floor, rpo.met) == ((1.5, 2.5, 2.5), 1440, True)
    assert (rto.values, rto.floor, rto.met) == ((2, 4, 4), 60, True)


def test_one_drill_that_fails_is_not_hidden_by_the_others(
    monkeypatch: pytest.MonkeyPatch, ground: FakeGround
) -> None:
    failure = LabError("a drill failed:\n  table runs: has 9 rows")

    equal, rpo, rto = drilled(monkeypatch, ground, WELL, failure, WELL)

    assert (equal.value, equal.met, len(equal.values)) == (0, False, 3)
    assert equal.note.endswith("models; a drill failed: table runs: has 9 rows")
    assert (len(rpo.values), len(rto.values)) == (2, 2)
    assert ground.log == [f"  {failure}"]


def test_drills_that_all_fail_have_measured_no_time(
    monkeypatch: pytest.MonkeyPatch, ground: FakeGround
) -> None:
    [equal] = drilled(monkeypatch, ground, LabError("the second store is away"))

    assert (equal.value, equal.note) == (0, "the second store is away")


def test_a_restore_that_takes_longer_than_was_promised_misses() -> None:
    late = replace(WELL, rto_seconds=3601.0)

    *_, rto = operations_drills.figures([late], [])

    assert not rto.met


def entry(taken: float, **steps: float) -> dict[str, Any]:
    return {"bytes": 320 * MIB, "seconds": taken, "steps": steps, "ok": True}


def test_the_keeper_s_throughput_is_held_against_that_of_the_bare_tools() -> None:
    kept = [entry(20, rclone=5, restic=9), entry(16), entry(40, rclone=7, restic=8)]

    found = compared(kept, [20, 20, 16])

    assert found.values == (16, 20, 8)
    assert found.floors == (16, 16, 20)
    assert (found.ratio, found.met) == (1, True)
    assert found.name == "backup of 320 MiB, the first one, whole"
    assert found.note == "restic 8.0 s, rclone 5.0 s"


def test_a_keeper_that_is_slower_than_the_tools_misses() -> None:
    assert not compared([entry(20)], [17.9]).met


def test_seconds_lie_between_the_two_times_that_the_pod_said() -> None:
    said = "began 1763766000.250000000\nNotice: x\nended 1763766012.750000000\n"

    assert seconds(said) == 12.5
    with pytest.raises(LabError, match=r"does not say when it began(.|\n)*no space"):
        seconds("began 1763766000.25\nrestic: no space")


def test_the_bare_tools_run_in_the_keeper_s_pod_and_are_no_backup_of_the_lab() -> None:
    schedule = cron_job("backup")
    there = place(ADDRESS, 3)

    made = by_shell(schedule, "bench-bare", BARE, there)

    [container] = made["spec"]["template"]["spec"]["containers"]
    template = schedule["spec"]["jobTemplate"]["spec"]["template"]
    [before] = template["spec"]["containers"]
    assert made["metadata"]["name"] == "bench-bare"
    assert "ownerReferences" not in made["metadata"]
    assert made["spec"]["backoffLimit"] == 0
    assert container["envFrom"] == before["envFrom"]
    assert container["command"] == ["/bin/sh", "-euc"]
    assert "command" not in before
    told = {each["name"]: each.get("value") for each in container["env"]}
    assert told["RESTIC_REPOSITORY"] == f"{ADDRESS}-bench-3"
    assert told["STAGING"] == "/staging/bench-3"
    assert told["COPIES_ENDPOINT"] == f"http://minio.{NAME}-backups.svc:9000"
    assert told["COPIES_PATH"] == f"backups/{NAME}-bench-3"


@pytest.mark.parametrize("script", [BARE, SWEEP], ids=["bare", "sweep"])
def test_kubernetes_finds_nothing_to_put_into_a_script(script: str) -> None:
    assert "$(" not in script


def shell(script: str, folder: Path, **told: str) -> tuple[str, list[str]]:
    """Run a script with tools that only say how they were called."""
    calls = folder / "calls"
    for name in ("restic", "pg_dump", "rclone", "sync"):
        tool = folder / name
        tool.write_text(f'#!/bin/sh\necho {name} "$@" >>"{calls}"\n')
        tool.chmod(0o755)
    ran = subprocess.run(
        ["/bin/sh", "-euc", script.replace("/usr/lib/postgresql/15/bin:", "")],
        env={"PATH": f"{folder}:{os.environ['PATH']}", **told},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout, calls.read_text().splitlines()


def keeper_s_rclone(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """How the keeper copies a bucket as it is now."""
    called: list[str] = []

    def run(command: list[str], env: Mapping[str, str]) -> Done:
        called.extend(command)
        return Done(0, "", "")

    monkeypatch.setattr(objects, "run", run)
    access = StoreAccess("http://minio:9000", "us-east-1", "id", "not-one")
    objects.Store(access).pull("mlflow", folder, None)
    return called


def test_the_bare_tools_do_all_of_the_copying_as_the_keeper_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    staging = tmp_path / "staging"

    said, calls = shell(
        BARE,
        tmp_path,
        STAGING=str(staging),
        BUCKETS="mlflow,datasets",
        DATABASE_URI="postgresql://lab@postgres/mlflow",
        STORE_ENDPOINT="http://minio:9000",
        STORE_REGION="us-east-1",
        STORE_KEY_ID="id",
        STORE_SECRET="not-one",
    )

    copy = staging / "copy"
    rclone = [
        f"rclone sync store:{bucket} {copy}/objects/{bucket} --use-server-modtime "
        "--fast-list --transfers=8 --checkers=16 --retries=2"
        for bucket in ("mlflow", "datasets")
    ]
    assert calls == [
        "restic init --quiet",
        f"pg_dump -Fc -Z0 --file={copy}/database.dump postgresql://lab@postgres/mlflow",
        *rclone,
        "restic backup . --quiet",
    ]
    assert 0 <= seconds(said) < 60
    kept = keeper_s_rclone(monkeypatch, copy / "objects" / "mlflow")
    assert rclone[0] == " ".join(kept)


def test_a_place_is_swept_and_no_other(tmp_path: Path) -> None:
    staging = tmp_path / "bench-1"
    (staging / "copy").mkdir(parents=True)
    other = tmp_path / "backup"
    other.mkdir()

    _, calls = shell(
        SWEEP,
        tmp_path,
        STAGING=str(staging),
        COPIES_ENDPOINT="http://minio:9000",
        COPIES_PATH=f"backups/{NAME}-bench-1",
    )

    assert calls == [f"rclone delete copies:backups/{NAME}-bench-1", "sync"]
    assert not staging.exists()
    assert other.exists()


def test_backups_are_made_in_turns_each_in_a_place_of_its_own_that_is_swept(
    monkeypatch: pytest.MonkeyPatch, ground: FakeGround
) -> None:
    did: list[tuple[str, str]] = []

    class FakeJobs:
        def __init__(self, context: str, namespace: str) -> None:
            self.lines: list[str] = []

        def start(self, job: dict[str, Any], *, again: bool) -> None:
            [container] = job["spec"]["template"]["spec"]["containers"]
            told = {each["name"]: each.get("value") for each in container["env"]}
            did.append((job["metadata"]["name"], told["STAGING"]))

        def follow(self, name: str, step: Any, *, seconds: float) -> list[str]:
            return ["began 10.0", "ended 19.0"]

    def carried_out(order: Any, *_: Any) -> dict[str, Any]:
        did.append(("keeper", order.environment["STAGING"]))
        assert "MEND" not in order.environment
        return entry(10.0)

    @contextmanager
    def nothing(*_: Any) -> Iterator[None]:
        yield

    class Here(FakeKubectl):
        def run(self, *words: str) -> str:
            assert words[:4] == ("-n", NAME, "delete", "job")
            return ""

    module = operations_throughput
    for name, fake in {
        "promising": lambda _: None,
        "Kubectl": Here,
        "Jobs": FakeJobs,
        "Cluster": nothing,
        "filled": nothing,
    }.items():
        monkeypatch.setattr(module, name, fake)
    monkeypatch.setattr(f"{module.__name__}.jobs.carried_out", carried_out)

    [found] = module.measure(as_ground(ground), 2)

    assert did == [
        ("keeper", "/staging/bench-0"),
        ("bench-sweep", "/staging/bench-0"),
        ("bench-bare", "/staging/bench-1"),
        ("bench-sweep", "/staging/bench-1"),
        ("keeper", "/staging/bench-2"),
        ("bench-sweep", "/staging/bench-2"),
        ("bench-bare", "/staging/bench-3"),
        ("bench-sweep", "/staging/bench-3"),
    ]
    assert found.ratio == pytest.approx(0.9)


def test_the_objects_that_were_put_into_the_store_are_gone_with_their_versions(
    monkeypatch: pytest.MonkeyPatch, ground: FakeGround
) -> None:
    there: dict[tuple[str, str], int] = {}

    class Client:
        def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> dict[str, str]:
            there[Key, f"version of {Key}"] = len(Body)
            return {"VersionId": f"version of {Key}"}

        def delete_object(self, *, Bucket: str, Key: str, VersionId: str) -> None:
            del there[Key, VersionId]

        def close(self) -> None:
            pass

    monkeypatch.setattr(boto3, "client", lambda *_, **__: Client())
    monkeypatch.setattr(operations_throughput, "OBJECTS", 5)

    with filled(as_ground(ground), cast(Kubectl, FakeKubectl())):
        held = dict(there)

    assert [*held.values()] == [MIB] * 5
    assert there == {}


def test_the_share_of_policies_is_told_in_seconds_and_in_processor_time() -> None:
    wall, processor = operations_policies.shares(
        [(3.2, 4.5), (3.3, 4.4)], [(3.0, 4.0), (3.1, 4.0)]
    )

    assert (wall.values, wall.floors) == ((3.2, 3.3), (3.0, 3.1))
    assert wall.met
    assert (processor.values, processor.floors) == ((4.5, 4.4), (4.0, 4.0))
    assert not processor.met


def test_a_preview_has_its_policies_every_other_time(
    monkeypatch: pytest.MonkeyPatch, ground: FakeGround
) -> None:
    ran: list[bool] = []

    def spent(command: Any, given: Any) -> tuple[float, float]:
        ran.append("--policy-pack" in command)
        return float(len(ran)), 1.0

    @contextmanager
    def run(given: Any, drill: Any) -> Iterator[Any]:
        yield SimpleNamespace(flags=("--policy-pack", "twin"), environment={})

    module = operations_policies
    monkeypatch.setattr(module, "promising", lambda _: None)
    monkeypatch.setattr(module, "spent", spent)
    monkeypatch.setattr(f"{module.__name__}.history.last_drill", lambda _: None)
    monkeypatch.setattr(f"{module.__name__}.pack.run", run)
    monkeypatch.setattr(f"{module.__name__}.environment.variables", dict)

    wall, _ = module.previews(as_ground(ground), 3)

    assert ran == [True, False] * 8
    # The first pair only warms up.
    assert wall.values == (3, 5, 7, 9, 11, 13, 15)
    assert len(wall.floors) == 7


def test_what_a_command_leaves_behind_counts_as_its_own() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    child = f'{sys.executable} -I -S -c "{busy}"'

    command = ["/bin/sh", "-c", f"{child} & exit 0"]
    _, processor = operations_policies.spent(command, os.environ)

    assert processor >= 0.3


def test_a_command_that_fails_is_an_error_with_what_it_said() -> None:
    words = ["/bin/sh", "-c", "echo it is refused; exit 3"]

    with pytest.raises(LabError, match="/bin/sh -c fails: it is refused"):
        operations_policies.spent(words, os.environ)


def test_all_committed_stacks_are_checked_by_the_command_itself(
    monkeypatch: pytest.MonkeyPatch, ground: FakeGround
) -> None:
    ran: list[tuple[str, ...]] = []
    module = operations_policies
    monkeypatch.setattr(module, "lab", lambda *words: ran.append(words))
    monkeypatch.setattr(f"{module.__name__}.checked.committed", lambda: ["example"])

    [found] = module.check(as_ground(ground), 3)

    assert ran == [("check",)] * 3
    assert len(found.values) == 3
    assert found.note.endswith("rules, stacks: 1")
    assert found.met


def test_the_rules_are_tried_with_a_sample(
    monkeypatch: pytest.MonkeyPatch, ground: FakeGround
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(operations_rules, "rules", asked.append)

    operations.rules(as_ground(ground), 3)

    assert asked == [200]


def test_secrets_are_looked_for_once_there_is_a_backup(
    monkeypatch: pytest.MonkeyPatch, ground: FakeGround
) -> None:
    did: list[str] = []
    monkeypatch.setattr(operations, "backed_up", lambda _: did.append("backup"))
    monkeypatch.setattr(operations_secrets, "measure", lambda *_: did.append("look"))

    operations.secrets(as_ground(ground), 3)

    assert did == ["backup", "look"]


def test_operations_stand_for_all_their_parts_and_each_part_for_itself() -> None:
    parts = [*operations.PARTS]

    assert bench.chosen(["operations"]) == parts
    assert bench.chosen(["operations-check"]) == ["operations-check"]
    assert bench.chosen(["node", "operations"]) == ["node", *parts]
    assert [name for name in bench.chosen([]) if name in parts] == parts
    with pytest.raises(LabError, match=r"no figure drills; .*, operations$"):
        bench.chosen(["drills"])
