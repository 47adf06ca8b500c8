"""A product's columns are said once: rows, database views and dictionary are made from them."""

import json
from dataclasses import replace

import pytest

from dnd_assets.results.products.registry import PRODUCT_TABLES, PRODUCTS, upwards, view_of
from dnd_assets.results.tables.columns import Column
from dnd_assets.results.tables.database_views import SCHEMA, schema_text, view_sql
from dnd_assets.results.tables.dictionary import dictionary
from dnd_assets.results.tables.product_rows import product_rows
from dnd_assets.results.tables.table_source import TableSource
from resources.lineage_db.database import Lineage
from tests.lineage import handmade
from tests.lineage.handmade import UNIT

VIEWED = [table for table in PRODUCT_TABLES if table.view]
_PLAIN = {"text", "int", "uint", "number", "flag"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    found = Lineage(root=str(tmp_path_factory.mktemp("filled")))
    handmade.record(found, "mine", UNIT)
    return found


def test_the_schema_has_the_views_that_the_columns_make():
    written = SCHEMA.read_text(encoding="utf-8")
    assert written == schema_text(written), "run python -m dnd_assets.results.tables.database_views"


@pytest.mark.parametrize("table", VIEWED, ids=[table.name for table in VIEWED])
def test_a_view_and_the_rows_of_exports_are_the_same(filled, table):
    source = TableSource(filled, "mine")
    asset = table.source.strip("`")
    records = [record for part in source.records(asset) for record in part]
    rows = [row for record in records for row in product_rows(table, record)]
    order = " ORDER BY position" if any(c.name == "position" for c in table.columns) else ""
    if table.name == "synthetic_images":
        order = " ORDER BY concept DESC, index"
    seen = filled.query(f"SELECT * FROM {table.name} WHERE study = 'mine'{order}")
    names = [c.name for c in table.columns if c.path is not None and c.type in _PLAIN]
    told = [{name: row[name] for name in names} for row in rows]
    if table.name == "synthetic_images":
        told.sort(key=lambda row: row["index"])
        told.sort(key=lambda row: row["concept"], reverse=True)
    assert [{name: row[name] for name in names} for row in seen] == told
    if filled.query("SELECT 1 FROM latest WHERE asset = ?", [asset]):
        assert rows
    lists = [c.name for c in table.columns if c.type in ("ints", "numbers")]
    assert [[json.loads(row[name]) for name in lists] for row in seen] == [
        [row[name] for name in lists] for row in rows
    ]


def test_a_column_that_is_added_is_in_rows_views_and_dictionary(filled):
    (captions,) = view_of("captions").tables
    first = Column("first_word", "text", "the caption's first word", path=None,
                   made=lambda entry: entry["caption"].split()[0])  # fmt: skip
    table = replace(captions, columns=(*captions.columns, first, replace(first, name="caption2",
                    path="caption", made=None)))  # fmt: skip
    ((record, *_),) = TableSource(filled, "mine").records("captions")
    for row in product_rows(table, record):
        assert row["caption2"] == row["caption"]
        assert row["first_word"] == row["caption"].split()[0]
    assert "e.value ->> 'caption' AS caption2" in view_sql(table)
    assert "first_word" not in view_sql(table), "no one place has it"
    for one in captions.columns:
        assert f"| `{one.name}` |" in dictionary()


def test_every_product_has_one_description_and_others_what_their_kind_has():
    names = [one.name for one in PRODUCTS]
    assert len(set(names)) == len(names)
    assert view_of("theirs_labels").name == "_labels"
    assert view_of("labels_metrics").name == "_metrics"


def test_a_trace_goes_from_labels_to_what_they_were_made_from():
    found = upwards(["probing_set", "activations", "captions", "labels", "mine_labels"])
    assert found == ["mine_labels", "labels", "captions", "activations"]
