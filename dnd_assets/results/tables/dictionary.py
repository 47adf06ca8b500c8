"""The data dictionary: what each column of each table means, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dnd_assets.results.tables.columns import Type
from dnd_assets.results.tables.lineage_tables import UNITS, WHOLE_TABLES
from dnd_assets.results.tables.registry import TABLES


def dictionary() -> str:
    """The data dictionary: every table and column, as Markdown."""
    parts = [_DICTIONARY_HEAD]
    for table in (UNITS, *TABLES, *WHOLE_TABLES[1:]):
        parts.append(f"## {table.name}\n\n{table.meaning} From {table.source}.\n")
        if table.name == "labels":
            parts.append(_DICTIONARY_LABELS)
        rows = [
            f"| `{c.name}` | {_TYPES[c.type]} | {c.unit or '-'} | {c.meaning} |"
            for c in table.columns
        ]
        head = ["| column | type | unit | meaning |", "| --- | --- | --- | --- |"]
        parts.append("\n".join([*head, *rows]) + "\n")
    return "\n".join(parts)


_TYPES: Final[Mapping[Type, str]] = {
    "text": "text",
    "int": "integer",
    "uint": "integer, 64 bit without sign",
    "number": "number, float64",
    "flag": "true or false",
    "texts": "list of texts",
    "ints": "list of integers",
    "numbers": "list of numbers",
    "scored": "list of {label, score}",
    "json": "JSON text",
}
_DICTIONARY_HEAD: Final = """\
# Data dictionary

Written by `dnd export --dictionary`; do not edit. These are the tables of `dnd export` in every
format and of `dnd_assets.open(study)` as frames. Any value may be missing. Pictures are named by
the SHA-256 of their bytes.

In CSV files lists are JSON, a missing value is an empty field without quotes, and text that a
spreadsheet would run as a formula has an apostrophe before it, which `read_export` takes off.
"""
_DICTIONARY_LABELS: Final = """\
Each other method has a table of its own with the same columns, named by its asset:
`clip_dissect_labels`, `milan_labels`, and so on. The CSV files can be imported again:
`[imported_labels]` with `mine = "FOLDER/labels.csv"`.
"""
