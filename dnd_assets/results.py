"""Results as tables: labels for people, and for pandas."""

from __future__ import annotations

import csv
import json
from io import BytesIO
from typing import Any, Literal

import pandas as pd

from resources.lineage_db import Lineage

Format = Literal["csv", "json", "parquet"]
Answers = Literal[
    "labels",
    "clip_dissect_labels",
    "network_dissection_labels",
    "compositions_labels",
    "invert_labels",
]
"""Assets that end in labels."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
COLUMNS = ("unit", "model", "layer", "neuron", "label", "score", "status", "reason", "run")


def labels(lineage: Lineage, study: str, asset: Answers = "labels") -> pd.DataFrame:
    """The newest label of every unit of a study, ordered by model, layer and neuron."""
    sql = (
        "SELECT unit, model, layer, neuron, payload ->> 'label' AS label, "
        "(payload ->> 'score')::DOUBLE AS score, status, reason, run FROM latest "
        "WHERE study = ? AND asset = ? ORDER BY model, layer, neuron"
    )
    return pd.DataFrame(lineage.query(sql, [study, asset]), columns=list(COLUMNS))


def export(table: pd.DataFrame, kind: Format) -> bytes:
    """A table as the bytes of a CSV, JSON (one list of records) or Parquet file."""
    if kind == "parquet":
        binary = BytesIO()
        table.to_parquet(binary, index=False)
        return binary.getvalue()
    if kind == "csv":  # text in quotes, because a bare carriage return would end the row
        plain = _without_formulas(table)
        text = plain.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        return str(text).encode()
    # pandas' own JSON writer drops digits.
    known = table.astype(object).where(table.notna(), None).to_dict("records")
    return json.dumps(known, ensure_ascii=False, indent=1, allow_nan=False).encode()


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run as a formula gets an apostrophe before it."""

    def plain(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

    return table.map(plain)
