"""Labels of INVERT: the concept that a unit's activation tells best from all else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from dnd_assets.assets.activations import on_images, passes_over, silent_or_none
from dnd_assets.assets.compositions_labels import labels_of
from dnd_assets.assets.concept_masks import ConceptMasks
from dnd_assets.assets.image_sets import images_of
from dnd_assets.assets.segmentation.map_passes import by_model
from dnd_assets.assets.segmentation.map_readers import SHOWN
from dnd_assets.assets.segmentation.masked_images import masked_images as masked_images_of
from dnd_assets.engine.cache.shared_results import layer_provider
from dnd_assets.engine.cache.vectors import Matrix
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import CONCEPT_MASKS, Outcome
from dnd_assets.lineage.remarks import set_aside
from dnd_assets.methods.segmentation.compositions import PackedMasks, search
from dnd_assets.methods.segmentation.invert import AreaUnderCurve
from dnd_assets.study.mask_sets import segmentation_of
from dnd_assets.study.segmentation_settings import Segmentation
from dnd_assets.units import Unit


class InvertLabels(Stage):
    """INVERT: the concept that a unit's activation tells best from all else (AUC).

    A baseline beside Describe-and-Dissect, from the pooled activations of the images of
    `concept_masks` and which concepts each of them shows: one that has a pixel of it within what
    the network sees. An image without any label of a category is taken not to show its concepts.
    Serves layers without maps too.
    """

    name = "invert_labels"
    upstream = (CONCEPT_MASKS,)
    wholes = (ConceptMasks(),)
    group = "baselines"
    kinds = frozenset({"pytorch"})
    uses = ("targets", "compute")
    by_neuron = True

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Length of formulas, the shares they may hold for, beam and number of labels."""
        setting = segmentation_of(context.study)
        return {**setting.invert.model_dump(), "beam": _beam(setting), "top": setting.top}

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer of the target network, with its pooling."""
        return {"target": layer_provider(context, unit)}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Images that have to go through the networks."""
        passes, _ = passes_over(context, work, _hashes)
        return {"forward passes": passes}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `score`, `labels` and `images`."""
        for model, model_work in by_model(work).items():
            yield from _of_model(context, model, model_work)


def _hashes(context: StudyContext, work: Work) -> list[str]:
    return images_of(context, work.inputs[CONCEPT_MASKS])


def _beam(setting: Segmentation) -> int:
    """Formulas kept; of single concepts as many as are asked for."""
    return setting.beam if setting.invert.length > 1 else setting.top


def _of_model(
    context: StudyContext, model: str, work: Sequence[Work]
) -> Iterator[tuple[Work, Outcome]]:
    images = masked_images_of(context, work[0])
    lookup = {item.unit: item for item in work}
    presence = images.survey(images.views(model)).presence
    concept_rows = np.ascontiguousarray(presence.T)
    packed_all = PackedMasks(images.names, concept_rows)
    index = {name: row for row, name in enumerate(images.hashes)}
    for layer in on_images(context, list(lookup), images.hashes, "masked images"):
        for unit in layer.units:
            column = layer.values[:, unit.neuron]
            silent_outcome = silent_or_none(column)
            usable = np.flatnonzero(np.isfinite(column))
            if silent_outcome is not None:
                yield lookup[unit], silent_outcome
            elif len(usable) == len(index):
                yield lookup[unit], _outcome(context, images.hashes, column, packed_all)
            else:  # images on which the network fails are set aside
                names = [layer.images[row] for row in usable]
                rows = [index[name] for name in names]
                packed = PackedMasks(images.names, np.ascontiguousarray(concept_rows[:, rows]))
                outcome = _outcome(context, names, column[usable], packed)
                excluded = sorted(index.keys() - set(names))
                remark = set_aside(excluded, len(index)).as_json()
                yield lookup[unit], replace(outcome, notes={**outcome.notes, "remarks": [remark]})


def _outcome(
    context: StudyContext, hashes: Sequence[str], values: Matrix, packed: PackedMasks
) -> Outcome:
    """A unit's outcome; `values` is its activations, float32 (images,), finite, not all equal."""
    setting = segmentation_of(context.study)
    shares = setting.invert.chosen("min_share", "max_share")
    objective = AreaUnderCurve(values, packed, **shares)
    explanations = search(objective, beam=_beam(setting), length=setting.invert.length)
    if not explanations:
        reason = "no concept is on a share of the images between {min_share} and {max_share}"
        return Outcome("no_concepts", {}, reason.format(**shares))
    labels = labels_of(explanations, setting.top)
    order = np.argsort(-values, kind="stable")[:SHOWN].tolist()
    best_images = [{"image": hashes[i], "activation": float(values[i])} for i in order]
    return Outcome("ok", {**labels[0], "labels": labels, "images": best_images})
