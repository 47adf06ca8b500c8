"""The lineage database: DuckDB over an append-only journal.

The journal is the record: one immutable JSON segment per commit, written atomically. DuckDB is the
index over it that people query; it takes in new segments whenever it is opened, and a lost or
damaged database is rebuilt from them. DuckDB lets one process write, or many read, never both, so
the database is opened for moments only, behind a lock that the kernel frees when its owner dies.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
from dagster import ConfigurableResource
from filelock import FileLock, Timeout
from pydantic import PrivateAttr

from dnd_assets.errors import LineageError
from dnd_assets.files import sha256, write_atomic
from dnd_assets.lineage.fingerprint import canonical, digest
from dnd_assets.lineage.records import Head, Outcome, Product, Status, now

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows to record, by table."""

_SCHEMA = Path(__file__).parent.parent / "dnd_assets" / "lineage" / "schema.sql"
_TABLES = (
    "runs", "products", "materializations", "artefacts", "shared", "providers", "images",
    "llm_calls",
    "removed", "work", "models", "stage_runs",
)  # fmt: skip
_KEYED = {
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
_OPEN_PATIENCE_S = 60.0
_DAMAGE = ("not a valid DuckDB database", "not read enough bytes", "Corrupt database")
"""What DuckDB says of a file that no waiting mends."""


class Lineage(ConfigurableResource):  # type: ignore[type-arg]
    """Journal, database and locks under one folder.

    Attributes:
        root: the state folder; holds `journal/`, `lineage.duckdb` and the lock files.
    """

    root: str
    _known: set[str] = PrivateAttr(default_factory=set)
    _preferred: list[str] | None = PrivateAttr(default=None)
    _held: dict[int, duckdb.DuckDBPyConnection] = PrivateAttr(default_factory=dict)

    @property
    def database(self) -> Path:
        """Path of the DuckDB file."""
        return Path(self.root) / "lineage.duckdb"

    @property
    def journal(self) -> Path:
        """Folder of the journal's segments."""
        return Path(self.root) / "journal"

    @contextmanager
    def exclusive(self, log: Callable[[str], None]) -> Iterator[None]:
        """Hold the right to compute: two runs on one state folder wait for one another.

        The kernel frees the lock when its owner ends in any way, so a dead run never blocks.
        """
        lock = FileLock(Path(self.root) / "compute.lock")
        owner = Path(self.root) / "compute.owner"
        Path(self.root).mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = owner.read_text() if owner.is_file() else "another run"
            log(f"waiting for {who}, which is computing on {self.root}")
            lock.acquire()
        try:
            with suppress(OSError):  # it only helps others to say whom they wait for
                owner.write_text(f"process {os.getpid()}")
            yield
        finally:
            lock.release()

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The database with every journaled segment taken in; closed when the block ends.

        Inside a block of the same thread the block's connection is used, so that many queries and
        commits share one opening; no other process reads or writes meanwhile, so be brief.

        Raises:
            LineageError: when another program keeps the database open for a minute, or a journal
            segment has changed.
        """
        thread = threading.get_ident()
        if thread in self._held:
            yield self._held[thread]
            return
        with self._locked(), self._connected() as connection:
            self._held[thread] = connection
            try:
                yield connection
            finally:
                del self._held[thread]

    def commit(self, rows: Rows) -> None:
        """Record rows for good, in the journal.

        Once this returns the rows survive a crash; the database takes them in when it is opened
        next, so that whoever asks through this class finds them.
        """
        unknown = set(rows) - set(_TABLES)
        if unknown:
            raise LineageError(f"no lineage table {sorted(unknown)[0]!r}; there are {_TABLES}")
        if not any(rows.values()):
            return
        data = canonical({table: list(rows[table]) for table in rows if rows[table]}).encode()
        held = self._held.get(threading.get_ident())
        if held is not None:
            self._ingest(held, self._journal(data))
            return
        with self._locked():
            self._journal(data)

    def settle(self) -> None:
        """Have the database take in what was committed, for readers from outside."""
        with self.connect():
            pass

    def _journal(self, data: bytes) -> str:
        """Write a segment and return its name."""
        name = f"{self._now():020d}-{uuid.uuid4().hex[:6]}-{sha256(data)[:16]}.json"
        write_atomic(self.journal / name, data)
        return name

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a query as dictionaries; values only through `parameters`."""
        with self.connect() as connection:
            cursor = connection.execute(sql, list(parameters))
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def products(self, keys: Iterable[str]) -> dict[str, Product]:
        """The stored products among `keys`, by key."""
        wanted = list(dict.fromkeys(keys))
        sql = (
            "SELECT key, asset, status, reason, payload, preimage, notes FROM products "
            "WHERE key IN (SELECT unnest(?::VARCHAR[]))"
        )
        return {row["key"]: _product(row) for row in self.query(sql, [wanted])} if wanted else {}

    def heads(self, keys: Iterable[str]) -> dict[str, Head]:
        """Data version, status and files of the stored products among `keys`, by key."""
        wanted = list(dict.fromkeys(keys))
        sql = (
            "SELECT key, data_version, status, reason, notes ->> '$.files' AS files FROM products "
            "WHERE key IN (SELECT unnest(?::VARCHAR[]))"
        )
        if not wanted:
            return {}
        with self.connect() as connection:
            rows = connection.execute(sql, [wanted]).fetchall()
        return {key: _head(*rest) for key, *rest in rows}

    def preimages(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the stored products among `keys` were made from, by key."""
        sql = "SELECT key, preimage FROM products WHERE key IN (SELECT unnest(?::VARCHAR[]))"
        rows = self.query(sql, [list(keys)])
        return {row["key"]: json.loads(row["preimage"]) for row in rows}

    def shared(self, kind: str, provider: str, items: Iterable[str]) -> dict[str, Any]:
        """Stored results among `items` of one kind and provider, by item."""
        wanted = list(dict.fromkeys(items))
        sql = (
            "SELECT item, value FROM shared WHERE kind = ? AND provider = ? "
            "AND item IN (SELECT unnest(?::VARCHAR[]))"
        )
        rows = self.query(sql, [kind, provider, wanted]) if wanted else []
        return {row["item"]: json.loads(row["value"]) for row in rows}

    def shared_items(self, kind: str, provider: str) -> dict[str, Any]:
        """All stored results of one kind and provider, by item."""
        sql = "SELECT item, value FROM shared WHERE kind = ? AND provider = ? ORDER BY item"
        return {row["item"]: json.loads(row["value"]) for row in self.query(sql, [kind, provider])}

    def locate(self, hashes: Iterable[str]) -> dict[str, str]:
        """The file that holds each stored blob, by the blob's hash."""
        wanted = list(dict.fromkeys(hashes))
        sql = "SELECT hash, file FROM artefacts WHERE hash IN (SELECT unnest(?::VARCHAR[]))"
        return {row["hash"]: row["file"] for row in self.query(sql, [wanted])} if wanted else {}

    def provider(self, fingerprint: Mapping[str, Any]) -> str:
        """Record a provider's fingerprint once and return its hash."""
        name = digest(fingerprint)
        if name not in self._known:
            if not self.query("SELECT 1 FROM providers WHERE provider = ?", [name]):
                row = {"provider": name, "fingerprint": canonical(fingerprint)}
                self.commit({"providers": [row]})
            self._known.add(name)
        return name

    def record_removal(self, files: Sequence[str], why: str) -> None:
        """Record that store files are gone on purpose, until their content is stored again."""
        removed = [{"file": name, "recorded_at": now(), "why": why} for name in files]
        self.commit({"removed": removed})

    def changed_segments(self) -> list[str]:
        """Journal segments whose content is not what their name says, oldest first."""
        return [
            name
            for name in sorted(self._segments())
            if not _sound(name, (self.journal / name).read_bytes())
        ]

    def rebuild(self) -> None:
        """Make the database anew from the journal."""
        with self._locked():
            self.database.unlink(missing_ok=True)
            with self._connected():
                pass

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process or thread at a time; not to be entered twice by the same."""
        Path(self.root).mkdir(parents=True, exist_ok=True)
        with FileLock(Path(self.root) / "lineage.lock"):
            yield

    def prefer(self, announced: Sequence[str]) -> None:
        """Have the view `latest` take products that some runs announced before newer ones.

        Args:
            announced: what they announced, see `announced_as`.
        """
        self._preferred = list(announced)

    @contextmanager
    def _connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self._open()
        try:
            self._take_in(connection)
            if self._preferred is not None:
                connection.execute("SET VARIABLE preferred = ?", [self._preferred])
            yield connection
        finally:
            connection.close()

    def _now(self) -> int:
        """Nanoseconds, later than every segment: a rebuild repeats commits in their order."""
        latest = max(self._segments(), default="0-")  # their numbers have leading zeros
        return max(time.time_ns(), int(latest.partition("-")[0]) + 1)

    def _segments(self) -> list[str]:
        """Names of the journal's segments."""
        if not self.journal.is_dir():
            return []
        return [path.name for path in self.journal.iterdir() if path.suffix == ".json"]

    def _open(self) -> duckdb.DuckDBPyConnection:
        """Open the database, waiting for other programs; a damaged one is made anew."""
        deadline = time.monotonic() + _OPEN_PATIENCE_S
        while True:
            try:
                return _opened(self.database)
            except duckdb.Error as error:
                if any(sign in str(error) for sign in _DAMAGE) and self.database.exists():
                    self.database.replace(self.database.with_suffix(".damaged"))
                elif not isinstance(error, duckdb.IOException) or time.monotonic() > deadline:
                    raise LineageError(
                        f"{self.database} cannot be opened: {error}. If another program has it "
                        "open, close it there; then run again: finished work is kept."
                    ) from error
                else:
                    time.sleep(0.1)

    def _take_in(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Add the journal's segments that the database does not hold yet, each once."""
        known = {row[0] for row in connection.execute("SELECT name FROM segments").fetchall()}
        for name in sorted(set(self._segments()) - known):
            self._ingest(connection, name)

    def _ingest(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        data = (self.journal / name).read_bytes()
        if not _sound(name, data):
            raise LineageError(
                f"journal segment {self.journal / name} has changed since it was written. Restore "
                "it from a copy, or remove it: what it recorded is then computed anew."
            )
        rows = json.loads(data)
        try:
            connection.begin()
            for table in _TABLES:
                if rows.get(table):
                    insert(connection, table, rows[table])
            connection.execute("INSERT OR IGNORE INTO segments VALUES (?)", [name])
            connection.commit()
        except duckdb.Error as error:
            raise LineageError(
                f"{self.database} did not take in {name}: {error}. The journal has kept it: free "
                "some space or mend the permissions, then run again."
            ) from error


def announced_as(run: str, asset: str, model: str, layer: str) -> str:
    """What a run announced of an asset and a layer, as the view `latest` knows it."""
    return "\x1f".join((run, asset, model, layer))


def _sound(name: str, data: bytes) -> bool:
    """Whether a segment's content is what its name says."""
    return sha256(data)[:16] == name.rpartition("-")[2].removesuffix(".json")


def _opened(database: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(database), config=_SETTINGS)
    try:
        _apply_schema(connection)
    except duckdb.Error:
        connection.close()
        raise
    return connection


def _apply_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """Create tables and views; anew when the schema file changed."""
    script = _SCHEMA.read_text(encoding="utf-8")
    version = sha256(script.encode())
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version VARCHAR)")
    if connection.execute("SELECT version FROM schema_version").fetchone() != (version,):
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


def insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows by column name; in tables with a key, a row replaces the one with its key."""
    if table not in _TABLES:
        raise LineageError(f"no lineage table {table!r}; there are {', '.join(_TABLES)}")
    if table in _KEYED:
        rows = list({tuple(row[column] for column in _KEYED[table]): row for row in rows}.values())
    kinds = _columns()[table]
    names = list(rows[0])
    verb = "INSERT OR REPLACE" if table in _KEYED else "INSERT"
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(f"unnest(?::{kinds[name]}[])" for name in names)
    # The table is one of _TABLES and the columns are those of our own records.
    statement = f"{verb} INTO {table} ({columns}) SELECT {values}"
    connection.execute(statement, [[row[name] for row in rows] for name in names])


@cache
def _columns() -> dict[str, dict[str, str]]:
    """Type of each column by table, as the schema file says; JSON travels as text."""
    with duckdb.connect() as connection:
        connection.execute(_SCHEMA.read_text(encoding="utf-8"))
        sql = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
        found: dict[str, dict[str, str]] = {}
        for table, name, kind in connection.execute(sql).fetchall():
            found.setdefault(table, {})[name] = kind.replace("JSON", "VARCHAR")
        return found


def _head(version: str, status: Status, reason: str, files: str | None) -> Head:
    return Head(version, status, reason, tuple(json.loads(files)) if files else ())


def _product(row: Mapping[str, Any]) -> Product:
    payload, notes = json.loads(row["payload"]), json.loads(row["notes"])
    outcome = Outcome(row["status"], payload, row["reason"], notes)
    return Product(row["key"], row["asset"], json.loads(row["preimage"]), outcome)
