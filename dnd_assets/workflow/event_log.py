"""Dagster's event log on SQLite with many events in one transaction.

Dagster hands events to its storage in batches when it is told to (`DAGSTER_EVENT_BATCH_SIZE`), but
its SQLite storage writes a batch one event after the other, each in four transactions of its own.
This one writes a batch in two transactions: the run's log, and the index of all assets. What is
read from it afterwards is the same. Dagster's makes an engine for each transaction, too, which
compiles every statement anew; this one has an engine for each file.

`BatchedEventLog` asks nothing of this project and could stand in Dagster as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from dagster import EventLogEntry
from dagster._config.config_schema import UserConfigSchema
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import Connection, Engine

Row = dict[str, Any]
"""The columns of an event in Dagster's table."""


class BatchedEventLog(SqliteEventLogStorage):
    """As `SqliteEventLogStorage`, with `store_event_batch` in two transactions."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of assets together, in their order, and others one by one.

        Args:
            events: of any runs.
        """
        of_assets = [event for event in events if is_of_asset(event)]
        rows = [self._event_to_row(event) for event in of_assets]  # each is written out once
        for run_id in dict.fromkeys(event.run_id for event in of_assets):
            own = [row for row in rows if row["run_id"] == run_id]
            with self.run_connection(run_id) as connection:
                connection.execute(SqlEventLogStorageTable.insert(), own)
        if of_assets:
            with self.index_transaction() as connection:
                self._index(connection, of_assets, rows)
        for event in events:
            if not is_of_asset(event):
                self.store_event(event)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """A transaction on the file of a run, or on the index."""
        with self._db_lock:
            engine = _engine(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _index(
        self, connection: Connection, events: Sequence[EventLogEntry], rows: Sequence[Row]
    ) -> None:
        """Mirror events in the index, with their tags and the newest of each asset."""
        ids = [self._insert(connection, row) for row in rows]
        self._store_asset_event_tags(connection, events, ids)
        for event, id_ in newest_of_each(events, ids):
            self._store_asset_event(connection, event, id_)

    def _insert(self, connection: Connection, row: Row) -> int:
        """The number under which the index has an event."""
        key = connection.execute(SqlEventLogStorageTable.insert(), row).inserted_primary_key
        if key is None:
            raise RuntimeError("SQLite gave no number to an event that it stored")
        return int(key[0])


class HomeEventLog(BatchedEventLog):
    """The batched log below `DAGSTER_HOME`, where Dagster's own would lie.

    Its place is not written into `dagster.yaml`, so that a state folder can be moved.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No options."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: object
    ) -> Self:
        """The log of the instance that `DAGSTER_HOME` names."""
        folder = Path(os.environ["DAGSTER_HOME"]) / "history" / "runs"
        return cls(str(folder), inst_data=inst_data)


@lru_cache(maxsize=16)
def _engine(address: str) -> Engine:
    """The engine of a file; it holds no connection open."""
    waiting = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
    return create_engine(address, poolclass=NullPool, connect_args=waiting)


def is_of_asset(event: EventLogEntry) -> bool:
    """Whether an event belongs into the index of assets."""
    if not event.is_dagster_event or event.dagster_event_type not in ASSET_EVENTS:
        return False
    return event.get_dagster_event().asset_key is not None


def newest_of_each(
    events: Sequence[EventLogEntry], ids: Sequence[int]
) -> list[tuple[EventLogEntry, int]]:
    """The newest event of each asset and kind, oldest first; it overwrites what those before wrote.

    Args:
        events: of assets, in their order.
        ids: the number under which each is stored.
    """
    newest = {_kind(event): (event, id_) for event, id_ in zip(events, ids, strict=True)}
    return sorted(newest.values(), key=lambda pair: pair[1])


def _kind(event: EventLogEntry) -> tuple[str, str]:
    dagster_event = event.get_dagster_event()
    assert dagster_event.asset_key is not None
    return dagster_event.asset_key.to_string(), dagster_event.event_type_value
