"""Read the rows of Parquet and CSV files piece by piece, however large they are."""

from __future__ import annotations

import csv
import io
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from . import store
from .store import Found, Refused

ROWS, BYTES = 16_384, 16 * 2**20
"""At most so many rows, of about so many bytes, are in memory at a time."""
BLOCK = 4 * 2**20
"""Bytes of CSV that are parsed at a time; no row may be longer."""
BUFFER = 2**20
"""Bytes of a Parquet column that are fetched at a time."""
SUFFIXES = (".csv", ".csv.gz", ".parquet")

Wanted = Callable[[int, int], bool]
"""Whether any of the rows from the first number up to the second is asked for."""


class Piece(NamedTuple):
    """Rows that follow each other; `cells` is None for one that is no row at all."""

    first: int
    size: int
    cells: Any
    misfit: str = ""
    """Why it is no row."""


class Rows(Protocol):
    """A file that is open."""

    names: list[str]
    text: bool
    """Whether every cell is text, as it stands in the file."""
    count: int
    """Rows in all; known once all pieces are read."""

    def pieces(self, names: list[str], wanted: Wanted) -> Iterator[Piece]:
        """Return the wanted rows of the columns `names` in order, and maybe others."""
        ...


def open_rows(found: Found) -> Rows:
    """Open a file by its suffix; Refused says why it can't be read."""
    if not found.name.endswith(SUFFIXES):
        raise Refused(
            f"{found.address}: is no file of rows (its name does not end with "
            f"{', '.join(SUFFIXES)}); give it the right suffix or take it out of the "
            "folder"
        )
    if found.size == 0:
        return Empty()
    with readable(found):
        rows = Parquet(found) if found.name.endswith(".parquet") else Csv(found)
    twice = [name for name, times in Counter(rows.names).items() if times > 1]
    if twice:
        raise Refused(
            f"{found.address}: has the column {twice[0]!r} twice; rename one of the two"
        )
    return rows


@contextmanager
def readable(found: Found) -> Iterator[None]:
    """Turn what Arrow says about broken content into Refused."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0]
        if "AWS Error" in reason:
            with store.said(found.address):
                raise
        if "straddling" in reason:
            reason = (
                f"a row is longer than {BLOCK // 2**20} MiB, or a quote is never closed"
            )
        raise Refused(
            f"{found.address}: can't be read to its end ({reason}); is the file whole, "
            "and what its suffix says?"
        ) from error


class Empty:
    """A file of no bytes: no columns, no rows."""

    names: list[str] = []  # noqa: RUF012 - never changed
    text = False
    count = 0

    def pieces(self, names: list[str], wanted: Wanted) -> Iterator[Piece]:
        """Return nothing."""
        return iter(())


class Parquet:
    """A Parquet file; row groups without wanted rows are not read."""

    text = False

    def __init__(self, found: Found) -> None:
        """Read the file's footer."""
        self._found = found
        # Without a buffer a column of a row group would be in memory as a whole.
        self._file = pq.ParquetFile(
            store.source(found.address), buffer_size=BUFFER, pre_buffer=False
        )
        self.names = self._file.schema_arrow.names
        self.count = self._file.metadata.num_rows

    def pieces(self, names: list[str], wanted: Wanted) -> Iterator[Piece]:
        """Return the rows of each row group that has wanted ones."""
        first = 0
        for number in range(self._file.num_row_groups):
            group = self._file.metadata.row_group(number)
            end = first + group.num_rows
            if group.num_rows and wanted(first, end):
                each = max(1, group.total_byte_size // group.num_rows)
                batches = self._file.iter_batches(
                    batch_size=max(64, min(ROWS, BYTES // each)),
                    row_groups=[number],
                    columns=names,
                    use_threads=False,
                )
                for batch in _reading(self._found, batches):
                    yield Piece(first, batch.num_rows, batch.select(names))
                    first += batch.num_rows
            first = end


class Counted:
    """A stream that counts the quotes in it: Arrow does not miss the last one."""

    def __init__(self, stream: Any) -> None:
        """Read from `stream`."""
        self._stream = stream
        self.quotes = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, none at the end."""
        content: bytes = self._stream.read(size)
        self.quotes += content.count(b'"')
        return content

    @property
    def closed(self) -> bool:
        """Whether the stream is closed."""
        return bool(self._stream.closed)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


class Csv:
    """A CSV file with a header, in UTF-8, separated by commas; cells are bytes.

    A cell without quotes that is empty is null. A line with more or fewer cells than
    the header is a misfit.
    """

    text = True

    def __init__(self, found: Found) -> None:
        """Read the header."""
        self._found = found
        self.count = 0
        self.names: list[str] = []
        self._misfits: deque[tuple[int, str]] = deque()
        try:
            with self._open([]) as reader:
                self.names = reader.schema.names
        except pa.ArrowInvalid as error:
            if "Empty CSV" not in str(error):
                raise
            self.names = self._header_alone()

    def pieces(self, names: list[str], wanted: Wanted) -> Iterator[Piece]:
        """Return all rows: where one begins is only known after the one before it."""
        self.count = 0
        self._misfits.clear()
        try:
            reader = self._open(names)
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            raise
        with reader:
            for batch in _reading(self._found, reader):
                yield from self._numbered(batch)
        yield from self._leading_misfits()
        if self._content.quotes % 2:
            raise Refused(
                f"{self._found.address}: has an odd number of quotes: one of them is "
                "never closed, and what follows is taken for text; write a quote in "
                'a value as two (""), and the value in quotes'
            )

    def _numbered(self, batch: Any) -> Iterator[Piece]:
        """Give rows their numbers in the file, with the misfits between them."""
        done = 0
        while done < batch.num_rows:
            yield from self._leading_misfits()
            size = min(batch.num_rows - done, ROWS)
            if self._misfits:
                size = min(size, self._misfits[0][0] - self.count)
            yield Piece(self.count, size, batch.slice(done, size))
            done += size
            self.count += size

    def _leading_misfits(self) -> Iterator[Piece]:
        while self._misfits and self._misfits[0][0] == self.count:
            yield Piece(self.count, 1, None, self._misfits.popleft()[1])
            self.count += 1

    def _open(self, names: list[str]) -> Any:
        self._content = Counted(store.stream(self._found.address))
        return pyarrow.csv.open_csv(
            pa.PythonFile(self._content, mode="r"),
            read_options=pyarrow.csv.ReadOptions(block_size=BLOCK, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(
                newlines_in_values=True,
                invalid_row_handler=self._misfit,
                # An empty line is a row of a file that has one column.
                ignore_empty_lines=len(self.names) != 1,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=names,
                column_types={name: pa.binary() for name in names},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )

    def _misfit(self, row: Any) -> str:
        got, wanted = row.actual_columns, row.expected_columns
        text = f"{got} value{'s' * (got != 1)} where the header has {wanted}"
        # Arrow counts from 1 and counts the header.
        self._misfits.append((row.number - 2, text))
        return "skip"

    def _header_alone(self) -> list[str]:
        with store.stream(self._found.address) as file:
            text = file.read(BLOCK).decode("utf-8-sig", "replace").strip()
        return next(csv.reader(io.StringIO(text)), [])


def _reading(found: Found, batches: Any) -> Iterator[Any]:
    """Each of `batches`; Refused when the file turns out to be broken."""
    following = iter(batches)
    while True:
        with readable(found):
            batch = next(following, None)
        if batch is None:
            return
        yield batch
