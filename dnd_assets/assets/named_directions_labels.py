"""Labels of directions in an image-text space: the texts that point the same way, no pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnd_assets.engine.cache.shared_results import layer_provider, text_embeddings
from dnd_assets.engine.cache.vectors import Matrix
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.errors import StudyError
from dnd_assets.files.concept_sets import ConceptSet, prompts
from dnd_assets.lineage.records import Outcome
from dnd_assets.methods import nearest_texts
from dnd_assets.study.method_settings import NamedDirections
from dnd_assets.study.study import needed
from dnd_assets.study.study_concepts import named_concepts
from dnd_assets.study.text_vectors import text_vectors, vectors_hash
from dnd_assets.units import Unit, by_layer


class NamedDirectionsLabels(Stage):
    """The concepts whose text vectors have the largest cosine with a unit's direction.

    For layers that are an image-text encoder's joint space: a direction is a row of
    [models.layers.directions], the decoder's vector of a latent, or the axis of a neuron. No
    picture is looked at, so that a label says which way a direction points, and not what is there.
    """

    name = "named_directions_labels"
    upstream = ()
    group = "baselines"
    kinds = frozenset({"pytorch"})
    uses = ("targets", "clip", "compute")
    by_neuron = True

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """The concepts, their vectors where they come from a file, and how many labels are kept."""
        chosen = _setting(context)
        found = {"concepts": _concepts(context).hash, "top": chosen.top}
        if chosen.vectors is None:
            return {**found, "prompt": chosen.prompt}
        held = vectors_hash(context.study, chosen.vectors)
        return {**found, "vectors": held, "columns": chosen.columns}

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer with what is attached to it, and the encoder unless vectors are given."""
        found = {"target": layer_provider(context, unit)}
        if _setting(context).vectors is None:
            found["clip"] = context.lineage.provider(context.clip.fingerprint())
        return found

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `score` (a cosine) and `labels` [{label, score}], best first."""
        concepts = _concepts(context)
        names, texts = concepts.concepts, _texts(context, concepts)
        lookup = {one.unit: one for one in work}
        for (model, layer), some in by_layer(lookup).items():
            vectors = context.targets.unit_vectors(model, layer)
            if vectors.shape[1] != texts.shape[1]:
                raise StudyError(
                    f"directions of layer {layer!r} of {model!r} have {vectors.shape[1]:,} numbers "
                    f"and vectors of texts {texts.shape[1]:,}: it is no layer of that space. Give "
                    "`vectors` of the encoder whose joint space the layer is."
                )
            found = nearest_texts.cosines(vectors[[unit.neuron for unit in some]], texts)
            for unit, scores in zip(some, found, strict=True):
                yield lookup[unit], _outcome(scores, names, _setting(context).top)


def _setting(context: StudyContext) -> NamedDirections:
    example = "concepts = 'words.txt'"
    return needed(context.study.named_directions, "named_directions", context.study, example)


def _concepts(context: StudyContext) -> ConceptSet:
    return named_concepts(context.study, _setting(context))


def _texts(context: StudyContext, concepts: ConceptSet) -> Matrix:
    """Vectors of the concepts, float32 (concepts, width)."""
    chosen = _setting(context)
    if chosen.vectors is None:
        return text_embeddings(context, prompts(concepts.concepts, chosen.prompt))
    return text_vectors(context.study, chosen, concepts)


def _outcome(scores: np.ndarray[Any, Any], names: Sequence[str], top: int) -> Outcome:
    if np.isnan(scores).any():
        return Outcome("dead", {}, "its direction is all zeros")
    kept = [
        {"label": names[place], "score": float(scores[place])}
        for place in nearest_texts.best(scores, top)
    ]
    return Outcome("ok", {**kept[0], "labels": kept})
