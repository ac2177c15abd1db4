"""`lab new` writes a file that is valid, and asks only what nobody said."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from labfactory.errors import LabError
from labfactory.settings.new import new, new_seed
from stacks import editor, load
from stacks.load import SettingsError
from stacks.promises import OwnBackupStore, Recovery
from stacks.schema import LabConfig

TODAY = datetime.date(2026, 11, 21)


def write(folder: Path, name: str = "demo", **wishes: Any) -> tuple[str, LabConfig]:
    path = new(name, ask=False, folder=folder, today=TODAY, **wishes)
    return path.read_text(), load.read(path)


class Person:
    """Answers in turn, and remembers what was asked."""

    def __init__(self, *answers: str | bool) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def confirm(self, question: str, default: bool) -> bool:
        self.asked.append(question)
        answer = self.answers.pop(0)
        assert isinstance(answer, bool)
        return answer

    def prompt(self, question: str, default: str | None, value_proc: Any) -> str:
        self.asked.append(question)
        while True:
            answer = self.answers.pop(0)
            try:
                return str(value_proc(answer or default))
            except typer.BadParameter as refusal:
                self.asked.append(str(refusal))


def sit_down(monkeypatch: pytest.MonkeyPatch, *answers: str | bool) -> Person:
    person = Person(*answers)
    monkeypatch.setattr(typer, "confirm", person.confirm)
    monkeypatch.setattr(typer, "prompt", person.prompt)
    return person


def test_a_new_lab_runs_on_this_machine_with_everything_of_its_own(
    tmp_path: Path,
) -> None:
    written, config = write(tmp_path, owner="vision")

    assert written.startswith(editor.HEADER + "\n")
    assert config.credentials_issued == TODAY
    kinds = (config.cluster.target, config.platform.kind, config.storage.kind)
    assert kinds == ("embedded", "own", "minio")
    assert config.tracking.bucket in config.storage.buckets
    assert config.predictions
    assert config.predictions.bucket in config.storage.buckets
    assert config.releases == {}


def test_a_new_lab_promises_what_its_backups_can_keep(tmp_path: Path) -> None:
    written, config = write(tmp_path, owner="vision", capacity="50Gi")

    assert config.agreement
    assert config.agreement.objectives.availability == 0.99
    assert config.agreement.recovery == Recovery(rpo_minutes=1440, rto_minutes=60)
    assert config.backups
    assert config.backups.store == OwnBackupStore(kind="minio", capacity="50Gi")
    assert config.backups.staging == "50Gi"
    # Nobody can know what it may cost.
    assert config.agreement.cost is None
    assert "        # cost: {monthly: 500}\n" in written


def test_what_a_new_lab_leaves_out_can_be_put_in(tmp_path: Path) -> None:
    written, _ = write(tmp_path, owner="vision")

    put_in = written.replace("        # cost:", "        cost:")

    config = load.parse_file(put_in.encode(), source="f")
    assert config.agreement
    assert config.agreement.cost


def test_a_store_of_somebody_else_s_is_not_copied_before_there_are_keys(
    tmp_path: Path,
) -> None:
    written, config = write(tmp_path, owner="vision", endpoint="https://s3.example.com")

    assert config.backups is None
    assert config.agreement
    assert config.agreement.recovery is None
    uncommented = re.sub(
        r"# (backups:|  store: \{kind: minio|  staging:|recovery:)", r"\1", written
    )
    with pytest.raises(SettingsError) as error:
        load.parse_file(uncommented.encode(), source="f")
    assert {*re.findall(r"labfactory:([a-z0-9-]+)", str(error.value))} == {
        *("s3-backup-key-id", "s3-backup-secret"),
        *("s3-restore-key-id", "s3-restore-secret"),
    }


def test_flags_choose_what_exists_already(tmp_path: Path) -> None:
    _, config = write(
        tmp_path,
        owner="vision",
        context='team "a": {eu}',
        registry="registry.example.com/labfactory",
        gateway="projectcontour/lab",
        endpoint="https://s3.example.com",
        region="eu-west-1",
    )

    assert config.cluster.model_dump()["context"] == 'team "a": {eu}'
    kinds = (config.cluster.target, config.platform.kind, config.storage.kind)
    assert kinds == ("existing", "shared", "s3")


def test_a_bucket_that_nobody_named_is_not_expected_of_somebody_elses_store(
    tmp_path: Path,
) -> None:
    written, config = write(tmp_path, owner="vision", endpoint="https://s3.example.com")

    assert config.predictions is None
    assert "    # predictions: {bucket: predictions}\n" in written


@pytest.mark.parametrize("word", ["on", "null", "true", "n"])
def test_a_name_that_yaml_reads_as_something_else_stays_a_name(
    tmp_path: Path, word: str
) -> None:
    _, config = write(tmp_path, name=word, owner=word)

    assert (config.name, config.owner) == (word, word)


def test_the_file_has_no_blank_line_that_pulumi_would_take_out(tmp_path: Path) -> None:
    written, _ = write(tmp_path, owner="vision")

    assert "" not in written.splitlines()


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.demo.yaml").write_text("mine")

    with pytest.raises(LabError, match="exists already; edit it"):
        write(tmp_path, owner="vision")

    assert (tmp_path / "Pulumi.demo.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", ["../demo", "Demo", "kube-system", "d" * 31, ""])
def test_a_name_that_no_namespace_can_have_is_refused(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(LabError, match=r"^lab new: the name is "):
        write(tmp_path, name=name, owner="vision")

    assert list(tmp_path.iterdir()) == []


def test_a_lab_without_an_owner_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="name a team with --owner"):
        write(tmp_path)


def test_flags_that_do_not_fit_together_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(LabError) as error:
        write(tmp_path, target="embedded", registry="registry.example.com")

    assert str(error.value).splitlines() == [
        "lab new: the lab has no owner; name a team with --owner",
        "lab new: --registry is for the target `existing` only; leave it out, or say "
        "--target existing",
    ]


def test_an_existing_cluster_needs_its_context(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="needs --context"):
        write(tmp_path, owner="vision", target="existing")


def test_a_target_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="say embedded or existing"):
        write(tmp_path, owner="vision", target="aws")


def test_nobody_is_asked_when_owner_and_target_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = sit_down(monkeypatch)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    new("demo", owner="vision", target="embedded", folder=tmp_path)

    assert person.asked == []


def test_a_flag_that_cannot_be_a_setting_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"lab new demo:.*storage.capacity: is not"):
        write(tmp_path, owner="vision", capacity="20GB")

    assert list(tmp_path.iterdir()) == []


def test_the_questions_lead_to_a_lab_on_a_cluster_of_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = sit_down(
        monkeypatch,
        "vision",
        False,
        "team",
        True,
        "registry.example.com",
        True,
        "projectcontour/lab",
        False,
        "https://s3.example.com",
        "",
    )

    path = new("demo", ask=True, folder=tmp_path)

    config = load.read(path)
    kinds = (config.cluster.target, config.platform.kind, config.storage.kind)
    assert kinds == ("existing", "shared", "s3")
    assert person.answers == []


def test_what_was_said_by_flag_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = sit_down(monkeypatch)

    new(
        "demo",
        owner="vision",
        context="team",
        registry="registry.example.com",
        gateway="projectcontour/lab",
        endpoint="https://s3.example.com",
        ask=True,
        folder=tmp_path,
    )

    assert person.asked == []


def test_a_wrong_answer_is_explained_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = sit_down(monkeypatch, "The Vision Team", "vision", True, True, "20GB", "")

    path = new("demo", ask=True, folder=tmp_path)

    assert load.read(path).owner == "vision"
    refusals = [said for said in person.asked if said.startswith("is not")]
    assert [said.split(";")[0] for said in refusals] == [
        "is not a name",
        "is not a size",
    ]


def test_every_seed_is_a_new_one_of_32_bytes() -> None:
    seeds = {new_seed() for _ in range(20)}

    assert len(seeds) == 20
    assert all(len(seed) == 43 for seed in seeds)
