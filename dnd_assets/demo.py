"""The end of the demo: labels beside the truth, and what to do next."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dnd_assets.known_answers.target import Truth, is_correct, strict, truths
from dnd_assets.results import labels
from dnd_assets.study import Study
from resources.lineage_db import Lineage

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
"""Share of right labels that the demo must reach, by kind of truth."""


def below_bar(shares: Mapping[str, tuple[int, int]]) -> list[str]:
    """The kinds of truth whose share of right labels is too small, of those that were labelled."""
    return [
        kind
        for kind, bar in BARS.items()
        if kind in shares and shares[kind][0] < bar * shares[kind][1]
    ]


def accuracy(rows: list[dict[Hashable, Any]]) -> dict[str, tuple[int, int]]:
    """Right labels and units by kind of truth; random units, which have no truth, are left out."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    known = truths()
    for row in rows:
        truth = known[str(row["layer"]), int(str(row["neuron"]))]
        if truth.accepted is None:
            continue
        total[truth.kind] += 1
        right[truth.kind] += is_correct(_text(row["label"]), truth)
    return {kind: (right[kind], total[kind]) for kind in total}


def strict_table(rows: list[dict[Hashable, Any]]) -> Table:
    """Labels held against the truth word for word, by kind of truth."""
    table = Table(box=None, pad_edge=False, title="word for word", title_justify="left")
    table.add_column("kind")
    for name in ("exact", "precision", "recall", "F1", "abstained"):
        table.add_column(name, justify="right")
    known = truths()
    said: dict[str, list[tuple[str | None, Truth]]] = {}
    for row in rows:
        truth = known[str(row["layer"]), int(str(row["neuron"]))]
        said.setdefault(truth.kind, []).append((_text(row["label"]), truth))
    for kind, pairs in said.items():
        judged = [one for pair in pairs if (one := strict(*pair)) is not None]
        means = [
            f"{sum(getattr(one, name) for one in judged) / len(judged):.3f}" if judged else "-"
            for name in ("precision", "recall", "f1")
        ]
        exact = f"{sum(one.exact for one in judged)}/{len(judged)}" if judged else "-"
        table.add_row(kind, exact, *means, f"{sum(not label for label, _ in pairs)}/{len(pairs)}")
    return table


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
        mark = " " if truth.accepted is None else "ok" if is_correct(label, truth) else "WRONG"
        table.add_row(str(row["unit"]), label or f"({row['status']})", _truth(truth), mark)
    out.print(table)
    shares = accuracy(rows)
    for kind, (right, total) in shares.items():
        out.print(f"{kind:8} {right}/{total} right")
    out.print(strict_table(rows))
    low = below_bar(shares)
    if low:
        out.print(f"Below the bar: {', '.join(low)}", style="red")
    out.print(_NEXT.format(home=home, activate=_activation()), markup=False)
    return not low


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
