"""Units that answer alike: the correlation of their activations on the probing images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import digest
from dnd_assets.lineage.records import PROBING_SET
from dnd_assets.results.unit_card.card_reader import Cards

SHOWN: Final = 6
"""Similar units named of each unit."""
LEAST: Final = 0.2
"""Correlations below say nothing of two units."""
IMAGES: Final = 2_048
"""Images looked at: those of the lowest hashes, which is a draw that no order changes."""
_AT_ONCE: Final = 512
_ACTIVATIONS: Final = "activations"
Columns = NDArray[np.float32]


@dataclass(frozen=True)
class Similar:
    """A unit that answers like another.

    Attributes:
        place: of the unit among those asked for.
        correlation: Pearson's, of the two units' activations.
    """

    place: int
    correlation: float


def similar_key(cards: Cards, units: Sequence[str]) -> str:
    """Hash of what decides which units are similar; no activation is read."""
    versions = [
        [unit, record.data_version if (record := cards.records[unit].get(_ACTIVATIONS)) else ""]
        for unit in units
    ]
    return digest([versions, code_version(similar_units)])


def similar_units(cards: Cards, units: Sequence[str]) -> list[list[Similar]]:
    """For each unit the units that answer most like it, the nearest first.

    Units of all layers and networks are compared that were shown the same images; those whose
    activations are not stored, or never change, are like none.

    Args:
        cards: what is recorded.
        units: keys, each recorded.
    """
    similar: list[list[Similar]] = [[] for _ in units]
    for places, columns in _standardised(cards, units):
        for place, nearest in zip(places, nearest_columns(columns), strict=True):
            similar[place] = [Similar(places[column], value) for column, value in nearest]
    return similar


def nearest_columns(
    columns: Columns, most: int = SHOWN, least: float = LEAST
) -> list[list[tuple[int, float]]]:
    """The columns that correlate most with each column, the nearest first, ties by place.

    Args:
        columns: float32 (images, units), each of mean 0 and length 1; zero where it never changes.
        most: how many of each column.
        least: the smallest correlation that counts.
    """
    nearest = []
    for start in range(0, columns.shape[1], _AT_ONCE):
        part = columns[:, start : start + _AT_ONCE]
        correlations = np.round(part.T @ columns, 3)  # so that ties do not hang on the last bits
        for row, values in enumerate(correlations):
            values[start + row] = -np.inf
            best = np.argsort(-values, kind="stable")[:most]
            nearest.append(
                [
                    (int(column), round(float(values[column]), 3))
                    for column in best
                    if values[column] >= least
                ]
            )
    return nearest


def _standardised(cards: Cards, units: Sequence[str]) -> list[tuple[list[int], Columns]]:
    """Places of units and their standardised activations, by the probing set they were shown."""
    groups: dict[str, tuple[list[int], list[Columns]]] = {}
    for (version, _), members in _by_layer(cards, units).items():
        layer = cards.activations(members[0][1])
        if layer is None:
            continue
        images, values = layer
        rows = np.argsort(images)[:IMAGES]
        stored = [(place, neuron) for place, _, neuron in members if neuron < values.shape[1]]
        places, columns = groups.setdefault(version, ([], []))
        places += [place for place, _ in stored]
        neurons = np.array([neuron for _, neuron in stored], dtype=np.int64)
        columns.append(_unit_length(values[np.ix_(rows, neurons)]))
    return [(places, np.concatenate(parts, axis=1)) for places, parts in groups.values()]


def _by_layer(
    cards: Cards, units: Sequence[str]
) -> dict[tuple[str, str], list[tuple[int, Any, int]]]:
    """(place, product of activations, neuron) of units by probing set and layer."""
    by_key: dict[str, list[tuple[int, int]]] = {}  # two units may rest on one product
    for place, unit in enumerate(units):
        record = cards.records[unit].get(_ACTIVATIONS)
        if record is not None:
            by_key.setdefault(record.key, []).append((place, record.neuron))
    by_layer: dict[tuple[str, str], list[tuple[int, Any, int]]] = {}
    keys = list(by_key)
    for start in range(0, len(keys), _AT_ONCE):
        products = cards.lineage.products(keys[start : start + _AT_ONCE])
        for key, product in products.items():
            preimage = product.preimage
            version = str(preimage["inputs"].get(PROBING_SET, ""))
            layer = str(preimage["weights"].get("target", ""))
            members = by_layer.setdefault((version, layer), [])
            members += [(place, product, neuron) for place, neuron in by_key[key]]
    return {
        layer: sorted(units_of_layer, key=lambda member: member[0])
        for layer, units_of_layer in by_layer.items()
    }


def _unit_length(values: Columns) -> Columns:
    """Columns with mean 0 and length 1; those that hold NaN or never change are 0."""
    columns = values.astype(np.float64)
    columns[:, ~np.isfinite(columns).all(axis=0)] = 0.0
    columns -= columns.mean(axis=0)
    length = np.sqrt((columns**2).sum(axis=0))
    scale = np.where(length > 1e-6 * np.abs(values).max(initial=1e-30), length, np.inf)
    return (columns / scale).astype(np.float32)
