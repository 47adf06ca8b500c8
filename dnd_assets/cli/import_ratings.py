"""The command that reads what people said on the pages of an atlas."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dnd_assets.cli.app import StudyOption, TableOrJson, app, err, out, show_what_stands
from dnd_assets.files.atomic import write_atomic
from dnd_assets.home import results_folder
from dnd_assets.study.study import load_study

if TYPE_CHECKING:
    from dnd_assets.analysis.atlas_ratings import Rating, Tally
    from resources.lineage_db.database import Lineage


@app.command(name="import-ratings")
def import_ratings(
    files: Annotated[
        list[Path], typer.Argument(help="Files that the atlas exported, one of each person.")
    ],
    study: StudyOption = None,
    labels: Annotated[
        Path | None, typer.Option(help="Write the corrected labels to this CSV.")
    ] = None,
    form: TableOrJson = "table",
) -> None:
    """Count what people said of labels in the atlas, and take over their corrections.

    Example: dnd import-ratings ratings-mine.json --labels corrected.csv
    """
    chosen = load_study(study)
    from dnd_assets.analysis.atlas_ratings import check_units, corrected, outdated, tally
    from dnd_assets.analysis.atlas_ratings import read_atlas_ratings as read
    from resources.lineage_db.reader import LineageReader

    ratings = [rating for file in files for rating in read(file, chosen.name)]
    lineage = LineageReader(root=str(results_folder()))
    with lineage.connect():
        show_what_stands(lineage, chosen)
        present = _present(lineage, chosen.name)
    check_units(ratings, (unit for unit, _ in present))
    outdated_ratings = outdated(ratings, present)
    tallies = tally(ratings)
    if form == "json":
        rows = [{**asdict(label_tally), "share": label_tally.share} for label_tally in tallies]
        sys.stdout.write(
            json.dumps({"ratings": rows, "outdated": len(outdated_ratings)}, indent=1) + "\n"
        )
    else:
        _print(tallies, outdated_ratings)
    if labels is not None:
        text = corrected(ratings)
        write_atomic(labels, text.encode())
        console = out if form == "table" else err
        console.print(
            f"{text.count(chr(10)) - 1:,} labels in {labels}. To compare them as a method, add to "
            f'the study:\n\n[imported_labels]\npeople = "{labels}"\n',
            markup=False,
            soft_wrap=True,
        )


def _present(lineage: Lineage, study: str) -> dict[tuple[str, str], str]:
    """The label of each unit and asset, as pages show it; empty for none."""
    from dnd_assets.report.names import visible

    rows = lineage.query("SELECT unit, asset, label FROM method_labels WHERE study = ?", [study])
    return {(row["unit"], row["asset"]): visible(row["label"] or "") for row in rows}


def _print(tallies: Sequence[Tally], outdated_ratings: Sequence[Rating]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("layer", "method"):
        table.add_column(name)
    for name in ("right", "wrong", "share right", "95 % interval", "better label"):
        table.add_column(name, justify="right")
    for tally in tallies:
        share = "-" if tally.share is None else f"{tally.share:.0%}"
        span = (
            "-"
            if tally.low is None or tally.high is None
            else f"{tally.low:.0%} to {tally.high:.0%}"
        )
        figures = (
            f"{tally.up:,}",
            f"{tally.down:,}",
            share,
            span,
            f"{tally.better:,}",
        )
        table.add_row(tally.layer, tally.method, *figures)
    out.print(table)
    if outdated_ratings:
        out.print(
            f"{len(outdated_ratings):,} of these judge a label that has changed since, such as "
            f"{outdated_ratings[0].label!r} of {outdated_ratings[0].unit}.",
            markup=False,
        )
