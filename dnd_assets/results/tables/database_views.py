"""The database's views of products, made from the columns that say where values stand.

They lie in `dnd_assets/lineage/schema.sql`, since the database is below the results. `python -m
dnd_assets.results.tables.database_views` writes them there; a test holds that they fit.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dnd_assets.files.atomic import write_atomic
from dnd_assets.results.products.registry import PRODUCT_TABLES
from dnd_assets.results.tables.columns import Column, Table, Type

SCHEMA: Final = Path(__file__).parents[2] / "lineage" / "schema.sql"
_HEAD: Final = (
    "-- Views of products: made from dnd_assets/results/products; do not edit from here on."
)
_UNIT: Final = ("study", "model", "layer", "neuron", "unit")
_CASTS: Final[Mapping[Type, str]] = {
    "int": "INTEGER", "uint": "UBIGINT", "number": "DOUBLE", "flag": "BOOLEAN",
}  # fmt: skip
_TEXTS: Final = ("text",)


def view_sql(table: Table) -> str:
    """The statement that makes a table's view."""
    columns = [_column(column, table) for column in table.columns if column.name not in _UNIT]
    unit_columns = [f"l.{name}" for name in _UNIT]
    selected = ",\n       ".join([", ".join(unit_columns), *filter(None, columns)])
    lists = "".join(_list_join(number, table) for number in range(len(table.entries)))
    meaning = table.meaning.replace("'", "''")
    return (
        f"CREATE OR REPLACE VIEW {table.name} AS\nSELECT {selected}\n"
        f"FROM latest l{lists} WHERE l.asset = '{_asset(table)}';\n"
        f"COMMENT ON VIEW {table.name} IS '{meaning}';\n"
    )


def _asset(table: Table) -> str:
    return table.source.strip("`")


def _list_join(number: int, table: Table) -> str:
    parent = f"{_alias(number - 1, table)}.value" if number else "l.payload"
    return f", json_each({parent}, '$.{table.entries[number]}') {_alias(number, table)}"


def _alias(number: int, table: Table) -> str:
    """The SQL alias of the entries of a list: `e` of the innermost, which are rows, else `c`."""
    return "e" if number == len(table.entries) - 1 else "c"


def _column(column: Column, table: Table) -> str:
    if column.path is None:
        return ""
    path = column.path or column.name
    if path == "@position":
        return f"(e.key::INTEGER) + 1 AS {column.name}"
    if path.startswith("@"):
        return f"l.{path[1:]}"
    entry = "e.value" if table.entries else "l.payload"
    if path.startswith("^."):
        entry, path = ("c.value" if len(table.entries) > 1 else "l.payload"), path[2:]
    json_path = "$" if path == "." else path if "." not in path else f"$.{path}"
    if column.type in _CASTS:
        return f"({entry} ->> '{json_path}')::{_CASTS[column.type]} AS {column.name}"
    return f"{entry} {'->>' if column.type in _TEXTS else '->'} '{json_path}' AS {column.name}"


def schema_text(written: str) -> str:
    """The text of the schema file with the views as they should be."""
    handwritten = re.split(f"^{re.escape(_HEAD)}$", written, flags=re.MULTILINE)[0]
    views = "\n".join(view_sql(table) for table in PRODUCT_TABLES if table.view)
    return f"{handwritten.rstrip()}\n\n{_HEAD}\n\n{views}"


def main() -> int:
    """Write the views into the schema file."""
    text = schema_text(SCHEMA.read_text(encoding="utf-8"))
    write_atomic(SCHEMA, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
