"""The end of the demo: labels beside the truth, and what to do next."""

from __future__ import annotations

import shutil
import sys
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dnd_assets.known_answers.target import Truth, is_correct, truths
from dnd_assets.methods.metrics.strict_match import strict
from dnd_assets.results.labels import labels
from dnd_assets.study.study import Study
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


@dataclass(frozen=True)
class Score:
    """Labels of one kind of unit against their truths.

    Attributes:
        units: units whose truth is known.
        exact: labels that name the truth and nothing else.
        holds: labels that hold the words of the truth, whatever else they say.
        f1: mean F1 of the labels' content words.
        abstained: units that have no label.
    """

    units: int
    exact: int
    holds: int
    f1: float
    abstained: int


def below_bar(scores: Mapping[str, Score]) -> list[str]:
    """The kinds of truth whose share of exact labels is too small, of those that were labelled."""
    return [
        kind
        for kind, bar in BARS.items()
        if kind in scores and scores[kind].exact < bar * scores[kind].units
    ]


def scores(rows: list[dict[Hashable, Any]]) -> dict[str, Score]:
    """How labels do by kind of truth; random units, which have no truth, are left out."""
    judged = defaultdict(list)
    known = truths()
    for row in rows:
        truth = known[str(row["layer"]), int(str(row["neuron"]))]
        label = _text(row["label"])
        found = strict(label, truth)
        if found is not None:
            judged[truth.kind].append((found, is_correct(label, truth), label))
    return {
        kind: Score(
            units=len(some),
            exact=sum(found.exact for found, _, _ in some),
            holds=sum(holds for _, holds, _ in some),
            f1=sum(found.f1 for found, _, _ in some) / len(some),
            abstained=sum(not label for _, _, label in some),
        )
        for kind, some in judged.items()
    }


def show_truths(study: Study, home: Path, out: Console) -> bool:
    """Print a table of labels beside the truth, the share that is right, and what to run next.

    Returns:
        Whether every share reaches its bar.
    """
    rows = labels(Lineage(root=str(home)), study.name).to_dict("records")
    table = Table(box=None, pad_edge=False)
    for name in ("unit", "label", "truth", ""):
        table.add_column(name)
    known = truths()
    for row in rows:
        truth = known[str(row["layer"]), int(row["neuron"])]
        label = _text(row["label"])
        shown = label or f"({row['status']})"
        table.add_row(str(row["unit"]), shown, _truth(truth), _mark(label, truth))
    out.print(table)
    found = scores(rows)
    out.print(_summary(found))
    low = below_bar(found)
    if low:
        out.print(f"Below the bar: {', '.join(low)}", style="red")
    out.print(_NEXT.format(home=home, activate=_activation()), markup=False)
    return not low


def _mark(label: str | None, truth: Truth) -> str:
    found = strict(label, truth)
    if found is None:
        return ""
    return "ok" if found.exact else "holds it" if is_correct(label, truth) else "WRONG"


def _summary(found: Mapping[str, Score]) -> Table:
    """Labels word for word: exact ones name the truth and nothing else."""
    table = Table(box=None, pad_edge=False)
    table.add_column("truth")
    for name in ("units", "exact", "hold it", "F1", "abstained"):
        table.add_column(name, justify="right")
    for kind, one in found.items():
        numbers = (one.units, one.exact, one.holds)
        table.add_row(kind, *map(str, numbers), f"{one.f1:.2f}", str(one.abstained))
    return table


def _activation() -> str:
    """The command that puts `dnd` on the path, where it is not there yet."""
    if shutil.which("dnd"):
        return ""
    return f"\n  source {Path(sys.executable).parent / 'activate'}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _truth(truth: Truth) -> str:
    if truth.accepted is None:
        return "(random: no truth)"
    return " or ".join(" ".join(words) for words in truth.accepted) or "(dead: no label)"
