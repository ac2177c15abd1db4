"""The tracking server's database: one consistent dump, its sums, and the way back."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from labfactory.errors import LabError
from labfactory.keeper.processes import Done, run
from labfactory.keeper.settings import DatabaseAccess, child

TOOLS = "/usr/lib/postgresql/15/bin"
PATIENCE_SECONDS = 60.0
SPELLING = (
    "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres "
    "-c extra_float_digits=1 -c bytea_output=hex"
)
"""Rows become text in one way only, whatever the server's own settings are."""
TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
"""
# A sum does not depend on the order of rows, and needs no memory for them.
SUMS = """
SELECT count(*), coalesce(sum(('x' || left(hash, 16))::bit(64)::bigint), 0),
  coalesce(sum(('x' || right(hash, 16))::bit(64)::bigint), 0)
FROM (SELECT md5("the row"::text) AS hash FROM {table} AS "the row") AS hashed
"""
MODELS = "SELECT name, version, coalesce(storage_location, source) FROM model_versions"
OTHERS = """
SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()
AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
HELD = {
    "runs": "SELECT count(*) FROM runs",
    "registered models": "SELECT count(*) FROM registered_models",
    "experiments besides Default": (
        "SELECT count(*) FROM experiments WHERE name <> 'Default'"
    ),
}
"""What makes a tracking server's database not empty."""


class Database:
    """One database, and PostgreSQL's own tools for it."""

    def __init__(self, access: DatabaseAccess) -> None:
        """Refer to it; nothing is sent yet."""
        self._access = access
        path = os.pathsep.join([TOOLS, os.environ.get("PATH", "")])
        self._path = path
        self._env = child(
            PGHOST=access.host,
            PGPORT=str(access.port),
            PGUSER=access.user,
            PGPASSWORD=access.password,
            PGDATABASE=access.name,
            PGCONNECT_TIMEOUT="10",
        )

    @contextmanager
    def connected(self, patience: float = PATIENCE_SECONDS) -> Iterator[Any]:
        """A connection; a server that does not answer is tried again for a while.

        Raises LabError.
        """
        import psycopg2  # type: ignore[import-untyped]
        from tenacity import Retrying, stop_after_delay, wait_fixed

        access = self._access
        tries = Retrying(
            stop=stop_after_delay(patience), wait=wait_fixed(1), reraise=True
        )
        try:
            connection = tries(
                psycopg2.connect,
                host=access.host,
                port=access.port,
                user=access.user,
                password=access.password,
                dbname=access.name,
                connect_timeout=5,
                options=SPELLING,
            )
        except psycopg2.OperationalError as error:
            raise LabError(
                f"database {access.uri}: does not let the keeper in "
                f"({_line(error)}); is it up, and are its keys those of the lab's "
                "last `lab up`?"
            ) from None
        with closing(connection):
            try:
                yield connection
            except psycopg2.Error as error:
                raise LabError(
                    f"database {access.uri}: refuses what the keeper asks "
                    f"({_line(error)})"
                ) from None

    @contextmanager
    def frozen(self) -> Iterator[tuple[Any, str]]:
        """A connection that sees one moment, and its name for `dump`."""
        with self.connected() as connection:
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_export_snapshot()")
                yield connection, cursor.fetchone()[0]

    def dump(self, snapshot: str, file: Path) -> None:
        """Write that moment into `file`, and read it back to its end."""
        command = ["pg_dump", "--format=custom", "--compress=0", "--no-password"]
        done = self._run([*command, f"--snapshot={snapshot}", f"--file={file}"])
        if done.code:
            raise LabError(
                f"database {self._access.uri}: can't be dumped ({done.reason})"
            )
        self.verify(file)

    def verify(self, file: Path) -> None:
        """Raise LabError when the dump in `file` was cut short."""
        done = self._run(["pg_restore", "--file=/dev/null", str(file)])
        if done.code:
            raise LabError(
                f"{file.name}: the dump of the database is not whole ({done.reason}); "
                "`lab backup now` makes another, `--at` restores an older one"
            )

    def restore(self, file: Path) -> None:
        """Put the content of the dump in place of what the role owns.

        A dump that is not whole changes nothing. Raises LabError.
        """
        self.verify(file)
        with self.connected() as connection, connection.cursor() as cursor:
            cursor.execute("DROP OWNED BY CURRENT_USER")
            connection.commit()
        flags = ["--no-owner", "--no-privileges", "--exit-on-error"]
        done = self._run(
            [
                "pg_restore",
                *flags,
                "--single-transaction",
                f"--dbname={self._access.name}",
                str(file),
            ]
        )
        if done.code:
            raise LabError(
                f"database {self._access.uri}: does not take the dump "
                f"({done.reason}); nothing of it was written: mend that and restore "
                "again"
            )

    def alone(self, patience: float = PATIENCE_SECONDS) -> None:
        """Wait until nobody else is connected. Raises LabError when somebody stays."""
        deadline = time.monotonic() + patience
        while others := self._others():
            if time.monotonic() > deadline:
                raise LabError(
                    f"database {self._access.uri}: {', '.join(others)} is connected; "
                    "stop what uses it (the tracking server, a backup), then restore"
                )
            time.sleep(1)

    def held(self) -> list[str]:
        """What the database holds already, as `runs: 3`; empty when it is."""
        with self.connected() as connection, connection.cursor() as cursor:
            there = {table for _, table in _tables(cursor)}
            found = []
            for what, query in HELD.items():
                if query.split(" FROM ")[1].split()[0] in there:
                    cursor.execute(query)
                    if number := cursor.fetchone()[0]:
                        found.append(f"{what}: {number}")
            return found

    def _others(self) -> list[str]:
        with self.connected() as connection, connection.cursor() as cursor:
            cursor.execute(OTHERS)
            return sorted(f"role {name!r}" for (name,) in cursor.fetchall())

    def _run(self, command: list[str]) -> Done:
        tool = shutil.which(command[0], path=self._path) or command[0]
        return run([tool, *command[1:]], self._env)


def sums(connection: Any) -> dict[str, dict[str, Any]]:
    """`rows` and `sum` of every table, in whatever order its rows are."""
    from psycopg2 import sql

    found = {}
    with connection.cursor() as cursor:
        for schema, table in _tables(cursor):
            name = sql.Identifier(schema, table)
            cursor.execute(sql.SQL(SUMS).format(table=name))
            rows, one, other = cursor.fetchone()
            sum_ = f"{int(one) % 2**64:016x}{int(other) % 2**64:016x}"
            spelled = table if schema == "public" else f"{schema}.{table}"
            found[spelled] = {"rows": rows, "sum": sum_}
    return found


def registered(connection: Any) -> dict[str, str]:
    """Where the registry says each model lies, by NAME/VERSION."""
    with connection.cursor() as cursor:
        if "model_versions" not in {table for _, table in _tables(cursor)}:
            return {}
        cursor.execute(MODELS)
        return {f"{name}/{version}": place for name, version, place in cursor}


def _tables(cursor: Any) -> list[tuple[str, str]]:
    cursor.execute(TABLES)
    found: list[tuple[str, str]] = cursor.fetchall()
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
