"""How rows of a table come of one product, from where its columns stand in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dnd_assets.lineage.rows import Row
from dnd_assets.results.tables.columns import Column, NewestProduct, Table

_Around = tuple[Any, ...]
"""An entry with what it lies in, the innermost first."""


def product_rows(table: Table, record: NewestProduct) -> Iterator[Row]:
    """Rows of one product, in the order of its lists."""
    outcome = record.product.outcome
    known = {
        "unit": record.unit or None, "asset": record.asset, "model": record.model,
        "layer": record.layer, "neuron": record.neuron, "run": record.run,
        "recorded_at": record.recorded_at, "status": outcome.status, "reason": outcome.reason,
    }  # fmt: skip
    for position, around in _entries((record.product.payload,), table.entries):
        told = {**known, "position": position}
        yield {column.name: _value(column, told, around) for column in table.columns}


def _entries(around: _Around, lists: Sequence[str]) -> Iterator[tuple[int, _Around]]:
    """Entries of lists in lists, each with its number in its list from 1."""
    if not lists:
        yield 1, around
        return
    for position, entry in enumerate(around[0].get(lists[0], ()), 1):
        if lists[1:]:
            yield from _entries((entry, *around), lists[1:])
        else:
            yield position, (entry, *around)


def _value(column: Column, known: Row, around: _Around) -> object:
    if column.made is not None:
        return column.made(around[0])
    path = column.name if column.path == "" else column.path
    assert path is not None, f"nothing says where {column.name} stands"
    if path.startswith("@"):
        return known[path[1:]]
    if path == ".":
        return around[0]
    found, keys = (around[1], path[2:]) if path.startswith("^.") else (around[0], path)
    for key in keys.split("."):
        found = None if found is None else found.get(key)
    return found
