"""Clarity, polysemanticity and redundancy for people."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dnd_assets.analysis.clarity import Clarity, UnitClarity

_NAMES = ("clarity", "polysemanticity", "redundancy")


def show(clarity: Clarity, top: int, out: Console) -> None:
    """Print means by layer, then the clearest and the least clear units."""
    table = Table(box=None, pad_edge=False)
    table.add_column("layer")
    for name in ("units", *_NAMES):
        table.add_column(name, justify="right")
    for layer in clarity.layers:
        values = [_three_digits(getattr(layer, name)) for name in _NAMES]
        table.add_row(layer.layer, f"{layer.units:,}", *values)
    out.print(table)
    ranked = [unit for unit in clarity.units if unit.clarity is not None]
    ranked.sort(key=lambda unit: -(unit.clarity or 0.0))  # stable: ties keep the order of the units
    if top and ranked:
        _units("clearest units", ranked[:top], out)
        _units("least clear units", ranked[::-1][:top], out)
    out.print(f"cosines in the space of {clarity.encoder}", markup=False)


def _units(title: str, units: list[UnitClarity], out: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column(title, overflow="fold")
    table.add_column("label")
    for name in ("clarity", "polysem.", "redund."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("most similar unit", overflow="fold")
    for unit in units:
        values = [_three_digits(getattr(unit, name)) for name in _NAMES]
        table.add_row(unit.unit, escape(unit.label or "-"), *values, unit.nearest or "-")
    out.print(table)


def _three_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
