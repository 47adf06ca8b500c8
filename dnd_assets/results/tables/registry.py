"""Which tables a study has, and the rows that one product gives to a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from dnd_assets.lineage.records import LABELS_SUFFIX
from dnd_assets.lineage.rows import Row
from dnd_assets.results.products.labels import label_table
from dnd_assets.results.products.registry import PRODUCT_TABLES
from dnd_assets.results.tables.columns import NewestProduct, Table
from dnd_assets.results.tables.lineage_tables import PRODUCTS, UNITS, WHOLE_TABLES
from dnd_assets.results.tables.product_rows import product_rows

TABLES: Final[tuple[Table, ...]] = (*PRODUCT_TABLES, PRODUCTS)
"""The tables whose rows come of products; labels of other methods have one each besides."""


def tables_for(assets: Iterable[str]) -> list[Table]:
    """The tables of a study that has products of these assets, in their order."""
    names = set(assets)
    methods = sorted(name for name in names if name.endswith(LABELS_SUFFIX))
    tables = [table for table in TABLES if any(table.reads(name) for name in names)]
    return [UNITS, *tables, *map(label_table, methods), *WHOLE_TABLES[1:]]


def rows_of(table: Table, record: NewestProduct) -> Iterator[Row]:
    """Rows of one product: each with the unit, and every column."""
    rows = table.rows(record) if table.rows else product_rows(table, record)
    if table is PRODUCTS:
        has_table = any(product_table.reads(record.asset) for product_table in PRODUCT_TABLES)
        rows = [{**row, "content": None if has_table else row["content"]} for row in rows]
    for row in rows:
        full_row = {"unit": record.unit or None, **row}
        yield {column.name: full_row.get(column.name) for column in table.columns}
