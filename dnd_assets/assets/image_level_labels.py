"""Base of the methods that label units by which concepts whole images show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dnd_assets.assets.activations import (
    on_probing_images,
    probing_images,
    probing_passes,
    silent_or_none,
)
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.engine.cache.shared_results import layer_provider
from dnd_assets.engine.cache.vectors import Matrix
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.fingerprint import Json, digest
from dnd_assets.lineage.records import PROBING_SET, Outcome
from dnd_assets.lineage.remarks import set_aside
from dnd_assets.study.image_concepts import ImageConcepts, concept_table, image_concepts
from dnd_assets.units import Unit


@dataclass(frozen=True)
class LabelledImages:
    """Images of known concepts on which a unit's activation is finite.

    Attributes:
        images: their hashes, (N,).
        names: of the concepts, (C,).
        presence: which image shows which concept, (N, C).
    """

    images: Sequence[str]
    names: Sequence[str]
    presence: NDArray[np.bool_]


class ImageLevelLabels(Stage):
    """Labels from activations on probing images, and which concepts these show."""

    upstream = (PROBING_SET,)
    wholes = (ProbingSet(),)
    group = "baselines"
    kinds = frozenset({"numpy"})
    uses = ("targets", "compute")
    by_neuron = True

    def tables(self, context: StudyContext) -> dict[str, object]:
        """The tables of concepts by their content."""
        table: dict[str, Json] = {
            file: list(concepts) for file, concepts in concept_table(context.study).items()
        }
        return {"concepts": digest(table)}

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer of the target network, with its pooling."""
        return {"target": layer_provider(context, unit)}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Probing images that have to go through the networks."""
        passes, _ = probing_passes(context, work)
        return {"forward passes": passes}

    def outcome(self, context: StudyContext, images: LabelledImages, values: Matrix) -> Outcome:
        """The outcome of a unit.

        Args:
            context: the study's context.
            images: images of known concepts.
            values: activations of the unit on them, float32 (N,), finite, not all equal.
        """
        raise NotImplementedError

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes of all units, see `outcome`; images of unknown concepts are left out."""
        probing = probing_images(context, work[0])
        concept_images = image_concepts(concept_table(context.study), _paths(context, probing))
        context.log(
            f"{self.name}: {len(concept_images.images):,} of {len(probing):,} probing images show "
            f"{len(concept_images.names):,} known concepts"
        )
        lookup = {item.unit: item for item in work}
        for layer in on_probing_images(context, list(lookup), probing):
            rows = {name: row for row, name in enumerate(layer.images)}
            for unit in layer.units:
                column = layer.values[:, unit.neuron]
                yield lookup[unit], self._outcome(context, concept_images, rows, np.asarray(column))

    def _outcome(
        self,
        context: StudyContext,
        concept_images: ImageConcepts,
        rows: dict[str, int],
        column: Matrix,
    ) -> Outcome:
        known_rows = [row for row, name in enumerate(concept_images.images) if name in rows]
        values = column[[rows[concept_images.images[row]] for row in known_rows]]
        silent_outcome = silent_or_none(values)
        if silent_outcome is not None:
            return silent_outcome
        finite = np.isfinite(values)
        usable = [
            row for row, is_finite in zip(known_rows, finite.tolist(), strict=True) if is_finite
        ]
        images = [concept_images.images[row] for row in usable]
        labelled = LabelledImages(images, concept_images.names, concept_images.presence[usable])
        outcome = self.outcome(context, labelled, values[finite])
        excluded = sorted({*concept_images.images} - {*images})
        if not excluded:
            return outcome
        remark = set_aside(excluded, len(concept_images.images)).as_json()
        return replace(outcome, notes={**outcome.notes, "remarks": [remark]})


def _paths(context: StudyContext, images: Sequence[str]) -> dict[str, list[str]]:
    """The paths at which each image was seen, by hash."""
    sql = (
        "SELECT hash, list(DISTINCT path ORDER BY path) AS paths FROM images "
        "WHERE hash IN (SELECT unnest(?::VARCHAR[])) GROUP BY hash"
    )
    return {row["hash"]: row["paths"] for row in context.lineage.query(sql, [list(images)])}
