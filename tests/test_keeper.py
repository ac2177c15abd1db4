"""What the keeper decides: proofs, choices, and what is kept and told."""

from __future__ import annotations

import gzip
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from model_server.digest import tree_digest

from labfactory.errors import LabError
from labfactory.keeper import __main__ as program
from labfactory.keeper import cluster, predictions, proof, results, settings
from labfactory.keeper.backup import alone, artifacts, take_record
from labfactory.keeper.drill import tracking_bucket
from labfactory.keeper.manifest import Manifest
from labfactory.keeper.objects import Remembered, place, tree
from labfactory.keeper.repository import Snapshot, chosen, damage
from labfactory.keeper.restore import age, pinned

TABLES = {"runs": {"rows": 2, "sum": "aa"}, "tags": {"rows": 1, "sum": "bb"}}
OBJECTS = {"mlflow": {"1/a": {"bytes": 3, "sha256": "x"}}}
MANIFEST = Manifest(
    lab="vision",
    consistent_at="2026-01-31T10:00:00+00:00",
    database=TABLES,
    objects=OBJECTS,
    runs=2,
    models={"iris/1": {"artifact": "s3://mlflow/1/m", "digest": "sha256:1"}},
    predictions={
        "iris/v1": {"artifact": "s3://mlflow/1/m", "rows": [[1]], "answers": [0]}
    },
    cluster=("ConfigMap/own",),
    notes=("something was left out",),
)
ENVIRONMENT = {
    "LAB": "vision",
    "RESTIC_REPOSITORY": "s3:http://minio.vision-backups:9000/backups/vision",
    "RESTIC_PASSWORD": "one-password",
    "STORE_ENDPOINT": "http://minio:9000",
    "STORE_KEY_ID": "backup-1",
    "STORE_SECRET": "another-password",
    "BUCKETS": "mlflow,datasets",
    "DATABASE_URI": "postgresql+psycopg2://keeper:p%40ss@postgres:5433/mlflow",
}


def hour(number: int) -> datetime:
    return datetime(2026, 1, 31, number, tzinfo=UTC)


def snapshot(number: int) -> Snapshot:
    return Snapshot(f"{number:064x}", hour(number))


def test_equal_content_leaves_nothing_to_say() -> None:
    assert [*proof.tables(TABLES, TABLES)] == []
    assert [*proof.objects(OBJECTS, OBJECTS)] == []
    assert [*proof.counts("runs", 2, 2)] == []
    assert [*proof.digests({"iris": "a"}, {"iris": "a", "other": "b"})] == []
    assert [*proof.answers("iris", [1, 2.5], [1, 2.5])] == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"runs": TABLES["runs"]}, "table tags: is missing (1 rows were kept)"),
        (
            {**TABLES, "more": {"rows": 4, "sum": "c"}},
            "table more: was not in the backup (4 rows)",
        ),
        (
            {**TABLES, "runs": {"rows": 1, "sum": "aa"}},
            "table runs: has 1 rows, 2 were kept",
        ),
        (
            {**TABLES, "runs": {"rows": 2, "sum": "ab"}},
            "table runs: has other content in its 2 rows",
        ),
    ],
    ids=["missing", "more", "fewer-rows", "other-rows"],
)
def test_every_table_that_differs_is_named(found: Any, said: str) -> None:
    assert [*proof.tables(TABLES, found)] == [said]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "is missing (3 bytes were kept)"),
        ({"1/a": {"bytes": 2, "sha256": "x"}}, "has 2 bytes, 3 were kept"),
        ({"1/a": {"bytes": 3, "sha256": "y"}}, "has other content in its 3 bytes"),
    ],
    ids=["missing", "shorter", "one-bit"],
)
def test_every_object_that_differs_is_named(found: Any, said: str) -> None:
    assert [*proof.objects(OBJECTS, {"mlflow": found})] == [
        f"object s3://mlflow/1/a: {said}"
    ]


def test_an_object_that_was_not_kept_is_a_difference() -> None:
    found: dict[str, Any] = {**OBJECTS, "datasets": {"b": {"bytes": 1}}}

    assert [*proof.objects(OBJECTS, found)] == [
        "object s3://datasets/b: was not in the backup"
    ]


def test_a_model_that_is_gone_or_another_is_named() -> None:
    said = [*proof.digests({"a/1": "x", "b/1": "y"}, {"b/1": "z"})]

    assert said == [
        "model a/1: its artifact is missing",
        "model b/1: its artifact is z, pinned is y",
    ]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1.0, 1.0 + 1e-12, True),
        (1.0, 1.0 + 1e-6, False),
        (1, 1.0, True),
        (True, 1, False),
        ("a", "a", True),
        ("a", None, False),
        ([1, [2.0]], [1, [2.0]], True),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"b": 1}, False),
    ],
    ids=str,
)
def test_answers_are_equal_but_for_the_last_digits(
    one: Any, other: Any, same: bool
) -> None:
    assert proof.equal(one, other) is same


def test_answers_that_differ_name_the_first_row() -> None:
    assert [*proof.answers("iris", [0, 1, 2], [0, 2, 1])] == [
        "model iris: answers 2 of 3 rows otherwise (row 1: 2, kept was 1)"
    ]
    assert [*proof.answers("iris", [0, 1], [0])] == [
        "model iris: gives 1 answers, 2 were kept"
    ]


def test_twenty_differences_are_shown_and_the_rest_counted() -> None:
    said = [str(number) for number in range(23)]

    assert proof.shown(said[:20]) == said[:20]
    assert proof.shown(said) == [*said[:20], "and 3 more differences"]


def test_the_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)

    assert Manifest.read(tmp_path) == MANIFEST
    assert (MANIFEST.rows, MANIFEST.keys) == (3, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "can't be read"),
        ("{", "can't be read"),
        ("[]", "can't be read"),
        ('{"format": 2}', "has format 2, this keeper reads 1"),
        ('{"format": 1}', "can't be read"),
    ],
    ids=["none", "cut", "no-object", "of-later", "of-nothing"],
)
def test_a_manifest_that_cannot_be_used_is_said(
    tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)

    with pytest.raises(LabError, match=said):
        Manifest.read(tmp_path)


def test_everything_that_the_environment_lacks_is_named_at_once() -> None:
    there = {k: v for k, v in ENVIRONMENT.items() if k not in ("LAB", "BUCKETS")}

    with pytest.raises(LabError, match="lacks LAB, BUCKETS;"):
        settings.read(there, "drill")


def test_no_password_is_in_what_is_printed_of_the_settings() -> None:
    found = settings.read(ENVIRONMENT, "backup")

    assert "password" not in repr(found).replace("password=", "")
    assert "p%40ss" not in repr(found)
    assert "p@ss" not in repr(found.database)
    assert found.database.password == "p@ss"
    assert found.database.uri == "postgresql://keeper@postgres:5433/mlflow"
    assert found.repository.endpoint == "http://minio.vision-backups:9000"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AT", "yesterday"),
        ("KEEP", "[]"),
        ("MODELS", "{"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(name: str, value: str) -> None:
    with pytest.raises(LabError, match=f"^{name}: "):
        settings.read({**ENVIRONMENT, name: value}, "restore")


@pytest.mark.parametrize("uri", ["", "postgresql://host/", "postgresql://u@h:x/d"])
def test_an_address_that_is_no_database_is_said_without_it(uri: str) -> None:
    with pytest.raises(LabError, match=r"^DATABASE_URI: is not the address") as found:
        settings.DatabaseAccess.of(uri)

    assert not uri or uri not in str(found.value)


def test_a_time_without_a_zone_is_in_utc() -> None:
    found = settings.read({**ENVIRONMENT, "AT": "2026-01-31T10:00"}, "restore")

    assert found.at == hour(10)


def test_a_child_gets_no_key_that_it_was_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the second store")

    assert "AWS_SECRET_ACCESS_KEY" not in settings.child(TZ="UTC")


def test_the_newest_backup_before_a_time_is_chosen() -> None:
    kept = [snapshot(8), snapshot(9), snapshot(10)]

    assert chosen(kept, None) == snapshot(10)
    assert chosen(kept, hour(9)) == snapshot(9)
    assert chosen(kept, hour(11)) == snapshot(10)


def test_a_time_before_the_first_backup_says_when_that_was() -> None:
    with pytest.raises(LabError, match="the first is of 2026-01-31T08:00:00"):
        chosen([snapshot(8)], hour(7))
    with pytest.raises(LabError, match="there is no backup yet"):
        chosen([], None)


def test_damaged_packs_and_records_are_read_out_of_what_restic_says() -> None:
    pack, index = "ab" * 32, "cd" * 32
    said = (
        f"Pack ID does not match, want {pack}, got {index}\n"
        f"error loading index {index}: load <index/{index[:10]}>: invalid data\n"
        "error: load <snapshot/2d8a05977a>: invalid data returned\n"
    )

    assert damage(said) == ([pack], ["2d8a05977a"])


def test_a_file_that_decayed_on_the_staging_volume_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "objects" / "mlflow"
    folder.mkdir(parents=True)
    for name in ("a", "b", "c"):
        (folder / name).write_bytes(b"one")
    memory = tmp_path / "sums.json"
    before = Remembered(memory)
    before.write(folder.parent, {"mlflow": tree(folder)})
    stat = (folder / "a").stat()
    (folder / "a").write_bytes(b"onf")
    os.utime(folder / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (folder / "b").write_bytes(b"new")
    os.utime(folder / "b", ns=(0, 1))

    assert before.decayed(folder, tree(folder)) == []
    assert Remembered(memory).decayed(folder, tree(folder)) == ["a"]


def test_the_registry_s_models_are_found_in_the_copy(tmp_path: Path) -> None:
    folder = tmp_path / "mlflow" / "1" / "models" / "m-1" / "artifacts"
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}")
    at = "1/models/m-1/artifacts"
    places = {
        "proxied/1": f"mlflow-artifacts:/{at}",
        "direct/1": f"s3://mlflow/{at}",
        "gone/1": "mlflow-artifacts:/1/models/m-2/artifacts",
        "elsewhere/1": "s3://other/m",
    }

    found = artifacts(places, ("datasets", "mlflow"), tmp_path)

    kept = {"artifact": f"s3://mlflow/{at}", "digest": tree_digest(folder)}
    assert found == {"proxied/1": kept, "direct/1": kept}


def test_settings_and_state_are_taken_from_the_record(tmp_path: Path) -> None:
    record, folder = tmp_path / "record", tmp_path / "settings"
    record.mkdir()
    assert take_record(record, folder) is None

    (record / "settings").write_text("config: {}\n")
    (record / "state").write_bytes(gzip.compress(b'{"version": 3}'))
    (record / "at").write_text("2026-01-31T10:00:00+00:00\n")

    assert take_record(record, folder) == "2026-01-31T10:00:00+00:00"
    assert (folder / "stack.yaml").read_text() == "config: {}\n"
    assert (folder / "state.json").read_text() == '{"version": 3}'


def test_a_state_that_cannot_be_unpacked_is_said(tmp_path: Path) -> None:
    (tmp_path / "at").write_text("2026-01-31")
    (tmp_path / "settings").write_text("")
    (tmp_path / "state").write_bytes(gzip.compress(b"a" * 100)[:-9])

    with pytest.raises(LabError, match="the state in it can't be unpacked"):
        take_record(tmp_path, tmp_path / "settings-folder")


def test_two_backups_do_not_share_the_staging_volume(tmp_path: Path) -> None:
    with (
        alone(tmp_path),
        pytest.raises(LabError, match="another backup is being made"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass


@pytest.mark.parametrize(
    ("saved", "rows"),
    [
        (
            {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}},
            [{"a": 1, "b": 2}],
        ),
        ({"columns": ["a"], "data": [[1], [2]]}, [{"a": 1}, {"a": 2}]),
        ({"data": [[1]]}, [[1]]),
        ({"inputs": [[1]]}, [[1]]),
        ({"rows": [[1]], "predictions": [0]}, [[1]]),
        ([[1]], [[1]]),
        ({"inputs": {"a": [1]}}, []),
        (3, []),
    ],
    ids=[
        "serving",
        "example",
        "no-names",
        "inputs",
        "expected",
        "list",
        "tensors",
        "no-rows",
    ],
)
def test_example_rows_are_read_however_they_are_spelled(saved: Any, rows: Any) -> None:
    assert predictions.rows(saved) == rows


def test_rows_beside_a_model_serve_when_it_has_none_itself(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "serving_input_example.json").write_text("{")
    (tmp_path / "expected.json").write_text(json.dumps({"rows": [[1]] * 50}))

    assert predictions.examples(folder) == [[1]] * predictions.MOST_ROWS


def test_a_backup_does_not_fail_because_a_model_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "input_example.json").write_text("[[1]]")
    up, down = (
        settings.Model(f"s3://mlflow/{name}", "", f"http://{name}")
        for name in ("up", "down")
    )

    def ask(url: str, rows: list[Any]) -> list[Any]:
        if "down" in url:
            raise OSError("refused")
        return [len(rows)]

    monkeypatch.setattr(predictions, "ask", ask)
    found, notes = predictions.record(
        {"r/up": up, "r/down": down, "r/bare": up},
        {"r/up": tmp_path, "r/down": tmp_path},
    )

    kept = {"artifact": "s3://mlflow/up", "rows": [[1]], "answers": [1]}
    assert found == {"r/up": kept}
    assert [note.split(":")[0] for note in notes] == ["model r/down", "model r/bare"]
    assert "refused" in notes[0]


def test_only_what_nobody_declares_is_kept_of_the_cluster() -> None:
    labels = {"app.kubernetes.io/managed-by": "labfactory"}
    items: list[dict[str, Any]] = [
        {"metadata": {"name": "ours", "labels": labels}},
        {"metadata": {"name": "owned", "ownerReferences": [{"kind": "Job"}]}},
        {"metadata": {"name": "kube-root-ca.crt"}},
        {"metadata": {"name": "own", "labels": None}},
    ]

    assert [each["metadata"]["name"] for each in cluster.undeclared(items)] == ["own"]


def test_what_the_cluster_adds_to_an_object_is_not_kept() -> None:
    service = {
        "metadata": {"name": "own", "uid": "1", "resourceVersion": "2", "labels": {}},
        "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": []},
        "status": {},
    }

    assert cluster.cleaned(service) == {
        "metadata": {"name": "own", "labels": {}},
        "spec": {"ports": []},
    }
    headless = {"metadata": {"name": "own"}, "spec": {"clusterIP": "None"}}
    assert cluster.cleaned(headless) == headless


def test_fifty_results_are_kept_the_newest_last() -> None:
    text: str | None = None
    for number in range(results.MOST + 3):
        text = results.appended(text, {"number": number})

    kept = [each["number"] for each in json.loads(text or "")]
    assert kept == [*range(3, results.MOST + 3)]


@pytest.mark.parametrize("text", [None, "", "{", "{}"])
def test_a_list_that_cannot_be_read_begins_anew(text: str | None) -> None:
    assert json.loads(results.appended(text, {"ok": True})) == [{"ok": True}]


def test_a_variant_is_proved_by_the_digest_that_is_pinned() -> None:
    asked = settings.read(
        {
            **ENVIRONMENT,
            "MODELS": json.dumps(
                {
                    "iris/v1": {"artifact": "s3://mlflow/1/m", "digest": "sha256:9"},
                    "iris/v2": {"artifact": "s3://mlflow/1/n", "digest": "sha256:8"},
                }
            ),
        },
        "drill",
    )

    assert pinned(asked, MANIFEST) == {
        "iris/1": ("s3://mlflow/1/m", "sha256:1"),
        "iris/v1": ("s3://mlflow/1/m", "sha256:9"),
    }


def test_the_age_of_a_backup_is_what_would_have_been_lost() -> None:
    assert age(MANIFEST, hour(11)) == 3600


def test_the_tracking_server_of_a_drill_finds_its_artifacts() -> None:
    assert tracking_bucket(MANIFEST) == "mlflow"
    assert tracking_bucket(replace(MANIFEST, models={})) == "mlflow"
    assert place("s3://mlflow/1/m/") == ("mlflow", "1/m")


class Told:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
        self.entries: list[tuple[str, Mapping[str, Any]]] = []
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        monkeypatch.setattr(program, "TERMINATION_LOG", log)
        monkeypatch.setattr(
            results, "record", lambda key, entry, _: self.entries.append((key, entry))
        )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Told:
    log = tmp_path / "termination-log"
    log.touch()
    return Told(monkeypatch, log)


def test_what_became_of_a_backup_is_recorded(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "work", lambda *_: {"snapshot": "ab"})

    assert program.main(["backup"], ENVIRONMENT) == 0

    [(key, entry)] = told.entries
    assert key == "backups.json"
    assert (entry["snapshot"], entry["ok"], entry["error"]) == ("ab", True, None)


def test_a_drill_that_fails_is_recorded_and_said_in_the_pod_s_status(
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(*_: Any) -> Any:
        raise LabError("the second store: is away; bring it back")

    monkeypatch.setattr(program, "work", work)

    assert program.main(["drill"], ENVIRONMENT) == 1

    [(key, entry)] = told.entries
    said = "the second store: is away; bring it back"
    assert (key, entry["ok"], entry["equal"]) == ("drills.json", False, False)
    assert entry["problems"] == [said]
    assert capsys.readouterr().err == f"{said}\n"
    assert program.TERMINATION_LOG.read_text() == said


def test_a_drill_whose_proof_fails_is_not_well(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = "table runs: is missing"
    entry = {"equal": False, "problems": [problem]}
    monkeypatch.setattr(program, "work", lambda *_: entry)

    assert program.main(["drill"], ENVIRONMENT) == 1

    assert told.entries[0][1]["ok"] is False
    assert problem in program.TERMINATION_LOG.read_text()


def test_a_volume_that_is_full_is_a_sentence(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(program, "work", work)

    assert program.main(["backup"], ENVIRONMENT) == 1
    assert "set a larger `backups.staging`" in told.entries[0][1]["error"]


def test_a_backup_that_is_stopped_is_recorded_as_none(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "work", lambda *_: program._stopped(15, None))

    assert program.main(["backup"], ENVIRONMENT) == 1
    assert "was stopped (SIGTERM)" in told.entries[0][1]["error"]


@pytest.mark.parametrize("argv", [[], ["now"], ["backup", "drill"]], ids=len)
def test_another_verb_shows_how_it_is_called(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(argv, {}) == 1
    assert "backup|drill|restore|check" in capsys.readouterr().err


def test_the_cluster_is_asked_in_the_words_of_the_client_that_is_installed() -> None:
    from kubernetes.client import ApiClient

    api = create_autospec(ApiClient, instance=True)

    cluster.call(api, "GET", "/api/v1/namespaces/example/configmaps")

    api.call_api.assert_called_once()


def test_a_restored_lab_knows_again_which_backups_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrote: dict[str, str] = {"full": '[{"snapshot": "new"}]'}

    def write(key: str, change: Any, _: str) -> None:
        wrote[key] = change(wrote.get(key))

    monkeypatch.setattr(results, "_write", write)

    for key in ("empty", "full"):
        results.begin(key, [{"snapshot": "old"}], "example")

    assert wrote == {"empty": '[{"snapshot": "old"}]', "full": '[{"snapshot": "new"}]'}


@pytest.mark.parametrize("newest", ["", "1"], ids=["at a time", "the newest"])
def test_only_who_asks_for_a_time_is_given_an_older_backup(newest: str) -> None:
    said = {**ENVIRONMENT, "AT": "2026-01-31T10:00:00+00:00", "NEWEST": newest}

    assert settings.read(said, "restore").newest == bool(newest)
