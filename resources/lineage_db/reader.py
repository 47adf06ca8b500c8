"""The lineage for those who only read: nothing in the state folder is touched.

The state folder may lie on a medium that cannot be written, another process may be committing to
it, and a notebook may have the database open in any way. The journal alone decides what there is:
each segment appears there whole, so a list of segments is a consistent state. Where the database
beside it holds all of them it is read as it is; otherwise an index of the reader's own, kept in the
user's cache folder, takes in what is missing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from dnd_assets.errors import LineageError, NotFoundError
from dnd_assets.files.atomic import sha256
from dnd_assets.lineage.code_cache import cache_folder
from dnd_assets.lineage.fingerprint import digest
from resources.lineage_db.database import Lineage, Rows
from resources.lineage_db.index import Index, InUseError, schema_version
from resources.lineage_db.journal import outside
from resources.lineage_db.locks import kernel_lock

_KEPT_S = 30 * 24 * 3600
"""Indexes of folders that were not read for so long are removed."""
_PATIENCE_S = 0.5
"""How long a writer is waited for, whose database might be copied instead of read anew."""
_FEW = 200
"""So many segments more are read rather than the whole database copied."""


class LineageReader(Lineage):
    """Journal and database of one folder, for reading.

    Queries are those of `Lineage`. A block of `connect` sees one state, whatever is committed
    meanwhile.

    Attributes:
        root: the state folder.
    """

    def exclusive(self, log: Callable[[str], None], who: str = "") -> Any:
        """Refused: a reader computes nothing."""
        raise self._refusal("computed")

    def commit(self, rows: Rows) -> None:
        """Refused, unless there is nothing to record."""
        if any(rows.values()):
            raise self._refusal("recorded")

    def rebuild(self) -> None:
        """Refused: the database is another's."""
        raise self._refusal("rebuilt")

    def provider(self, fingerprint: Mapping[str, object]) -> str:
        """The hash of a provider's fingerprint; whether it is recorded does not matter here."""
        return digest(fingerprint)

    @property
    def keeps(self) -> bool:
        """Whether results may be recorded: never by a reader."""
        return False

    def _refusal(self, action: str) -> LineageError:
        return LineageError(
            f"nothing can be {action} in {self.root}: it was opened for reading only. Run what "
            "computes it, such as `dnd run`, where the folder may be written."
        )

    def flush(self) -> None:
        """Write what this process waits to commit, unless a block holds a state fixed."""
        if threading.get_ident() not in self._held:
            super().flush()

    def compact(self) -> int:
        """Refused: the journal is another's."""
        raise self._refusal("compacted")

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self._connection()
        try:
            yield connection
        finally:
            connection.close()

    def _connection(self) -> duckdb.DuckDBPyConnection:
        journaled = set(self._index.segments())
        if not journaled:
            raise NotFoundError(
                f"no results in {self.root}. Run `dnd run` there first, or name the folder that "
                "holds them by DND_HOME."
            )
        index = Index(self._folder / "lineage.duckdb", self.journal)
        patience = 0.0 if index.database.is_file() else _PATIENCE_S
        connection = self._index.open_to_read(patience)
        if connection is None:
            return self._current_index(index, None)
        missing = journaled - self._index.known(connection)
        if not missing:
            return connection
        connection.close()
        return self._current_index(index, len(missing))

    def _current_index(self, index: Index, behind: int | None) -> duckdb.DuckDBPyConnection:
        """A connection to the reader's own index, once it holds everything that the journal does.

        Args:
            index: the reader's own.
            behind: segments that the database beside the journal lacks; None if nobody knows.
        """
        index.database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with kernel_lock(index.database.parent / "lock"):
            connection = self._if_current(index)
            if connection is not None:
                return connection
            try:
                self._update_index(index, behind)
                connection = index.open_to_read(_PATIENCE_S)
            except InUseError:  # by another thread: it keeps what it sees
                private_index = Index(_temporary() / "lineage.duckdb", self.journal)
                private_index.seed(index)
                self._update_index(private_index, behind)
                connection = private_index.open_to_read(_PATIENCE_S)
        if connection is None:
            raise LineageError(f"{index.database} cannot be read. Remove it, then ask again.")
        return connection

    def _if_current(self, index: Index) -> duckdb.DuckDBPyConnection | None:
        """A connection to the reader's own index if it holds what the journal does; else None."""
        connection = index.open_to_read()
        if connection is not None and index.known(connection) != set(index.segments()):
            connection.close()
            return None
        return connection

    def _update_index(self, index: Index, behind: int | None) -> None:
        if not index.database.is_file():
            index.seed(self._index)
        connection = index.open()
        ingested, journaled = index.known(connection), index.segments()
        far_behind = behind is not None and len(set(journaled) - ingested) > behind + _FEW
        foreign = outside(ingested.difference(journaled), journaled)
        if foreign or far_behind:  # another journal lies there now, or the work of days
            connection.close()
            index.database.unlink()
            if far_behind:
                index.seed(self._index)
            connection = index.open()
        try:
            index.take_in(connection)
        finally:
            connection.close()

    @cached_property
    def _folder(self) -> Path:
        """Where the reader's own index lies: in the user's cache, or for this process alone."""
        name = sha256(f"{Path(self.root).resolve()} {schema_version()}".encode())[:16]
        base = cache_folder() / "lineage"
        try:
            (base / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=base / name):
                pass
        except (OSError, RuntimeError):  # no room, no right, or no home folder
            return _temporary()
        os.utime(base / name)
        _forget_old(base)
        return base / name


def _temporary() -> Path:
    """A temporary folder that is removed when this process ends."""
    import atexit

    folder = Path(tempfile.mkdtemp(prefix="dnd-lineage-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _forget_old(base: Path) -> None:
    """Remove indexes that nobody has read for a month."""
    with suppress(OSError):
        for folder in base.iterdir():
            if time.time() - folder.stat().st_mtime > _KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)
