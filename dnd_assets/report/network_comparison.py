"""Networks side by side: concepts that their units have in common, and those of one alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Final

import numpy as np

from dnd_assets.report.entries import Entry
from dnd_assets.report.overview import Embedded

_LISTED: Final = 200
"""Concepts of a table at most."""

Units = Mapping[str, Sequence[Entry]]
"""Units of each network that share a label, by the network's name."""


@dataclass(frozen=True)
class NetworkSummary:
    """What the labels of a network's units come to.

    Attributes:
        model: the network's name in the study.
        layers: how many of its layers are in the atlas.
        units: how many of its units are.
        labelled: how many of these have a label.
        concepts: how many different labels they have.
        confidence: mean of the labels' confidence, from 0 to 1; None where no label has one.
    """

    model: str
    layers: int
    units: int
    labelled: int
    concepts: int
    confidence: float | None


@dataclass(frozen=True)
class NetworkPair:
    """Two networks.

    Attributes:
        one: the first one's name.
        other: the second one's name.
        shared: how many labels both have, letter for letter but for case.
        share: Jaccard index of their sets of labels, from 0 to 1; None where neither has a label.
        likeness: mean cosine of each label with the nearest one of the other network, both ways;
            None where embeddings of the labels are not stored.
    """

    one: str
    other: str
    shared: int
    share: float | None
    likeness: float | None


@dataclass(frozen=True)
class Networks:
    """All that the page says.

    Attributes:
        summaries: the networks, in the study's order.
        pairs: each two of them.
        shared: labels that several networks have, those of most networks and units first.
        single: labels that one network alone has, by its name, those of most units first.
        left_out: how many labels the tables leave out.
    """

    summaries: tuple[NetworkSummary, ...]
    pairs: tuple[NetworkPair, ...]
    shared: tuple[tuple[str, Units], ...]
    single: Mapping[str, tuple[tuple[str, Sequence[Entry]], ...]]
    left_out: int


def compare_networks(entries: Sequence[Entry], embedded: Embedded) -> Networks | None:
    """Compare the networks of a study by the labels of their units.

    Args:
        entries: all units of the atlas.
        embedded: unit-length embeddings of labels, float32 (width,), by text; may lack some.

    Returns:
        None where the units are of one network.
    """
    models = list(dict.fromkeys(entry.model for entry in entries))
    if len(models) < 2:
        return None
    by_label = _by_label(entries)
    vectors = {text.casefold(): vector for text, vector in embedded.items()}
    several = [(label, units) for label, units in by_label.items() if len(units) > 1]
    several.sort(key=lambda item: (-len(item[1]), -_count(item[1]), item[0]))
    single = {model: _only(by_label, model) for model in models}
    left_out = max(len(several) - _LISTED, 0)
    left_out += sum(max(len(labels) - _LISTED, 0) for labels in single.values())
    return Networks(
        tuple(_summary(model, entries) for model in models),
        tuple(_pair(one, other, by_label, vectors) for one, other in combinations(models, 2)),
        tuple(several[:_LISTED]),
        {model: labels[:_LISTED] for model, labels in single.items()},
        left_out,
    )


def _by_label(entries: Sequence[Entry]) -> dict[str, dict[str, list[Entry]]]:
    """Units by label, in lower case, and network."""
    by_label: dict[str, dict[str, list[Entry]]] = {}
    for entry in entries:
        if entry.main.label:
            units = by_label.setdefault(entry.main.label.casefold(), {})
            units.setdefault(entry.model, []).append(entry)
    return by_label


def _count(units: Units) -> int:
    return sum(len(entries) for entries in units.values())


def _only(by_label: Mapping[str, Units], model: str) -> tuple[tuple[str, Sequence[Entry]], ...]:
    """Labels that no other network has, with the units."""
    labels = [(label, units[model]) for label, units in by_label.items() if set(units) == {model}]
    return tuple(sorted(labels, key=lambda item: (-len(item[1]), item[0])))


def _summary(model: str, entries: Sequence[Entry]) -> NetworkSummary:
    units = [entry for entry in entries if entry.model == model]
    labelled = [entry for entry in units if entry.main.label]
    confidences = [entry.confidence for entry in labelled if entry.confidence is not None]
    return NetworkSummary(
        model,
        len({entry.layer for entry in units}),
        len(units),
        len(labelled),
        len({str(entry.main.label).casefold() for entry in labelled}),
        fmean(confidences) if confidences else None,
    )


def _pair(one: str, other: str, by_label: Mapping[str, Units], vectors: Embedded) -> NetworkPair:
    first = [label for label, units in by_label.items() if one in units]
    second = [label for label, units in by_label.items() if other in units]
    shared = len(set(first) & set(second))
    every = len(set(first) | set(second))
    return NetworkPair(
        one, other, shared, shared / every if every else None, _likeness(first, second, vectors)
    )


def _likeness(first: Sequence[str], second: Sequence[str], vectors: Embedded) -> float | None:
    """Mean cosine of each label with the nearest one of the other list, both ways."""
    if not first or not second or not vectors.keys() >= {*first, *second}:
        return None
    rows = np.stack([vectors[label] for label in first]).astype(np.float64)
    columns = np.stack([vectors[label] for label in second]).astype(np.float64)
    cosines = rows @ columns.T
    return float((cosines.max(axis=1).mean() + cosines.max(axis=0).mean()) / 2)
