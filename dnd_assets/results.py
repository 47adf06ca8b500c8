"""Results as tables: labels for people, and for pandas."""

from __future__ import annotations

from io import BytesIO, StringIO
from typing import Any, Literal

import pandas as pd

from resources.lineage_db import Lineage

Format = Literal["csv", "json", "parquet"]
COLUMNS = ("unit", "model", "layer", "neuron", "label", "score", "status", "reason", "run")


def labels(lineage: Lineage, study: str) -> pd.DataFrame:
    """The newest label of every unit of a study, ordered by model, layer and neuron."""
    sql = (
        "SELECT unit, model, layer, neuron, label, score, status, reason, run FROM labels "
        "WHERE study = ? ORDER BY model, layer, neuron"
    )
    return pd.DataFrame(lineage.query(sql, [study]), columns=list(COLUMNS))


def export(table: pd.DataFrame, kind: Format) -> bytes:
    """A table as the bytes of a CSV, JSON (one list of records) or Parquet file."""
    if kind == "parquet":
        binary = BytesIO()
        table.to_parquet(binary, index=False)
        return binary.getvalue()
    text = StringIO()
    if kind == "csv":
        _without_formulas(table).to_csv(text, index=False, lineterminator="\n")
    else:
        table.to_json(text, orient="records", indent=1, force_ascii=False)
    return text.getvalue().encode()


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run as a formula gets an apostrophe before it."""

    def plain(value: Any) -> Any:
        return (
            f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
        )

    return table.map(plain)
