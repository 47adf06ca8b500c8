"""`dnd clarity`: how clear, polysemantic and redundant units are, and layers as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dnd_assets.analysis.unit_vectors import face_vectors, faces_of, labels_of, recorded_units
from dnd_assets.engine.cache.vectors import Matrix
from dnd_assets.engine.context import StudyContext
from dnd_assets.methods import semantic_lens
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.units import Unit, by_layer


@dataclass(frozen=True)
class UnitClarity:
    """One unit (Dreyer et al. 2025; see `methods.semantic_lens`).

    Attributes:
        unit: its key.
        label: its label; None where it has none.
        images: pictures that it is judged by.
        clarity: mean cosine of their pairs; None for a single picture.
        polysemanticity: 1 - cosine of the means of two groups of them.
        redundancy: largest cosine of its mean picture with that of another unit of the layer.
        nearest: that unit; None for the only one.
    """

    unit: str
    label: str | None
    images: int
    clarity: float | None
    polysemanticity: float | None
    redundancy: float | None
    nearest: str | None


@dataclass(frozen=True)
class LayerClarity:
    """Means over the units of a layer that have exemplars; None where no unit has a value."""

    layer: str
    units: int
    clarity: float | None
    polysemanticity: float | None
    redundancy: float | None


@dataclass(frozen=True)
class Clarity:
    """What `measure` returns: layers in the order of the study's units, and all their units."""

    encoder: str
    layers: tuple[LayerClarity, ...]
    units: tuple[UnitClarity, ...]

    def as_json(self) -> dict[str, object]:
        """All attributes as plain values."""
        return {
            "encoder": self.encoder,
            "layers": [asdict(layer) for layer in self.layers],
            "units": [asdict(unit) for unit in self.units],
        }


def measure(context: StudyContext, units: Sequence[str] = ()) -> Clarity:
    """Clarity, polysemanticity and redundancy of units, from embeddings of their exemplars.

    The exemplars are the unit's activating set, or its most activating images where it has none.
    Embeddings that scoring has made are read back; others are made and kept. Redundancy is among
    the chosen units of a layer.

    Args:
        context: the study's context.
        units: keys, prefixes or ranges; none for all.

    Raises:
        NotFoundError: when a unit does not exist.
        StudyError: when embeddings are missing and the encoder is not on this machine.
        UpstreamError: when no exemplars were recorded.
    """
    source = TableSource(context.lineage, context.study.name)
    faces = faces_of(source, recorded_units(source).select(units))
    vectors = face_vectors(context, faces)
    labels = {
        unit_label.unit: unit_label.label
        for unit_label in labels_of(source)
        if unit_label.asset == "labels" and unit_label.best
    }
    clarities: list[UnitClarity] = []
    layers = []
    for layer_units in by_layer(vectors).values():
        layer_clarities = _layer(layer_units, vectors, labels)
        clarities += layer_clarities
        name = layer_units[0].key.rpartition("/")[0]
        names = ("clarity", "polysemanticity", "redundancy")
        layers.append(
            LayerClarity(
                name, len(layer_clarities), *(_mean(layer_clarities, figure) for figure in names)
            )
        )
    return Clarity(context.clip.title(), tuple(layers), tuple(clarities))


def _layer(
    units: Sequence[Unit], vectors: Mapping[Unit, Matrix], labels: Mapping[Unit, str]
) -> list[UnitClarity]:
    means = np.stack([vectors[unit].mean(axis=0, dtype=np.float64) for unit in units])
    values, nearest = semantic_lens.redundancy(means)
    return [
        UnitClarity(
            unit.key,
            labels.get(unit),
            len(vectors[unit]),
            _number(semantic_lens.clarity(vectors[unit])),
            _number(semantic_lens.polysemanticity(vectors[unit])),
            _number(float(values[row])),
            units[nearest[row]].key if nearest[row] >= 0 else None,
        )
        for row, unit in enumerate(units)
    ]


def _number(value: float) -> float | None:
    """A value; None for NaN."""
    return value if value == value else None


def _mean(units: Sequence[UnitClarity], figure: str) -> float | None:
    values = [getattr(unit, figure) for unit in units if getattr(unit, figure) is not None]
    return float(np.mean(values)) if values else None
