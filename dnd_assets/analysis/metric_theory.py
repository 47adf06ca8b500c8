"""What wrong labels do to each metric in theory, as people and programs read it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from dnd_assets.methods.metrics.theoretical_sanity import SURELY, Move, TheoreticalCheck


def as_rows(checks: Sequence[TheoreticalCheck]) -> list[dict[str, object]]:
    """A row for each metric and share of active images, as plain values."""
    return [
        {
            "metric": check.metric,
            "active": check.frequency,
            "missing labels": check.missing.mean,
            "missing fell": check.missing.falls,
            "extra labels": check.extra.mean,
            "extra fell": check.extra.falls,
            "passes": check.passes,
        }
        for check in checks
    ]


def theory_table(checks: Sequence[TheoreticalCheck]) -> Table:
    """A line for each metric: change by share of active images, and whether it passes at all."""
    shares = list(dict.fromkeys(check.frequency for check in checks))
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
    for name in dict.fromkeys(check.metric for check in checks):
        by_share = {check.frequency: check for check in checks if check.metric == name}
        cells = [f"{_cell(by_share[s].missing)} / {_cell(by_share[s].extra)}" for s in shares]
        passes = sum(check.passes for check in by_share.values())
        verdict = "passes" if passes == len(shares) else f"fails {len(shares) - passes}"
        table.add_row(name, *cells, verdict, style="" if passes == len(shares) else "red")
    return table


def _cell(move: Move) -> str:
    return f"{move.mean + 0.0:.4f}{' ' if move.falls >= SURELY else '*'}"
