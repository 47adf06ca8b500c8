"""How rows of a table come of one product, from where its columns stand in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dnd_assets.lineage.rows import Row
from dnd_assets.results.tables.columns import Column, NewestProduct, Table

_Entries = tuple[Any, ...]
"""An entry with what it lies in, the innermost first."""


def product_rows(table: Table, record: NewestProduct) -> Iterator[Row]:
    """Rows of one product, in the order of its lists."""
    outcome = record.product.outcome
    of_record = {
        "unit": record.unit or None, "asset": record.asset, "model": record.model,
        "layer": record.layer, "neuron": record.neuron, "run": record.run,
        "recorded_at": record.recorded_at, "status": outcome.status, "reason": outcome.reason,
    }  # fmt: skip
    for position, entries in _entries((record.product.payload,), table.entries):
        fields = {**of_record, "position": position}
        yield {column.name: _value(column, fields, entries) for column in table.columns}


def _entries(entries: _Entries, lists: Sequence[str]) -> Iterator[tuple[int, _Entries]]:
    """Each entry of the innermost of `lists`, with its position in its list, from 1.

    An entry comes as a tuple of itself and of the entries that it lies in, outwards.
    """
    if not lists:
        yield 1, entries
        return
    for position, entry in enumerate(entries[0].get(lists[0], ()), 1):
        if lists[1:]:
            yield from _entries((entry, *entries), lists[1:])
        else:
            yield position, (entry, *entries)


def _value(column: Column, fields: Row, entries: _Entries) -> object:
    if column.made is not None:
        return column.made(entries[0])
    path = column.name if column.path == "" else column.path
    assert path is not None, f"nothing says where {column.name} stands"
    if path.startswith("@"):
        return fields[path[1:]]
    if path == ".":
        return entries[0]
    value, keys = (entries[1], path[2:]) if path.startswith("^.") else (entries[0], path)
    for key in keys.split("."):
        value = None if value is None else value.get(key)
    return value
