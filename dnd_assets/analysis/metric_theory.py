"""What wrong labels do to each metric in theory, as people and programs read it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from dnd_assets.methods.metrics.theoretical_sanity import SURELY, Move, TheoreticalCheck


def as_rows(checks: Sequence[TheoreticalCheck]) -> list[dict[str, object]]:
    """A row for each metric and share of active images, as plain values."""
    return [
        {
            "metric": one.metric,
            "active": one.frequency,
            "missing labels": one.missing.mean,
            "missing fell": one.missing.falls,
            "extra labels": one.extra.mean,
            "extra fell": one.extra.falls,
            "passes": one.passes,
        }
        for one in checks
    ]


def theory_table(checks: Sequence[TheoreticalCheck]) -> Table:
    """A line for each metric: change by share of active images, and whether it passes at all."""
    shares = list(dict.fromkeys(one.frequency for one in checks))
    table = Table(
        box=None,
        pad_edge=False,
        title="change of a perfect label's score, as a share of its range: half of the labels "
        "missing / as many added",
        title_justify="left",
        caption="columns: share of images on which the unit is active; * falls by more than 0.001 "
        "of the range for fewer than nine of ten units",
        caption_justify="left",
    )
    table.add_column("metric", no_wrap=True)
    for share in shares:
        table.add_column(f"{share:g}", justify="right", no_wrap=True)
    table.add_column("")
    for name in dict.fromkeys(one.metric for one in checks):
        mine = {one.frequency: one for one in checks if one.metric == name}
        cells = [f"{_cell(mine[s].missing)} / {_cell(mine[s].extra)}" for s in shares]
        passed = sum(one.passes for one in mine.values())
        verdict = "passes" if passed == len(shares) else f"fails {len(shares) - passed}"
        table.add_row(name, *cells, verdict, style="" if passed == len(shares) else "red")
    return table


def _cell(move: Move) -> str:
    return f"{move.mean + 0.0:.4f}{' ' if move.falls >= SURELY else '*'}"
