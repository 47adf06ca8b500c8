"""Dagster's event log on Postgres with many events in one transaction, planned ones among them.

Dagster's own writes materializations of a batch together, planned events one by one, and of each
batch it notes only the very last as an asset's newest. This one treats a batch as
`workflow.event_log` does on SQLite. Its address is that of `DND_POSTGRES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from dagster import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData
from dagster_postgres import PostgresEventLogStorage

from dnd_assets.workflow.event_log import is_of_asset, newest_of_each


class BatchedPostgresEventLog(PostgresEventLogStorage):
    """As `PostgresEventLogStorage`, with `store_event_batch` in two transactions."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of assets together, in their order, and others one by one.

        Args:
            events: of any runs.
        """
        of_assets = [event for event in events if is_of_asset(event)]
        if of_assets:
            insert = self.prepare_insert_event_batch(of_assets)
            with self._connect() as connection:
                result = connection.execute(insert.returning(SqlEventLogStorageTable.c.id))
                ids = sorted(int(row[0]) for row in result.fetchall())
            with self.index_transaction() as connection:
                self._store_asset_event_tags(connection, of_assets, ids)
                for event, id_ in newest_of_each(of_assets, ids):
                    self._store_asset_event(connection, event, id_)
        for event in events:
            if not is_of_asset(event):
                self.store_event(event)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, object]
    ) -> Self:
        """The log at the address that the instance's configuration names."""
        return cls(postgres_url=str(config_value["postgres_url"]), inst_data=inst_data)
