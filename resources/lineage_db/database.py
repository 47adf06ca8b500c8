"""The lineage database: DuckDB over an append-only journal.

The journal is the record: one immutable JSON segment per commit, written atomically. DuckDB is the
index over it that people query (`resources.lineage_db.index`); it takes in new segments whenever
it is opened, and a lost or damaged database is rebuilt from them. It is opened for moments only,
behind a lock that the kernel frees when its owner dies. Who only reads takes
`resources.lineage_db.reader`.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import duckdb
from filelock import Timeout
from pydantic import PrivateAttr

from dnd_assets.errors import LineageError
from dnd_assets.lineage.fingerprint import Preimage, canonical, digest
from dnd_assets.lineage.records import Outcome, Product, Status, StoredVersion, now
from dnd_assets.lineage.rows import Row, Shared
from resources.lineage_db.grouping import MAY_WAIT, group_of, open_group
from resources.lineage_db.index import TABLES, Index
from resources.lineage_db.journal import Journal
from resources.lineage_db.locks import LockOwner, kernel_lock, locked
from resources.lineage_db.state_places import index_folder
from resources.runtime.resource import Resource

Rows = Mapping[str, Sequence[Mapping[str, object]]]
"""Rows to record, by table."""
_COMPACT_AT = 1_000
"""From so many segments on a stage's end unites them."""
_WAITS: Counter[str] = Counter()
"""How often this process has waited for another one, by state folder; Dagster copies resources."""


class Lineage(Resource):
    """Journal, database and locks under one folder.

    Attributes:
        root: the state folder; holds `journal/`, `lineage.duckdb` and the lock files.
    """

    root: str
    _known: set[str] = PrivateAttr(default_factory=set)
    _preferred: list[str] | None = PrivateAttr(default=None)
    _held: dict[int, duckdb.DuckDBPyConnection] = PrivateAttr(default_factory=dict)

    @property
    def keeps(self) -> bool:
        """Whether results may be recorded; a reader computes what it needs and forgets it."""
        return True

    @property
    def database(self) -> Path:
        """Path of the DuckDB file."""
        return index_folder(Path(self.root)) / "lineage.duckdb"

    @property
    def journal(self) -> Path:
        """Folder of the journal's segments."""
        return Path(self.root) / "journal"

    @property
    def waits(self) -> int:
        """How often this process has waited for another one that computed on this folder."""
        return _WAITS[self.root]

    @contextmanager
    def exclusive(self, log: Callable[[str], None], who: str = "") -> Iterator[None]:
        """Hold the right to compute: two runs on one state folder wait for one another.

        The kernel frees the lock when its owner ends in any way, so a dead run never blocks.

        Args:
            log: told whom this process waits for, if it has to.
            who: what the owner does, for those who wait.
        """
        owner = LockOwner(Path(self.root) / "compute.owner")
        try:
            Path(self.root).mkdir(parents=True, exist_ok=True)
            lock = kernel_lock(Path(self.root) / "compute.lock")
            lock.acquire(timeout=0)
        except OSError as error:
            if not isinstance(error, Timeout):
                raise unwritable(self.root, error) from error
            holder = owner.told() or "another run"
            log(f"waiting for {holder}, which is computing on {self.root}")
            lock.acquire()
            _WAITS[self.root] += 1
        try:
            warning = owner.elsewhere()
            if warning:
                log(warning)
            owner.write(who)
            yield
        finally:
            owner.forget()
            lock.release()

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The database with every journaled segment taken in; closed when the block ends.

        Inside a block of the same thread the block's connection is used, so that many queries and
        commits share one opening; no other process reads or writes meanwhile, so be brief.

        Raises:
            LineageError: when the folder cannot be written, or a journal segment has changed.
        """
        thread = threading.get_ident()
        self.flush()
        if thread in self._held:
            yield self._held[thread]
            return
        with self._opened() as connection:
            self._set_preferred(connection)
            self._held[thread] = connection
            try:
                yield connection
            finally:
                del self._held[thread]

    def commit(self, rows: Rows) -> None:
        """Record rows for good, in the journal.

        Once this returns the rows survive a crash, within `grouped` a second later at most. The
        database takes them in when it is opened next, so that whoever asks through this class
        finds them.
        """
        unknown = set(rows) - set(TABLES)
        if unknown:
            raise LineageError(f"no lineage table {sorted(unknown)[0]!r}; there are {TABLES}")
        if not any(rows.values()):
            return
        group = group_of(self.root)
        if group is not None and MAY_WAIT.issuperset(name for name in rows if rows[name]):
            if group.add(rows):
                self.flush()
            return
        self._record(rows)

    @contextmanager
    def grouped(self) -> Iterator[None]:
        """Within the block, commits of shared work wait for one another; see `grouping`."""
        with open_group(self.root, self.flush):
            yield

    def flush(self) -> None:
        """Write what waits in this process to be committed.

        Raises:
            StoreError: when the disk refuses; it waits on then.
        """
        if group_of(self.root) is not None:
            self._record({})

    def settle(self) -> None:
        """Have the database take in what was committed, for readers from outside."""
        with self.connect():
            pass
        if self.keeps and len(self._index.segments()) > _COMPACT_AT and self.compact():
            with self.connect():  # so that it knows the packs
                pass

    def compact(self) -> int:
        """Unite the journal's segments into packs; returns how many were united."""
        self.flush()
        with self._locked():
            return Journal(self.journal).compact()

    def _record(self, rows: Rows) -> None:
        """Write a segment of what waits and of `rows`, in this order."""
        connection = self._held.get(threading.get_ident())
        with nullcontext() if connection is not None else self._locked():
            group = group_of(self.root)
            waiting = group.take() if group is not None else {}
            names = [name for name in {**waiting, **rows} if waiting.get(name) or rows.get(name)]
            if not names:
                return
            merged = {name: [*waiting.get(name, ()), *rows.get(name, ())] for name in names}
            try:
                segment = Journal(self.journal).append(canonical(merged).encode())
            except BaseException:
                if group is not None:
                    group.put_back(waiting)
                raise
            if connection is not None:
                self._index.ingest(connection, self._index.read(segment))

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Rows of a query as dictionaries; values only through `parameters`."""
        with self.connect() as connection:
            cursor = connection.execute(sql, list(parameters))
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def products(self, keys: Iterable[str]) -> dict[str, Product]:
        """The stored products among `keys`, by key."""
        distinct = list(dict.fromkeys(keys))
        sql = (
            "SELECT key, asset, status, reason, payload, preimage, notes FROM products "
            "WHERE key IN (SELECT unnest(?::VARCHAR[]))"
        )
        return (
            {row["key"]: _product(row) for row in self.query(sql, [distinct])} if distinct else {}
        )

    def heads(self, keys: Iterable[str]) -> dict[str, StoredVersion]:
        """Data version, status and files of the stored products among `keys`, by key."""
        distinct = list(dict.fromkeys(keys))
        sql = (
            "SELECT key, data_version, status, reason, notes ->> '$.files' AS files FROM products "
            "WHERE key IN (SELECT unnest(?::VARCHAR[]))"
        )
        if not distinct:
            return {}
        with self.connect() as connection:
            rows = connection.execute(sql, [distinct]).fetchall()
        return {key: _head(*columns) for key, *columns in rows}

    def preimages(self, keys: Iterable[str]) -> dict[str, Preimage]:
        """What the stored products among `keys` were made from, by key."""
        sql = "SELECT key, preimage FROM products WHERE key IN (SELECT unnest(?::VARCHAR[]))"
        rows = self.query(sql, [list(keys)])
        return {row["key"]: json.loads(row["preimage"]) for row in rows}

    def shared(self, kind: str, provider: str, items: Iterable[str]) -> Shared:
        """Stored results among `items` of one kind and provider, by item."""
        distinct = list(dict.fromkeys(items))
        sql = (
            "SELECT item, value FROM shared WHERE kind = ? AND provider = ? "
            "AND item IN (SELECT unnest(?::VARCHAR[]))"
        )
        rows = self.query(sql, [kind, provider, distinct]) if distinct else []
        return {row["item"]: json.loads(row["value"]) for row in rows}

    def shared_items(self, kind: str, provider: str) -> Shared:
        """All stored results of one kind and provider, by item."""
        sql = "SELECT item, value FROM shared WHERE kind = ? AND provider = ? ORDER BY item"
        return {row["item"]: json.loads(row["value"]) for row in self.query(sql, [kind, provider])}

    def locate(self, hashes: Iterable[str]) -> dict[str, str]:
        """The file that holds each stored blob, by the blob's hash."""
        distinct = list(dict.fromkeys(hashes))
        sql = "SELECT hash, file FROM artefacts WHERE hash IN (SELECT unnest(?::VARCHAR[]))"
        return {row["hash"]: row["file"] for row in self.query(sql, [distinct])} if distinct else {}

    def provider(self, fingerprint: Mapping[str, object]) -> str:
        """Record a provider's fingerprint once and return its hash."""
        fingerprint_hash = digest(fingerprint)
        if fingerprint_hash not in self._known:
            if not self.query("SELECT 1 FROM providers WHERE provider = ?", [fingerprint_hash]):
                row = {"provider": fingerprint_hash, "fingerprint": canonical(fingerprint)}
                self.commit({"providers": [row]})
            self._known.add(fingerprint_hash)
        return fingerprint_hash

    def record_removal(self, files: Sequence[str], why: str) -> None:
        """Record that store files are gone on purpose, until their content is stored again."""
        removed = [{"file": name, "recorded_at": now(), "why": why} for name in files]
        self.commit({"removed": removed})

    def changed_segments(self) -> list[str]:
        """Journal segments whose content is not what their name says, oldest first."""
        return Journal(self.journal).changed()

    def rebuild(self) -> None:
        """Make the database anew from the journal."""
        with self._locked():
            self.database.unlink(missing_ok=True)
        self.settle()

    @property
    def _index(self) -> Index:
        return Index(self.database, self.journal)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process or thread at a time."""
        with ExitStack() as stack:
            try:
                Path(self.root).mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(Path(self.root) / "lineage.lock"))
            except OSError as error:
                raise unwritable(self.root, error) from error
            yield

    def prefer(self, announced: Sequence[str]) -> None:
        """Have the view `latest` take products that some runs announced before newer ones.

        Args:
            announced: what they announced, see `announced_as`.
        """
        self._preferred = list(announced)
        connection = self._held.get(threading.get_ident())
        if connection is not None:
            self._set_preferred(connection)

    def _set_preferred(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self._preferred is not None:
            connection.execute("SET VARIABLE preferred = ?", [self._preferred])

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The database for one block, with everything that was journaled before."""
        with self._locked():
            connection = self._index.open()
            try:
                self._index.take_in(connection)
                yield connection
            finally:
                connection.close()


def announced_as(run: str, asset: str, model: str, layer: str) -> str:
    """The key by which the view `latest` knows what a run announced of an asset and a layer."""
    return "\x1f".join((run, asset, model, layer))


def unwritable(root: str, error: OSError) -> LineageError:
    """The error for a state folder that cannot be written."""
    return LineageError(
        f"state folder {root} cannot be written: {error.strerror or error}. Commands that read "
        "(labels, trace, explain, diff, export, report) work there all the same; to compute, mend "
        "the permissions, or name another folder by DND_HOME."
    )


def _head(version: str, status: Status, reason: str, files: str | None) -> StoredVersion:
    return StoredVersion(version, status, reason, tuple(json.loads(files)) if files else ())


def _product(row: Row) -> Product:
    payload, notes = json.loads(row["payload"]), json.loads(row["notes"])
    outcome = Outcome(row["status"], payload, row["reason"], notes)
    return Product(row["key"], row["asset"], json.loads(row["preimage"]), outcome)
