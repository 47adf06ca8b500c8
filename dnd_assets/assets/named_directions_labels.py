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
        setting = _setting(context)
        settings = {"concepts": _concepts(context).hash, "top": setting.top}
        if setting.vectors is None:
            return {**settings, "prompt": setting.prompt}
        file_hash = vectors_hash(context.study, setting.vectors)
        return {**settings, "vectors": file_hash, "columns": setting.columns}

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer with what is attached to it, and the encoder unless vectors are given."""
        providers = {"target": layer_provider(context, unit)}
        if _setting(context).vectors is None:
            providers["clip"] = context.lineage.provider(context.clip.fingerprint())
        return providers

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `score` (a cosine) and `labels` [{label, score}], best first."""
        concepts = _concepts(context)
        names, texts = concepts.concepts, _texts(context, concepts)
        lookup = {item.unit: item for item in work}
        for (model, layer), layer_units in by_layer(lookup).items():
            vectors = context.targets.unit_vectors(model, layer)
            if vectors.shape[1] != texts.shape[1]:
                raise StudyError(
                    f"directions of layer {layer!r} of {model!r} have {vectors.shape[1]:,} numbers "
                    f"and vectors of texts {texts.shape[1]:,}: it is no layer of that space. Give "
                    "`vectors` of the encoder whose joint space the layer is."
                )
            cosines = nearest_texts.cosines(vectors[[unit.neuron for unit in layer_units]], texts)
            for unit, scores in zip(layer_units, cosines, strict=True):
                yield lookup[unit], _outcome(scores, names, _setting(context).top)


def _setting(context: StudyContext) -> NamedDirections:
    example = "concepts = 'words.txt'"
    return needed(context.study.named_directions, "named_directions", context.study, example)


def _concepts(context: StudyContext) -> ConceptSet:
    return named_concepts(context.study, _setting(context))


def _texts(context: StudyContext, concepts: ConceptSet) -> Matrix:
    """Vectors of the concepts, float32 (concepts, width)."""
    setting = _setting(context)
    if setting.vectors is None:
        return text_embeddings(context, prompts(concepts.concepts, setting.prompt))
    return text_vectors(context.study, setting, concepts)


def _outcome(scores: np.ndarray[Any, Any], names: Sequence[str], top: int) -> Outcome:
    if np.isnan(scores).any():
        return Outcome("dead", {}, "its direction is all zeros")
    labels = [
        {"label": names[index], "score": float(scores[index])}
        for index in nearest_texts.best(scores, top)
    ]
    return Outcome("ok", {**labels[0], "labels": labels})
