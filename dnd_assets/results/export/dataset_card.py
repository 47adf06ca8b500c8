"""The README of a Hugging Face data set folder: which table lies where, and what it means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from dnd_assets.results.export.formats import EMBEDDED
from dnd_assets.results.tables.columns import Table
from dnd_assets.results.tables.lineage_tables import PICTURES

_DEFAULT = "labels"


def data_set_card(
    study: str, tables: Sequence[Table], files: Mapping[str, Sequence[str]], rows: Mapping[str, int]
) -> str:
    """Markdown with the YAML that `datasets.load_dataset` reads; tables without rows are left out.

    Args:
        study: the study's name.
        tables: the tables.
        files: of each table, from the folder.
        rows: of each table.
    """
    filled = [table for table in tables if rows[table.name]]
    names = [table.name for table in filled]
    default = _DEFAULT if _DEFAULT in names else names[0]
    lines = ["---", f"pretty_name: {json.dumps(f'Unit labels of {study}')}", "configs:"]
    for table in filled:
        folder = files[table.name][0].rpartition("/")[0]
        lines += [
            f"- config_name: {table.name}",
            *(["  default: true"] if table.name == default else []),
            "  data_files:",
            "  - split: train",
            f"    path: {folder}/*.parquet",
        ]
    lines.append("dataset_info:")
    for table in filled:
        lines += [f"- config_name: {table.name}", "  features:"]
        lines += [line for column in table.columns for line in _feature(column.name, column.type)]
        if table.name == PICTURES.name:
            lines += _feature(EMBEDDED, "picture")
    lines += ["---", "", f"# Unit labels of {study}", "", *_table(filled, rows), ""]
    return "\n".join(lines)


_YAML: Mapping[str, str] = {
    "text": "string", "json": "string", "int": "int64", "uint": "uint64", "number": "float64",
    "flag": "bool", "picture": "image", "texts": "string", "ints": "int64", "numbers": "float64",
}  # fmt: skip
_LISTS = ("texts", "ints", "numbers")


def _feature(name: str, kind: str) -> list[str]:
    """A column as the YAML of a data set's features; YAML reads a bare `off` as false."""
    name = json.dumps(name)
    if kind == "scored":
        fields = [f"    - name: {n}\n      dtype: {type_name}" for n, type_name in _SCORED]
        return [f"  - name: {name}", "    list:", *fields]
    return [f"  - name: {name}", f"    {'list' if kind in _LISTS else 'dtype'}: {_YAML[kind]}"]


_SCORED = (("label", "string"), ("score", "float64"))


def _table(tables: Sequence[Table], rows: Mapping[str, int]) -> list[str]:
    head = [
        "Labels of the units of vision networks by Describe-and-Dissect, with everything behind "
        "them. Column descriptions are in `export.json`.",
        "",
        "| table | rows | a row is |",
        "| --- | --- | --- |",
    ]
    return head + [
        f"| `{table.name}` | {rows[table.name]:,} | {table.meaning} |" for table in tables
    ]
