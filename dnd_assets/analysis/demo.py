"""The end of the demo: labels beside the truth, and what to do next."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dnd_assets.analysis.compare import Judgement, Method, Reference, Row, compare
from dnd_assets.analysis.compare_request import reference
from dnd_assets.results.labels import labels
from dnd_assets.study.study import Study
from dnd_assets.units import Unit
from resources.lineage_db.database import Lineage

_NEXT = """\
Results lie in {home} (DuckDB: {home}/lineage.duckdb).
Next:{activate}
  dnd ui                             the graph, every materialization, pictures and tables
  dnd trace worldnet/planted/0       why this label? down to prompts, seeds and pixels
  dnd report --study known-answers   the atlas: a page for each unit, opens without a server
  dnd labels --format csv            the labels as a file
  dnd init --help                    a study for your own network and images
"""


BARS = {"final": 0.95, "planted": 0.80, "dead": 1.0}
"""Share of exact labels that the demo must reach, by kind of truth."""


def below_bar(rows: Iterable[Row]) -> list[str]:
    """The kinds of truth whose share of exact labels is too small, of those that were labelled."""
    return [
        row.group
        for row in rows
        if row.exact and row.exact.count < BARS.get(row.group, 0.0) * row.exact.units
    ]


def show_truths(study: Study, home: Path, out: Console) -> bool:
    """Print a table of labels beside the truth, the share that is right, and what to run next.

    Returns:
        Whether every share reaches its bar.
    """
    rows = labels(Lineage(root=str(home)), study.name).to_dict("records")
    units = [Unit(row["model"], row["layer"], int(row["neuron"])) for row in rows]
    truths = reference(study, units)
    label_of = {unit.key: _text(row["label"]) for unit, row in zip(units, rows, strict=True)}
    table = Table(box=None, pad_edge=False)
    for name in ("unit", "label", "truth", ""):
        table.add_column(name)
    for row, (unit, label) in zip(rows, label_of.items(), strict=True):
        label_text = label or f"({row['status']})"
        table.add_row(unit, label_text, _truth(truths, unit), _mark(truths.judge(unit, label)))
    out.print(table)
    scores = compare([Method(study.name, label_of)], truths).rows
    out.print(_summary(scores))
    low = below_bar(scores)
    if low:
        out.print(f"Below the bar: {', '.join(low)}", style="red")
    out.print(_NEXT.format(home=home, activate=_activation()), markup=False)
    return not low


def _mark(judgement: Judgement | None) -> str:
    if judgement is None:
        return ""
    return "ok" if judgement.exact else "holds it" if judgement.holds else "WRONG"


def _summary(rows: Iterable[Row]) -> Table:
    """Labels word for word: exact ones name the truth and nothing else."""
    table = Table(box=None, pad_edge=False)
    table.add_column("truth")
    for name in ("units", "exact", "hold it", "precision", "recall", "F1", "words", "abstained"):
        table.add_column(name, justify="right")
    for row in rows:
        if row.exact and row.holds and row.f1 and row.precision and row.recall:
            numbers = (row.units, row.exact.count, row.holds.count)
            measures = (row.precision, row.recall, row.f1)
            words = "-" if row.words is None else f"{row.words:.1f}"
            abstained = str(row.units - row.labelled)
            figures = (*map(str, numbers), *(f"{measure.mean:.2f}" for measure in measures))
            table.add_row(row.group, *figures, words, abstained)
    return table


def _activation() -> str:
    """The command that puts `dnd` on the path, where it is not there yet."""
    if shutil.which("dnd"):
        return ""
    return f"\n  source {Path(sys.executable).parent / 'activate'}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _truth(truths: Reference, unit: str) -> str:
    texts = truths.texts.get(unit)
    if texts:
        return " or ".join(texts)
    return "(dead: no label)" if truths.groups[unit] == "dead" else "(random: no truth)"
