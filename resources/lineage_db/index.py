"""The index over the journal: one DuckDB file, and how it is opened, filled and replaced.

DuckDB lets one process write or many read, never both, and any program may keep the file open for
as long as it likes. The index can always be made again from the journal, so nobody is waited for
long: a writer that finds the file held puts a copy in its place and goes on with that, while the
other program keeps the old file under the name that is no longer there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import duckdb

from dnd_assets.errors import LineageError
from dnd_assets.files.atomic import sha256, sync
from resources.lineage_db.journal import Journal, Row, SegmentRows, is_pack, within

TABLES = (
    "runs", "products", "materializations", "artefacts", "shared", "providers", "images",
    "llm_calls",
    "removed", "work", "models", "stage_runs", "workers", "failures",
)  # fmt: skip
_SCHEMA = Path(__file__).parents[2] / "dnd_assets" / "lineage" / "schema.sql"
KEYED = {
    "products": ("key",),
    "artefacts": ("hash",),
    "shared": ("kind", "provider", "item"),
    "providers": ("provider",),
    "images": ("hash", "path"),
    "llm_calls": ("request_hash",),
    "models": ("run", "study", "asset", "role", "part", "source"),
}
"""Primary keys; a later row with the same key replaces the earlier one."""
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "160MB", "threads": 2}
"""Opened for moments, the database needs no cache; what does not fit goes to a temporary file."""
_PATIENCE_S = 1.0
"""How long a file that another program has open is waited for: commands read it for moments."""
_COPIES = 3
"""How often a file is copied that somebody writes to meanwhile."""
_DAMAGE = ("not a valid DuckDB database", "not read enough bytes", "Corrupt database")
"""What DuckDB says of a file that no waiting mends."""
_PART_BYTES = 4_000_000
"""So many bytes of segments are taken in at once."""
_COPY = "import shutil, sys; shutil.copyfile(sys.argv[1], sys.argv[2])"


class InUseError(LineageError):
    """This very process has the file open in another way, and DuckDB allows but one."""


@dataclass(frozen=True)
class Index:
    """A DuckDB file that holds the rows of the journal's segments.

    Attributes:
        database: the file.
        journal: folder of the segments.
    """

    database: Path
    journal: Path

    def segments(self) -> list[str]:
        """Names of the journal's segments and packs, in their order; see `Journal.segments`."""
        return Journal(self.journal).segments()

    def open(self) -> duckdb.DuckDBPyConnection:
        """The file opened for writing, under the present schema; made when missing.

        A damaged file is set aside and made anew; one that another program has open is replaced.
        The caller holds a lock that keeps other writers of this project away.

        Raises:
            LineageError: when it cannot be opened all the same; says why.
        """
        deadline = time.monotonic() + _PATIENCE_S
        try:
            self.database.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._cannot_open(error) from error
        while True:
            # Whatever a killed process left there is in the journal, too.
            with suppress(OSError):
                self._log.unlink(missing_ok=True)
            try:
                return _opened(self.database)
            except duckdb.Error as error:
                if any(sign in str(error) for sign in _DAMAGE) and self.database.exists():
                    self.database.replace(self.database.with_suffix(".damaged"))
                elif isinstance(error, duckdb.ConnectionException):
                    raise self._cannot_open(error, InUseError) from error
                elif not _held_elsewhere(error):
                    raise self._cannot_open(error) from error
                elif time.monotonic() > deadline:
                    self._replace()
                else:
                    time.sleep(0.05)

    def open_to_read(self, patience: float = 0.0) -> duckdb.DuckDBPyConnection | None:
        """The file opened for reading; None when it is missing, damaged, or of another schema.

        None, too, when another process still has it open for writing after `patience` seconds, or
        this process has it open with other settings.
        """
        if not self.database.is_file():
            return None
        deadline = time.monotonic() + patience
        while True:
            try:
                connection = duckdb.connect(str(self.database), read_only=True, config=_SETTINGS)
            except duckdb.Error as error:
                if not _held_elsewhere(error) or time.monotonic() > deadline:
                    return None
                time.sleep(0.02)
                continue
            with suppress(duckdb.Error):
                if _version_of(connection) == schema_version():
                    return connection
            connection.close()
            return None

    def known(self, connection: duckdb.DuckDBPyConnection) -> set[str]:
        """Names of the segments that the database holds."""
        return {row[0] for row in connection.execute("SELECT name FROM segments").fetchall()}

    def take_in(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Add the journal's segments that the database does not hold yet, each once, in order."""
        while True:
            try:
                ingested = self.known(connection)
                missing = [name for name in self.segments() if name not in ingested]
                for part, packs in self._read(missing, ingested):
                    self.ingest(connection, part)
                    self._record_packs(connection, packs)
            except FileNotFoundError:  # it went into a pack meanwhile
                continue
            return

    def ingest(
        self, connection: duckdb.DuckDBPyConnection, part: Mapping[str, SegmentRows]
    ) -> None:
        """Add the rows of some segments, by the segment's name, in one transaction.

        Raises:
            LineageError: when the database refuses them.
        """
        try:
            connection.begin()
            for table in TABLES:
                rows = [row for segment in part.values() for row in segment.get(table, ())]
                for block in _blocks_of_equal_columns(rows):
                    insert(connection, table, block)
            statement = "INSERT OR IGNORE INTO segments SELECT unnest(?::VARCHAR[])"
            connection.execute(statement, [list(part)])
            connection.commit()
        except duckdb.Error as error:
            raise self._not_ingested(next(iter(part), "a segment"), error) from error

    def read(self, name: str) -> dict[str, SegmentRows]:
        """The rows of a segment, or of those in a pack; see `Journal.read`."""
        return Journal(self.journal).read(name)

    def seed(self, source: Index) -> None:
        """Start from a copy of another index's file, where that is possible."""
        _copied(source.database, self.database)

    @property
    def _log(self) -> Path:
        """The file of DuckDB's write-ahead log."""
        return self.database.with_name(f"{self.database.name}.wal")

    def _read(
        self, names: Sequence[str], ingested: set[str]
    ) -> Iterator[tuple[dict[str, SegmentRows], list[str]]]:
        """Segments in parts that are taken in together, and the packs that end with each part."""
        part: dict[str, SegmentRows] = {}
        packs: list[str] = []
        size = 0
        for name in names:
            size += os.stat(f"{self.journal}/{name}").st_size  # noqa: PTH116 (30,000 of them)
            packed = [pack for pack in ingested if is_pack(pack) and within(pack, name)]
            part |= {
                member: rows
                for member, rows in self.read(name).items()
                if member not in ingested and not any(within(member, pack) for pack in packed)
            }
            if is_pack(name):
                packs.append(name)
            if size > _PART_BYTES:
                yield part, packs
                part, packs, size = {}, [], 0
        if part or packs:
            yield part, packs

    def _record_packs(self, connection: duckdb.DuckDBPyConnection, packs: Sequence[str]) -> None:
        """List packs instead of the segments that they hold, whose rows have been taken in."""
        for pack in packs:
            first, _, last = pack.removesuffix(".jsonl").partition("-")
            try:
                connection.begin()
                connection.execute(
                    "DELETE FROM segments WHERE left(name, 20) BETWEEN ? AND ?", [first, last]
                )
                connection.execute("INSERT INTO segments VALUES (?)", [pack])
                connection.commit()
            except duckdb.Error as error:
                raise self._not_ingested(pack, error) from error

    def _not_ingested(self, name: str, error: Exception) -> LineageError:
        return LineageError(
            f"{self.database} did not take in {name}: {error}. The journal has kept it: free some "
            "space or mend the permissions, then run again."
        )

    def _replace(self) -> None:
        """Put a copy in the place of a file that another program has open and keeps."""
        fresh = self.database.with_suffix(".new")
        try:
            fresh.unlink(missing_ok=True)
            if _copied(self.database, fresh):
                self._log.unlink(missing_ok=True)
                fresh.replace(self.database)
            else:  # somebody writes to it at this moment: the journal makes it anew
                self.database.unlink(missing_ok=True)
        except OSError as error:
            raise self._cannot_open(error) from error

    def _cannot_open(
        self, error: Exception, kind: type[LineageError] = LineageError
    ) -> LineageError:
        return kind(
            f"{self.database} cannot be opened: {error}. Free some space or mend the permissions; "
            "if this program itself has it open elsewhere, close it there. Then run again: "
            "finished work is kept."
        )


def schema_version() -> str:
    """Hash of the schema file."""
    return sha256(_SCHEMA.read_bytes())


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]) -> None:
    """Insert rows by column name; in tables with a key, a row replaces the one with its key."""
    if table not in TABLES:
        raise LineageError(f"no lineage table {table!r}; there are {', '.join(TABLES)}")
    if table in KEYED:
        rows = list({tuple(row[column] for column in KEYED[table]): row for row in rows}.values())
    types = _columns()[table]
    names = list(rows[0])
    verb = "INSERT OR REPLACE" if table in KEYED else "INSERT"
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(f"unnest(?::{types[name]}[])" for name in names)
    # The table is one of TABLES and the columns are those of our own records.
    statement = f"{verb} INTO {table} ({columns}) SELECT {values}"
    connection.execute(statement, [[row[name] for row in rows] for name in names])


def _blocks_of_equal_columns(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows in their order, split where the columns change: older records have fewer."""
    block: list[Row] = []
    for row in rows:
        if block and row.keys() != block[0].keys():
            yield block
            block = []
        block.append(row)
    if block:
        yield block


def _held_elsewhere(error: duckdb.Error) -> bool:
    """Whether another process has the file open, as DuckDB words it."""
    return isinstance(error, duckdb.IOException) and (
        "lock on file" in str(error) or "used by another process" in str(error)
    )


def _copied(source: Path, target: Path) -> bool:
    """Copy a database file; False, and no target, where somebody keeps writing to it.

    DuckDB writes a file's header last, so that at any moment the file is one that it can open. What
    it has only written ahead is left behind: the journal has it.

    Another process does it: when a process closes a file, the system drops all locks that it has
    on it, also those of DuckDB, which a notebook's own connection would lose here.
    """
    command = [sys.executable or "", "-I", "-S", "-c", _COPY, str(source), str(target)]
    for _ in range(_COPIES):
        try:
            before = source.stat()
            copying = subprocess.run(command, check=False, capture_output=True)  # noqa: S603
            after = source.stat()
            stamps = [
                (status.st_mtime_ns, status.st_size, status.st_ino) for status in (before, after)
            ]
            if copying.returncode == 0 and stamps[0] == stamps[1]:
                sync(target)
                return True
        except OSError:
            break  # gone, or no room: the journal makes it anew, or says what is wrong
    with suppress(OSError):
        target.unlink(missing_ok=True)
    return False


def _opened(database: Path) -> duckdb.DuckDBPyConnection:
    connection = _connected(database)
    try:
        _apply_schema(connection)
    except duckdb.Error:
        connection.close()
        raise
    return connection


def _connected(database: Path) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(str(database), config=_SETTINGS)
    except duckdb.ConnectionException:
        # This process has it open already, in a notebook maybe: then its settings hold.
        return duckdb.connect(str(database))


def _version_of(connection: duckdb.DuckDBPyConnection) -> str:
    row = connection.execute("SELECT version FROM schema_version").fetchone()
    return str(row[0]) if row else ""


def _apply_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """Create tables and views; anew when the schema file changed."""
    script = _SCHEMA.read_text(encoding="utf-8")
    version = schema_version()
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version VARCHAR)")
    if _version_of(connection) != version:
        connection.begin()
        _drop_everything(connection)  # the journal fills the new tables again
        connection.execute(script)
        connection.execute("DELETE FROM schema_version")
        connection.execute("INSERT INTO schema_version VALUES (?)", [version])
        connection.commit()


def _drop_everything(connection: duckdb.DuckDBPyConnection) -> None:
    tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    for kind, names in (("VIEW", views), ("TABLE", tables)):
        for (name,) in names:
            if name != "schema_version":
                connection.execute(f'DROP {kind} "{name}"')


@cache
def _columns() -> dict[str, dict[str, str]]:
    """Type of each column by table, as the schema file says; JSON travels as text."""
    with duckdb.connect() as connection:
        connection.execute(_SCHEMA.read_text(encoding="utf-8"))
        sql = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
        columns: dict[str, dict[str, str]] = {}
        for table, name, type_name in connection.execute(sql).fetchall():
            columns.setdefault(table, {})[name] = type_name.replace("JSON", "VARCHAR")
        return columns
