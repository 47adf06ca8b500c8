"""Group commits: rows of shared work that wait to be written to the journal together.

A stage commits thousands of times, and each segment is a file that the disk has to confirm. So
while a stage computes, rows of shared work wait up to a second, or until there are 64 commits, and
go into one segment. They wait no longer when rows of another kind are committed, when anything in
this process reads, and when the stage ends, however it does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from dnd_assets.errors import DndError
from resources.lineage_db.journal import Row

MAY_WAIT = frozenset({"artefacts", "shared"})
"""Tables of shared work: lost rows are made again. Products and paid answers never wait."""
_SECONDS = 1.0
_COMMITS = 64


@dataclass
class CommitGroup:
    """Rows that wait, in the order of their commits.

    Attributes:
        write: writes what waits; called by a timer.
    """

    write: Callable[[], None]
    _process: int = field(default_factory=os.getpid)
    _open: int = 0
    _commits: int = 0
    _rows: dict[str, list[Row]] = field(default_factory=dict)
    _timer: threading.Timer | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def add(self, rows: Mapping[str, Sequence[Row]]) -> bool:
        """Have rows wait; returns whether so many commits wait that they should be written now."""
        with self._guard:
            self._append(rows)
            self._commits += 1
            if self._timer is None:
                self._timer = threading.Timer(_SECONDS, self._write_late)
                self._timer.daemon = True
                self._timer.start()
            return self._commits >= _COMMITS

    def take(self) -> dict[str, list[Row]]:
        """The rows that wait, which are removed from the group."""
        with self._guard:
            if self._timer is not None:
                self._timer.cancel()
            rows, self._rows, self._commits, self._timer = self._rows, {}, 0, None
            return rows

    def put_back(self, rows: Mapping[str, Sequence[Row]]) -> None:
        """Have rows that could not be written wait again, before those that came since."""
        with self._guard:
            since, self._rows = self._rows, {}
            self._append(rows)
            self._append(since)

    def _append(self, rows: Mapping[str, Sequence[Row]]) -> None:
        for table, table_rows in rows.items():
            self._rows.setdefault(table, []).extend(table_rows)

    def _write_late(self) -> None:
        with suppress(DndError):  # the next commit, or the stage's end, meets it again
            self.write()


_GROUPS: dict[str, CommitGroup] = {}
"""Groups that are open, by state folder."""
_REGISTRY_LOCK = threading.Lock()


def group_of(root: str) -> CommitGroup | None:
    """The group that is open in this process for a state folder."""
    group = _GROUPS.get(root)
    return group if group is not None and group._process == os.getpid() else None


@contextmanager
def open_group(root: str, write: Callable[[], None]) -> Iterator[None]:
    """Have commits of a state folder wait for one another until the block ends.

    Args:
        root: the state folder.
        write: writes what waits.
    """
    with _REGISTRY_LOCK:
        group = group_of(root) or CommitGroup(write)
        _GROUPS[root] = group
        group._open += 1
    try:
        yield
    finally:
        try:
            write()
        finally:
            with _REGISTRY_LOCK:
                group._open -= 1
                if not group._open:
                    group.take()
                    _GROUPS.pop(root, None)
