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
from dnd_assets.methods.lazy import torch
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
        faces: set[str] = set()
        needs: dict[str, dict[str, set[str]]] = {}
        for one in work:
            painted = _painted(one)
            faces.update(_activating(one), painted)
            needs.setdefault(one.unit.model, {}).setdefault(one.unit.layer, set()).update(painted)
        passes = sum(passes_to_make(context, model, layers) for model, layers in needs.items())
        return {"forward passes": passes, "embeddings": embeddings_to_make(context, faces)}

    def cost_upper_bound(self, context: StudyContext, units: int) -> dict[str, int]:
        """Every synthetic picture through the network and the encoder, and every exemplar."""
        painted = most_paintings(context, units)
        faces = units * context.study.dissection.exemplars
        return {"forward passes": painted, "embeddings": painted + faces}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `concepts` [{concept, score, each function, activations}], best first."""
        pictures = {one.unit: _pictures(one) for one in work}
        exemplars = {one.unit: _activating(one) for one in work}
        faces = {name for one in work for name in (*_activating(one), *_painted(one))}
        embedded = embeddings(context, faces)
        for model in dict.fromkeys(one.unit.model for one in work):
            mine = [one for one in work if one.unit.model == model]
            active = activations(context, model, _needs(mine), f"{model}: synthetic images")
            for one in mine:
                unit = one.unit
                found = (pictures[unit], exemplars[unit])
                yield one, scored(context, unit, *found, active[unit.layer], embedded)


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
    for one in work:
        needs.setdefault(one.unit.layer, set()).update(_painted(one))
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
    values = np.stack([column[[active[0][name] for name in p]] for p in pictures.values()])
    if not np.isfinite(values).all():
        return Outcome("not_finite", {}, "NaN or infinite activation on a synthetic image")
    generated = np.stack([_rows(embedded, names) for names in pictures.values()])
    faces = _rows(embedded, exemplars)
    faces = faces[np.isfinite(faces).all(axis=1)]  # an image that the encoder fails on says nothing
    if not len(faces) or not np.isfinite(generated).all():
        what = "a synthetic image" if len(faces) else f"all {len(exemplars)} activating images"
        return Outcome("not_finite", {}, f"NaN or infinite embedding of {what}")
    found = _all_functions(values, generated, faces, setting.beta, setting.top_images)
    entries: list[dict[str, Any]] = [
        {
            "concept": concept,
            "score": found[setting.scoring][index],
            **{name: scores[index] for name, scores in found.items()},
            "activations": [float(value) for value in values[index]],
        }
        for index, concept in enumerate(pictures)
    ]
    entries.sort(key=lambda entry: -entry["score"])  # stable: ties keep the candidates' order
    return Outcome("ok", {"concepts": entries})


def _all_functions(
    values: Matrix, generated: Matrix, faces: Matrix, beta: int, top_images: int
) -> dict[str, list[float]]:
    tensors = [torch.from_numpy(x).to(torch.float64) for x in (values, generated, faces)]
    return {
        name: function(*tensors, beta=beta, top_images=top_images).tolist()
        for name, function in scoring.SCORING.items()
    }


def _rows(table: Table, names: Sequence[str]) -> Matrix:
    rows, values = table
    return values[[rows[name] for name in names]]
