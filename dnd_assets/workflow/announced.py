"""What Dagster was told of, read without Dagster, whose import alone takes seconds.

Only where its runs and events lie in SQLite files below `DAGSTER_HOME`, as this project sets it up.
Anywhere else, or where anything is not as expected, Dagster is asked itself.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from dnd_assets.home import dagster_home, on_own_files

FINISHED: Final = ("SUCCESS", "FAILURE", "CANCELED")
"""Statuses of runs that have ended."""
_MATERIALIZATION: Final = "ASSET_MATERIALIZATION"
_PATIENCE_S: Final = 5.0


class Announced(Protocol):
    """Asked for what Dagster knows of an asset."""

    def partitions(self, asset: str) -> set[str]:
        """Keys of the units for which it was materialized."""
        ...

    def ever(self, asset: str) -> bool:
        """Whether it was materialized at all."""
        ...


@dataclass(frozen=True)
class FileHistory:
    """Runs and events of a Dagster instance, in the SQLite files where it keeps them.

    Attributes:
        folder: the folder `history` of the instance.
    """

    folder: Path

    @classmethod
    def of(cls, home: Path) -> FileHistory | None:
        """The history of a state folder; None where it does not lie in files that are known."""
        folder = dagster_home(home)
        history = cls(folder / "history")
        return history if on_own_files(folder) and history.readable() else None

    def readable(self) -> bool:
        """Whether the files are there, hold what is asked of them, and nothing was wiped."""
        try:
            with self._events() as events, self._runs() as runs:
                runs.execute("SELECT run_id, status FROM runs LIMIT 1")
                events.execute("SELECT partition, dagster_event_type FROM event_logs LIMIT 1")
                wiped = "SELECT 1 FROM asset_keys WHERE wipe_timestamp IS NOT NULL"
                return not events.execute(wiped).fetchall()
        except (OSError, sqlite3.Error):
            return False

    def goes_on(self) -> bool:
        """Whether a run has not ended, as far as Dagster knows; its process may be gone."""
        marks = ", ".join("?" for _ in FINISHED)
        with self._runs() as runs:
            sql = f"SELECT 1 FROM runs WHERE status NOT IN ({marks}) LIMIT 1"  # noqa: S608 (marks)
            return bool(runs.execute(sql, FINISHED).fetchall())

    def partitions(self, asset: str) -> set[str]:
        """See `Announced`."""
        sql = (
            "SELECT DISTINCT partition FROM event_logs WHERE asset_key = ? "
            "AND dagster_event_type = ? AND partition IS NOT NULL"
        )
        with self._events() as events:
            rows = events.execute(sql, [_key(asset), _MATERIALIZATION]).fetchall()
        return {str(row[0]) for row in rows}

    def ever(self, asset: str) -> bool:
        """See `Announced`."""
        sql = "SELECT 1 FROM event_logs WHERE asset_key = ? AND dagster_event_type = ? LIMIT 1"
        with self._events() as events:
            return bool(events.execute(sql, [_key(asset), _MATERIALIZATION]).fetchall())

    def knows(self, assets: Sequence[str], wholes: Sequence[str], units: Sequence[str]) -> bool:
        """Whether everything was announced.

        Args:
            assets: products by unit.
            wholes: products of no unit.
            units: keys of the units.
        """
        return all(self.partitions(asset).issuperset(units) for asset in assets) and all(
            map(self.ever, wholes)
        )

    def _events(self) -> AbstractContextManager[sqlite3.Connection]:
        return _opened(self.folder / "runs" / "index.db")

    def _runs(self) -> AbstractContextManager[sqlite3.Connection]:
        return _opened(self.folder / "runs.db")


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """A file opened to be asked; not read-only, which would leave SQLite's own files behind."""
    mode = "rw" if os.access(file, os.W_OK) else "ro"
    connection = sqlite3.connect(f"{file.as_uri()}?mode={mode}", uri=True, timeout=_PATIENCE_S)
    with closing(connection):
        connection.execute("PRAGMA query_only = 1")
        yield connection


def _key(asset: str) -> str:
    """An asset's name as Dagster writes it."""
    return json.dumps([asset])
