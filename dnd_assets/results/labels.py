"""Results as tables: labels for people, and for pandas."""

from __future__ import annotations

import csv
import json
from io import BytesIO
from typing import TYPE_CHECKING, Final, Literal

from dnd_assets.errors import StudyError, not_found
from dnd_assets.files.csv_tables import guarded
from dnd_assets.lineage.rows import Row
from resources.lineage_db.database import Lineage

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["csv", "json", "parquet"]
_WHERE_KNOWN: Final = ("concepts", "nearest", "remarks")
COLUMNS = ("unit", "model", "layer", "neuron", "label", "score", "status", "reason", "run")


def label_assets(lineage: Lineage, study: str) -> list[str]:
    """The assets of a study that are labels: its own, then those of other methods by name."""
    sql = (
        "SELECT DISTINCT asset FROM materializations WHERE study = ? "
        "AND (asset = 'labels' OR suffix(asset, '_labels')) ORDER BY asset <> 'labels', asset"
    )
    return [row["asset"] for row in lineage.query(sql, [study])]


def label_rows(
    lineage: Lineage, study: str, asset: str = "labels", sure: float | None = None
) -> list[Row]:
    """The newest label of every unit of a study, ordered by model, layer and neuron.

    The score of a label by detection is the probability that it is right. Where a unit ends without
    a concept, a column `nearest` says what came nearest, and how probable that is.

    Labels that say how many concepts a unit answers to have a column `concepts` beside them. Where
    there is something to be known of the exemplars behind a label, such as that they are fewer than
    asked for, there is a column `remarks`.

    Args:
        lineage: where labels lie.
        study: the study's name.
        asset: whose labels.
        sure: only labels whose confidence is this or more; None for all units.

    Raises:
        NotFoundError: when the study has no such labels; names the nearest.
        StudyError: when `sure` is asked of labels that have no confidence.
    """
    assets = label_assets(lineage, study)
    if asset != "labels" and asset not in assets:
        choices = dict.fromkeys(["labels", *assets])
        raise not_found("labels", asset, choices, "Labels of a method are there after its run.")
    rows = lineage.query(_LABELS, [study, asset])
    if sure is not None:
        rows = _sure_rows(rows, sure, asset)
    for row in rows:
        row.pop("confidence")
        row["remarks"] = _remarks(row.pop("noted"), row.pop("behind"))
        row["nearest"] = _nearest(row.pop("nearest"), row.pop("probability"))
    filled_columns = [name for name in _WHERE_KNOWN if any(row[name] is not None for row in rows)]
    return [{name: row[name] for name in (*COLUMNS, *filled_columns)} for row in rows]


def _sure_rows(rows: list[Row], least_confidence: float, asset: str) -> list[Row]:
    """Rows of labels whose confidence is `least_confidence` or more."""
    if rows and all(row["confidence"] is None for row in rows):
        raise StudyError(
            f"{asset} have no confidence: only labels by detection do. Leave --confidence out, or "
            "write dissection.select = 'detection' and run the study."
        )
    return [row for row in rows if row["label"] and (row["confidence"] or 0.0) >= least_confidence]


def labels(
    lineage: Lineage, study: str, asset: str = "labels", sure: float | None = None
) -> pd.DataFrame:
    """`label_rows` as a table.

    Raises:
        NotFoundError: when the study has no such labels; names the nearest.
        StudyError: as `label_rows`.
    """
    import pandas as pd

    rows = label_rows(lineage, study, asset, sure)
    table = pd.DataFrame(rows, columns=[*rows[0]] if rows else [*COLUMNS])
    for name in {"nearest", "remarks"} & set(table.columns):
        table[name] = pd.Series([row[name] for row in rows], dtype=object)
    return table.astype({"concepts": "Int64"}) if "concepts" in table else table


# Labels of the study itself rest on the exemplars of `activations`; other methods record which
# exemplars they chose themselves.
_LABELS: Final = """
SELECT l.unit, l.model, l.layer, l.neuron, l.payload ->> 'label' AS label,
    (l.payload ->> 'score')::DOUBLE AS score, (l.payload ->> 'count')::INTEGER AS concepts,
    (l.payload ->> 'confidence')::DOUBLE AS confidence, l.status, l.reason, l.run,
    p.notes -> '$.remarks' AS noted, q.notes -> '$.remarks' AS behind,
    d.payload ->> 'label' AS nearest, (d.payload ->> 'confidence')::DOUBLE AS probability
FROM latest l LEFT JOIN products p ON p.key = l.key
LEFT JOIN latest a ON l.asset = 'labels' AND a.study = l.study AND a.unit = l.unit
    AND a.asset = 'activations'
LEFT JOIN products q ON q.key = a.key
LEFT JOIN latest d ON l.asset = 'labels' AND l.status = 'no_concept' AND d.study = l.study
    AND d.unit = l.unit AND d.asset = 'detection_scores'
WHERE l.study = ? AND l.asset = ? ORDER BY l.model, l.layer, l.neuron
"""


def _nearest(label: str | None, probability: float | None) -> str | None:
    """What came nearest, with its probability of being right."""
    return None if label is None else f"{label} ({probability or 0:.2f})"


def _remarks(*lists: str | None) -> str | None:
    """The texts of remarks, from JSON lists of them; None where there is none."""
    remarks = (remark for text in lists if text for remark in json.loads(text))
    return "; ".join(dict.fromkeys(str(remark["text"]) for remark in remarks)) or None


def export(table: pd.DataFrame, kind: Format) -> bytes:
    """A table as the bytes of a CSV, JSON (one list of records) or Parquet file."""
    if kind == "parquet":
        binary = BytesIO()
        table.to_parquet(binary, index=False)
        return binary.getvalue()
    if kind == "csv":  # text in quotes, because a bare carriage return would end the row
        without_formulas = _without_formulas(table)
        text = without_formulas.to_csv(
            index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC
        )
        return str(text).encode()
    # pandas' own JSON writer drops digits.
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    return json.dumps(records, ensure_ascii=False, indent=1, allow_nan=False).encode()


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run as a formula gets an apostrophe before it."""

    def guard(value: object) -> object:
        return guarded(value) if isinstance(value, str) else value

    return table.map(guard)
