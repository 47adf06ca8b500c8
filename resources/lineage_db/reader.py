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
        """Refused: who only reads has nothing to compute."""
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
        """Whether results may be recorded: not here."""
        return False

    def _refusal(self, what: str) -> LineageError:
        return LineageError(
            f"nothing can be {what} in {self.root}: it was opened for reading only. Run what "
            "computes it, such as `dnd run`, where the folder may be written."
        )

    def flush(self) -> None:
        """What this process is about to commit is written first, unless a block's state is read."""
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
        wanted = set(self._index.segments())
        if not wanted:
            raise NotFoundError(
                f"no results in {self.root}. Run `dnd run` there first, or name the folder that "
                "holds them by DND_HOME."
            )
        own = Index(self._folder / "lineage.duckdb", self.journal)
        waited = 0.0 if own.database.is_file() else _PATIENCE_S
        public = self._index.open_to_read(waited)
        if public is None:
            return self._up_to_date(own, None)
        missing = wanted - self._index.known(public)
        if not missing:
            return public
        public.close()
        return self._up_to_date(own, len(missing))

    def _up_to_date(self, own: Index, behind: int | None) -> duckdb.DuckDBPyConnection:
        """The reader's own index with everything that the journal holds.

        Args:
            own: it.
            behind: segments that the database beside the journal lacks; None if nobody knows.
        """
        own.database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with kernel_lock(own.database.parent / "lock"):
            found = self._as_it_is(own)
            if found is not None:
                return found
            try:
                self._bring_up(own, behind)
                found = own.open_to_read(_PATIENCE_S)
            except InUseError:  # by another thread: it keeps what it sees
                apart = Index(_temporary() / "lineage.duckdb", self.journal)
                apart.seed(own)
                self._bring_up(apart, behind)
                found = apart.open_to_read(_PATIENCE_S)
        if found is None:
            raise LineageError(f"{own.database} cannot be read. Remove it, then ask again.")
        return found

    def _as_it_is(self, own: Index) -> duckdb.DuckDBPyConnection | None:
        """The reader's own index, when it holds what the journal does and nothing else."""
        found = own.open_to_read()
        if found is not None and own.known(found) != set(own.segments()):
            found.close()
            return None
        return found

    def _bring_up(self, own: Index, behind: int | None) -> None:
        if not own.database.is_file():
            own.seed(self._index)
        connection = own.open()
        known, wanted = own.known(connection), own.segments()
        late = behind is not None and len(set(wanted) - known) > behind + _FEW
        gone = outside(known.difference(wanted), wanted)
        if gone or late:  # another journal lies there now, or the work of days
            connection.close()
            own.database.unlink()
            if late:
                own.seed(self._index)
            connection = own.open()
        try:
            own.take_in(connection)
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
    """A folder that goes with this process."""
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
