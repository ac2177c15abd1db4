"""The batch worker: files in a folder, real MLflow models, and the API beside it."""

from __future__ import annotations

import asyncio
import base64
import datetime
import gzip
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_server.slim import without_client

without_client()
with warnings.catch_warnings():
    # What MLflow and the KServe SDK say when they are imported is not about us.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    from batch import cells, files, store
    from batch.__main__ import folder, main
    from batch.rows import frame
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from model_server.columns import NULLABLE, Column, ColumnError
    from model_server.contract import Contract
    from model_server.digest import tree_digest
    from model_server.model import LabModel, load
    from model_server.server import Predictions

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROWS = 20


# MLflow asks for type hints, which it would then take for a signature; it does so
# whatever the filters of warnings say.
with mock.patch("mlflow.pyfunc.utils.data_validation.color_warning"):

    class Model(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        """Answers with what it has seen of each row, types and all."""

        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            if isinstance(model_input, dict):
                return np.stack(list(model_input.values())).sum(axis=(0, 2))
            if isinstance(model_input, np.ndarray):
                return model_input.sum(axis=1)
            if "poison" in model_input and model_input["poison"].eq(13).any():
                raise ArithmeticError("thirteen")
            return [
                "|".join(f"{type(v).__name__}={v}" for v in row)
                for row in model_input.itertuples(index=False)
            ]


def columns(*specs: ColSpec) -> ModelSignature:
    return ModelSignature(inputs=Schema([*specs]))


SIGNATURES: dict[str, ModelSignature | None] = {
    "numbers": columns(ColSpec("double", "a"), ColSpec("double", "b")),
    "mixed": columns(
        ColSpec("string", "city"),
        ColSpec("long", "rooms"),
        ColSpec("integer", "floor"),
        ColSpec("float", "area"),
        ColSpec("boolean", "new"),
        ColSpec("datetime", "built"),
        ColSpec("binary", "photo"),
        ColSpec("double", "price", required=False),
        ColSpec("string", "note", required=False),
    ),
    "unnamed": columns(ColSpec("double"), ColSpec("long")),
    "tensor": ModelSignature(inputs=Schema([TensorSpec(np.dtype("float64"), (-1, 2))])),
    "tensors": ModelSignature(
        inputs=Schema(
            [
                TensorSpec(np.dtype("float64"), (-1, 2), "x"),
                TensorSpec(np.dtype("float64"), (-1, 2), "y"),
            ]
        )
    ),
    "none": None,
    "poison": columns(ColSpec("long", "poison")),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, signature in SIGNATURES.items():
            mlflow.pyfunc.save_model(
                root / name,
                python_model=Model(),
                signature=signature,
                pip_requirements=["mlflow"],
            )
    return {name: root / name for name in SIGNATURES}


def mixed_row(n: int) -> dict[str, Any]:
    return {
        "city": ["Oslo", "1", 'Łódź, "Rome"'][n % 3],
        "rooms": 2**53 + n,
        "floor": n - 3,
        "area": n / 3,
        "new": n % 2 == 0,
        "built": datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.UTC)
        + datetime.timedelta(days=n, microseconds=n),
        "photo": bytes([n, 255]),
        "price": None if n % 4 == 0 else n / 7,
        "note": None if n % 3 == 0 else f"n{n}",
    }


TABLES: dict[str, pa.Table] = {
    "numbers": pa.table(
        {
            "id": list(range(ROWS)),
            "b": [n / 3 for n in range(ROWS)],
            "a": list(range(ROWS)),
        }
    ),
    "mixed": pa.Table.from_pylist([mixed_row(n) for n in range(ROWS)]),
    "unnamed": pa.table({"p": [n / 3 for n in range(ROWS)], "q": list(range(ROWS))}),
    "tensor": pa.table({"p": [n / 3 for n in range(ROWS)], "q": list(range(ROWS))}),
    "tensors": pa.table(
        {
            "x": [[n / 3, 1.0] for n in range(ROWS)],
            "y": [[n / 7, 2.0] for n in range(ROWS)],
        }
    ),
    "none": pa.table({"u": ["x", "y"] * (ROWS // 2), "v": list(range(ROWS))}),
}


class Ran:
    """What a worker left."""

    def __init__(self, code: int, output: Path, said: str) -> None:
        self.code, self.output, self.said = code, output, said

    @property
    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.output / "manifest.json").read_text())
        return found

    @property
    def predictions(self) -> pa.Table:
        parts = sorted(self.output.glob("part-*.parquet"))
        return pa.concat_tables([pq.read_table(p) for p in parts])

    @property
    def rejects(self) -> list[dict[str, Any]]:
        lines = [
            line
            for path in sorted(self.output.glob("rejects-*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        return [json.loads(line) for line in lines]


Run = Callable[..., Ran]


@pytest.fixture
def run(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Run:
    def worker(model: str, source: Path, *more: str, output: Path | None = None) -> Ran:
        output = output or tmp_path / "out"
        code = main(
            [
                f"file://{source}",
                f"file://{output}",
                *("--release", "r", "--variant", "v1", "--version", "1"),
                *("--digest", tree_digest(models[model])),
                *("--model_dir", str(models[model])),
                *more,
            ]
        )
        captured = capsys.readouterr()
        return Ran(code, output, (captured.out + captured.err).strip())

    return worker


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def put(name: str, content: pa.Table | str | bytes) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path, row_group_size=7)
        else:
            path.write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )
        return path

    return put


Write = Callable[..., Path]


def api(folder: Path, instances: list[Any]) -> list[Any]:
    """What callers of the model server get for these rows."""

    async def nobody(*_: Any) -> None:
        raise AssertionError("only predictions are asked for")

    asked = Predictions(LabModel("m", "m-v1", load(str(folder))), nobody)
    body = json.dumps({"instances": instances}).encode()
    status, answer = asyncio.run(asked.answer("v1", body, []))
    assert status == 200, answer
    found: list[Any] = json.loads(answer)["predictions"]
    return found


def instances(model: str, table: pa.Table) -> list[Any]:
    """The rows of a table as a caller would send them."""
    rows = [
        {name: cells.plain(value) for name, value in row.items()}
        for row in table.drop_columns(
            ["id"] if "id" in table.column_names else []
        ).to_pylist()
    ]
    if model in ("unnamed", "tensor"):
        return [list(row.values()) for row in rows]
    return rows


def as_csv(table: pa.Table) -> str:
    """A table as other tools write it: text in quotes, nothing for what is absent."""
    lines = [",".join(table.column_names)]
    for row in table.to_pylist():
        words = [
            ""
            if value is None
            else base64.b64encode(value).decode()
            if isinstance(value, bytes)
            else '"' + value.replace('"', '""') + '"'
            if isinstance(value, str)
            else value.isoformat()
            if isinstance(value, datetime.datetime)
            else str(value)
            for value in row.values()
        ]
        lines.append(",".join(words))
    return "\n".join(lines) + "\n"


TYPELESS = ("tensors", "none")
"""Models whose columns CSV can't say."""
CASES = [
    (model, suffix)
    for model in TABLES
    for suffix in (".parquet", ".csv", ".csv.gz")
    if suffix == ".parquet" or model not in TYPELESS
]


@pytest.mark.parametrize(("model", "suffix"), CASES)
def test_batch_and_api_answer_the_same(
    run: Run, write: Write, models: dict[str, Path], model: str, suffix: str
) -> None:
    table = TABLES[model]
    content: Any = table if suffix == ".parquet" else as_csv(table)
    if suffix == ".csv.gz":
        content = gzip.compress(content.encode())
    wanted = api(models[model], instances(model, table))

    ran = run(model, write(f"rows{suffix}", content), "--part_rows", "8")

    assert ran.code == 0, ran.said
    assert ran.rejects == []
    assert ran.predictions["prediction"].to_pylist() == wanted
    assert ran.predictions["row"].to_pylist() == list(range(ROWS))
    assert ran.manifest["predicted"] == ROWS


TIMES = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2250, 1, 1))
CELLS = st.one_of(
    st.lists(st.none() | st.floats(), min_size=1),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(st.none() | st.booleans(), min_size=1),
    st.lists(st.none() | st.text(max_size=5), min_size=1),
    st.lists(st.none() | st.binary(max_size=5), min_size=1),
    st.lists(st.none() | TIMES, min_size=1),
    st.lists(st.none() | TIMES.map(datetime.datetime.date), min_size=1),
)


@settings(max_examples=300, deadline=None)
@given(found=CELLS, type_=st.sampled_from(sorted(cells.DTYPES)), required=st.booleans())
def test_a_column_is_what_the_contract_makes_of_it_or_in_doubt(
    found: list[Any], type_: str, required: bool
) -> None:
    column = Column("x", type_, required)
    array = pa.array(found)
    sent = cells.values(type_, array, text=False)

    converted, doubts = cells.convert(column, array, text=False)

    assert len(converted) == len(found)
    for at, value in enumerate(sent):
        if value is None:
            optional = not required and type_ in NULLABLE
            assert doubts[at] or (optional and pd.isna(converted[at]))
            continue
        try:
            wanted = column.array([value])
        except (ColumnError, TypeError):
            assert doubts[at]
        else:
            if not doubts[at]:
                pd.testing.assert_series_equal(
                    pd.Series(converted[at : at + 1]), pd.Series(wanted)
                )


def test_the_frame_is_the_contracts_own() -> None:
    schema = SIGNATURES["mixed"]
    assert schema is not None
    contract = Contract.of(schema.inputs)
    assert contract is not None
    table = TABLES["mixed"]
    arrays = {
        c.name: cells.convert(c, table[c.name].combine_chunks(), text=False)[0]
        for c in contract.columns
    }

    pd.testing.assert_frame_equal(
        frame(contract, arrays), contract.of_rows(instances("mixed", table))
    )


BAD_CSV = """a,b,id
1,2,x
1,much,x
1,,x
1,2
nan,inf,x
3,4,x
1e999,2,x
\xff,2,x
"""


def test_rows_that_are_wrong_are_rejected_one_by_one(run: Run, write: Write) -> None:
    ran = run("numbers", write("rows.csv", BAD_CSV.encode("latin-1")))

    assert ran.code == 0, ran.said
    assert ran.predictions["row"].to_pylist() == [0, 5]
    assert [(r["row"], r["reason"]) for r in ran.rejects] == [
        (1, "wrong_type"),
        (2, "null"),
        (3, "length"),
        (4, "null"),
        (6, "wrong_type"),
        (7, "not_utf8"),
    ]
    assert ran.rejects[0]["text"] == "column 'b' takes a number, got a string"
    assert ran.rejects[0]["file"] == "rows.csv"
    assert ran.manifest["rejected"] == {
        "length": 1,
        "not_utf8": 1,
        "null": 2,
        "wrong_type": 2,
    }
    assert (ran.manifest["rows"], ran.manifest["predicted"]) == (8, 2)
    assert ran.manifest["files"][0]["ignored_columns"] == ["id"]


def test_the_whole_column_may_be_wrong_and_only_its_rows_are_lost(
    run: Run, write: Write
) -> None:
    table = pa.table({"a": [1.0] * 5, "b": ["x"] * 5})

    ran = run("numbers", write("in/rows.parquet", table))

    assert ran.code == 0, ran.said
    assert len(ran.predictions) == 0
    assert ran.manifest["rejected"] == {"wrong_type": 5}


def test_a_row_that_the_model_fails_on_is_found(run: Run, write: Write) -> None:
    table = pa.table({"poison": list(range(30))})

    ran = run("poison", write("rows.parquet", table))

    assert ran.code == 0, ran.said
    [reject] = ran.rejects
    assert (reject["row"], reject["reason"]) == (13, "model_failed")
    assert reject["text"] == "ArithmeticError: thirteen"
    assert ran.predictions["row"].to_pylist() == [n for n in range(30) if n != 13]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", "a,c\n1,2\n", "column 'b' is missing"),
        ("rows.csv", "c;d\n1;2\n", "columns 'a', 'b' are missing"),
        ("rows.csv", "a,a,b\n1,1,2\n", "has the column 'a' twice"),
        ("rows.csv", 'a,b\n1,2\n1,"2\n' + "3,4\n" * 5_000_000, "a quote is never"),
        (
            "rows.csv.gz",
            gzip.compress(b"a,b\n" + b"1,2\n" * 999, mtime=0)[:-9],
            "be read",
        ),
        ("rows.parquet", "PAR1 no PAR1", "can't be read"),
        ("rows.json", "{}", ".parquet"),
        ("rows.parquet", pa.table({"a": [1.0]}), "column 'b' is missing"),
    ],
)
def test_an_input_that_is_no_use_is_refused_in_a_sentence(
    run: Run, write: Write, name: str, content: Any, said: str
) -> None:
    ran = run("numbers", write(name, content))

    last = ran.said.splitlines()[-1]
    assert ran.code == 42
    assert said in last
    assert f"in/{name}" in last
    assert not list(ran.output.glob("part-*"))
    assert not (ran.output / "manifest.json").exists()


def test_a_quote_that_is_never_closed_hides_no_rows(run: Run, write: Write) -> None:
    ran = run("numbers", write("rows.csv", 'a,b\n1,2\n3,"4\n5,6\n7,8\n'))

    assert (ran.code, "odd number of quotes" in ran.said) == (42, True)
    assert not (ran.output / "manifest.json").exists()


def test_an_input_that_is_not_there_is_refused(run: Run, tmp_path: Path) -> None:
    ran = run("numbers", tmp_path / "nothing")

    assert (ran.code, "nothing at this address" in ran.said) == (42, True)


def test_no_file_is_predicted_when_one_of_them_lacks_a_column(
    run: Run, write: Write
) -> None:
    write("1.csv", "a,b\n1,2\n")
    write("2.csv", "a\n1\n")

    ran = run("numbers", write("3.csv", "a,b\n1,2\n").parent)

    assert ran.code == 42
    assert not list(ran.output.glob("part-*"))


@pytest.mark.parametrize("model", TYPELESS)
def test_csv_for_a_model_without_types_is_refused(
    run: Run, write: Write, model: str
) -> None:
    ran = run(model, write("rows.csv", as_csv(TABLES["none"])))

    assert ran.code == 42


@pytest.mark.parametrize("content", ["", "\n", "a,b", "a,b\n"])
def test_an_empty_file_is_a_run_without_rows(
    run: Run, write: Write, content: str
) -> None:
    ran = run("numbers", write("rows.csv", content))

    assert ran.code == 0, ran.said
    assert "has no rows; nothing was predicted" in ran.said
    assert (ran.manifest["rows"], ran.manifest["parts"]) == (0, [])


def test_a_folder_is_read_in_the_order_of_its_names_without_what_tools_leave(
    run: Run, write: Write
) -> None:
    write("day=2/b.csv", "a,b\n3,4\n")
    write("_SUCCESS", "")
    write(".b.csv.crc", "x")

    ran = run("numbers", write("a.parquet", TABLES["numbers"]).parent)

    assert ran.code == 0, ran.said
    assert [f["name"] for f in ran.manifest["files"]] == ["a.parquet", "day=2/b.csv"]
    assert ran.predictions["file"].to_pylist() == ["a.parquet"] * ROWS + ["day=2/b.csv"]


def test_running_again_changes_nothing(run: Run, write: Write) -> None:
    path = write("rows.csv", BAD_CSV.encode("latin-1"))
    first = run("numbers", path)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in first.output.iterdir()}

    second = run("numbers", path)

    after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in second.output.iterdir()}
    assert (second.code, after) == (0, before)
    assert second.said.splitlines()[-1] == first.said.splitlines()[-1]


def test_workers_share_the_parts_and_one_of_them_closes_the_run(
    run: Run, write: Write, tmp_path: Path
) -> None:
    table = as_csv(TABLES["mixed"])
    source = write("rows.csv", table)
    alone = run("mixed", source, "--part_rows", "3", output=tmp_path / "alone")

    ends = [
        run("mixed", source, *f"--part_rows 3 --shards 3 --shard {shard}".split())
        for shard in (2, 0, 1)
    ]

    said = [json.loads(end.said.splitlines()[-1]) for end in ends]
    assert [end["complete"] for end in said] == [False, False, True]
    assert ends[0].predictions.equals(alone.predictions)
    assert [end["rows"] for end in said] == [6, 8, ROWS]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_another_number_of_workers_goes_on_where_the_first_ones_were(
    run: Run, write: Write, suffix: str
) -> None:
    table = TABLES["mixed"]
    source = write(f"rows{suffix}", table if suffix == ".parquet" else as_csv(table))
    some = run("mixed", source, *["--part_rows", "3", "--shards", "2", "--shard", "1"])
    before = {p.name: p.stat().st_mtime_ns for p in some.output.glob("part-*")}

    rest = run("mixed", source, "--part_rows", "3")

    after = {p.name: p.stat().st_mtime_ns for p in rest.output.glob("part-*")}
    assert len(before) == 3
    assert before.items() <= after.items()
    assert rest.predictions["row"].to_pylist() == list(range(ROWS))
    assert rest.manifest["rows"] == ROWS


def test_a_folder_belongs_to_one_input_and_one_model(run: Run, write: Write) -> None:
    source = write("rows.csv", "poison,a,b\n1,2,3\n")
    run("numbers", source)

    model = run("poison", source)
    write("rows.csv", "poison,a,b\n4,5,6\n")
    changed = run("numbers", source)

    assert (model.code, "another model" in model.said) == (42, True)
    assert (changed.code, "another input" in changed.said) == (42, True)


def test_predictions_are_not_written_into_their_input(run: Run, write: Write) -> None:
    source = write("rows.csv", "a,b\n1,2\n").parent

    ran = run("numbers", source, output=source / "out")

    assert (ran.code, "inside of the input" in ran.said) == (42, True)


def test_another_model_than_the_released_one_is_refused(run: Run, write: Write) -> None:
    ran = run("numbers", write("a.csv", "a,b\n1,2\n"), "--digest", f"sha256:{0:064}")

    assert (ran.code, "not the one that was released" in ran.said) == (42, True)


def test_no_more_than_a_few_rows_are_in_memory(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BYTES", 4096)
    wide = pa.table({"a": ["x" * 64] * 10_000})
    path = write("wide.parquet", b"")
    pq.write_table(wide, path, row_group_size=10_000, use_dictionary=False)
    [found] = store.files(f"file://{path}")

    pieces = [*files.open_rows(found).pieces(["a"], lambda *_: True)]

    assert max(piece.size for piece in pieces) <= 64
    assert sum(piece.size for piece in pieces) == 10_000


def test_row_groups_of_other_workers_are_not_read(write: Write) -> None:
    path = write("rows.parquet", TABLES["numbers"])
    [found] = store.files(f"file://{path}")

    pieces = files.open_rows(found).pieces(["a"], lambda first, _: first == 7)

    assert [(piece.first, piece.size) for piece in pieces] == [(7, 7)]


def test_a_line_keeps_its_number_whatever_stands_before_it(write: Write) -> None:
    lines = ["oops" if n % 1000 == 0 else f'{n},"a\nb"' for n in range(3001)]
    path = write("rows.csv", "a,b\n" + "\n".join(lines) + "\n")
    [found] = store.files(f"file://{path}")

    rows = files.open_rows(found)
    pieces = [*rows.pieces(["a"], lambda *_: True)]

    numbers = {
        piece.first + at: int(cell.as_py())
        for piece in pieces
        if piece.cells is not None
        for at, cell in enumerate(piece.cells.column(0))
    }
    assert numbers == {n: n for n in range(3001) if n % 1000}
    assert [p.first for p in pieces if p.cells is None] == [0, 1000, 2000, 3000]
    assert rows.count == 3001


@pytest.mark.parametrize(
    ("job", "name"),
    [
        ("batch-iris-29384756", "2025-11-14T0156Z"),
        ("by-hand", "by-hand"),
    ],
)
def test_a_scheduled_run_has_a_folder_named_by_when_it_was_due(
    job: str, name: str
) -> None:
    assert folder(job) == name
