"""Scores: how well each candidate concept explains a unit (DnD, step 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dnd_assets.engine.cache.shared_results import (
    activations,
    embeddings,
    embeddings_to_make,
    layer_provider,
    most_paintings,
    passes_to_make,
)
from dnd_assets.engine.cache.vectors import Matrix, Values
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import Outcome
from dnd_assets.methods.dissection import scoring
from dnd_assets.study.deciding import parameters_of_dissection
from dnd_assets.units import Unit

Table = tuple[dict[str, int], Matrix]
Active = tuple[dict[str, int], Values]


class Scores(Stage):
    """Every scoring function of every candidate, from the unit's activations on its pictures."""

    name = "scores"
    upstream = ("crops", "synthetic_images")
    group = "step_3_selection"
    kinds = frozenset({"pytorch"})
    uses = ("targets", "clip", "compute")
    by_neuron = True

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Beta, t and the chosen function."""
        return parameters_of_dissection(self.name, context.study)

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer of the target network and the image-text encoder."""
        clip = context.lineage.provider(context.known_by(context.clip))
        return {"target": layer_provider(context, unit), "clip": clip}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Synthetic pictures to pass through the networks, and pictures to embed."""
        pictures: set[str] = set()
        needs: dict[str, dict[str, set[str]]] = {}
        for item in work:
            painted = _painted(item)
            pictures.update(_activating(item), painted)
            needs.setdefault(item.unit.model, {}).setdefault(item.unit.layer, set()).update(painted)
        passes = sum(passes_to_make(context, model, layers) for model, layers in needs.items())
        return {"forward passes": passes, "embeddings": embeddings_to_make(context, pictures)}

    def cost_upper_bound(self, context: StudyContext, units: int) -> dict[str, int]:
        """Every synthetic picture through the network and the encoder, and every exemplar."""
        painted = most_paintings(context, units)
        exemplars = units * context.study.dissection.exemplars
        return {"forward passes": painted, "embeddings": painted + exemplars}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `concepts` [{concept, score, each function, activations}], best first."""
        pictures = {item.unit: _pictures(item) for item in work}
        exemplars = {item.unit: _activating(item) for item in work}
        hashes = {name for item in work for name in (*_activating(item), *_painted(item))}
        embedded = embeddings(context, hashes)
        for model in dict.fromkeys(item.unit.model for item in work):
            model_work = [item for item in work if item.unit.model == model]
            active = activations(context, model, _needs(model_work), f"{model}: synthetic images")
            for item in model_work:
                unit = item.unit
                unit_pictures = (pictures[unit], exemplars[unit])
                yield item, scored(context, unit, *unit_pictures, active[unit.layer], embedded)


def _pictures(work: Work) -> dict[str, list[str]]:
    """The accepted pictures of each concept, the first Q of them."""
    return {
        entry["concept"]: [image["image"] for image in entry["images"] if not image["rejected"]]
        for entry in work.inputs["synthetic_images"].payload["concepts"]
    }


def _painted(work: Work) -> set[str]:
    return {name for names in _pictures(work).values() for name in names}


def _needs(work: Sequence[Work]) -> dict[str, set[str]]:
    """The synthetic pictures that each layer has to see."""
    needs: dict[str, set[str]] = {}
    for item in work:
        needs.setdefault(item.unit.layer, set()).update(_painted(item))
    return needs


def _activating(work: Work) -> list[str]:
    return [entry["image"] for entry in work.inputs["crops"].payload["activating"]]


def scored(
    context: StudyContext,
    unit: Unit,
    pictures: Mapping[str, Sequence[str]],
    exemplars: Sequence[str],
    active: Active,
    embedded: Table,
) -> Outcome:
    """The outcome of one unit: every scoring function of every concept, best first.

    Args:
        context: the study's context.
        unit: the unit.
        pictures: hashes of the synthetic pictures of each concept, equally many of each.
        exemplars: hashes of the activating images.
        active: rows of pictures, and activations of the unit's layer, float32 (pictures, neurons).
        embedded: rows of pictures, and their embeddings, float32 (pictures, width).
    """
    setting = context.study.dissection
    column = active[1][:, unit.neuron]
    values = np.stack(
        [column[[active[0][name] for name in picture_names]] for picture_names in pictures.values()]
    )
    if not np.isfinite(values).all():
        return Outcome("not_finite", {}, "NaN or infinite activation on a synthetic image")
    generated = np.stack([_rows(embedded, names) for names in pictures.values()])
    exemplar_vectors = _rows(embedded, exemplars)
    # An image that the encoder fails on says nothing.
    exemplar_vectors = exemplar_vectors[np.isfinite(exemplar_vectors).all(axis=1)]
    if not len(exemplar_vectors) or not np.isfinite(generated).all():
        subject = (
            "a synthetic image"
            if len(exemplar_vectors)
            else f"all {len(exemplars)} activating images"
        )
        return Outcome("not_finite", {}, f"NaN or infinite embedding of {subject}")
    function_scores = _all_functions(
        values, generated, exemplar_vectors, setting.beta, setting.top_images
    )
    entries: list[dict[str, Any]] = [
        {
            "concept": concept,
            "score": function_scores[setting.scoring][index],
            **{name: scores[index] for name, scores in function_scores.items()},
            "activations": [float(value) for value in values[index]],
        }
        for index, concept in enumerate(pictures)
    ]
    entries.sort(key=lambda entry: -entry["score"])  # stable: ties keep the candidates' order
    return Outcome("ok", {"concepts": entries})


def _all_functions(
    values: Matrix, generated: Matrix, exemplar_vectors: Matrix, beta: int, top_images: int
) -> dict[str, list[float]]:
    scores = scoring.all_scores(
        values, generated, exemplar_vectors, beta=beta, top_images=top_images
    )
    return {name: scores[name].tolist() for name in scoring.SCORING}


def _rows(table: Table, names: Sequence[str]) -> Matrix:
    rows, values = table
    return values[[rows[name] for name in names]]
