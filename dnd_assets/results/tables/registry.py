"""Which tables a study has, and the rows that one product gives to a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dnd_assets.lineage.records import LABELS_SUFFIX
from dnd_assets.results.tables.columns import NewestProduct, Row, Table
from dnd_assets.results.tables.lineage_tables import UNITS, WHOLE_TABLES
from dnd_assets.results.tables.product_tables import TABLES, label_table


def tables_for(assets: Iterable[str]) -> list[Table]:
    """The tables of a study that has products of these assets, in their order."""
    known = set(assets)
    others = sorted(name for name in known if name.endswith(LABELS_SUFFIX))
    found = [t for t in TABLES if any(t.reads(name) for name in known)]
    return [UNITS, *found, *map(label_table, others), *WHOLE_TABLES[1:]]


def rows_of(table: Table, record: NewestProduct) -> Iterator[Row]:
    """Rows of one product: each with the unit, and every column."""
    for row in table.rows(record):
        unit = {"unit": record.unit or None}
        full = {**unit, **row}
        yield {column.name: full.get(column.name) for column in table.columns}
