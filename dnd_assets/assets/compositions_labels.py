"""Labels of Compositional Explanations: the formula of concepts that a unit's maps fit best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dnd_assets.assets.segmentation.map_labels import MapLabels, pixel_outcome, silent_maps
from dnd_assets.assets.segmentation.map_passes import Kept, Passes, passes_of
from dnd_assets.assets.segmentation.map_readers import pixels_of
from dnd_assets.assets.segmentation.masked_images import MaskedImages
from dnd_assets.assets.segmentation.masked_images import masked_images as images_of
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Work
from dnd_assets.lineage.records import Outcome
from dnd_assets.methods.segmentation.compositions import (
    Counts,
    Explanation,
    Formula,
    PackedMasks,
    search,
)
from dnd_assets.methods.segmentation.exact_search import exact_search
from dnd_assets.methods.segmentation.regions import RegionOverlap, Regions
from dnd_assets.study.mask_sets import segmentation_of
from dnd_assets.units import Unit


class CompositionsLabels(MapLabels):
    """Compositional Explanations: the formula of concepts that a unit's maps fit best (IoU).

    A baseline beside Describe-and-Dissect, over the images of `concept_masks`: beam search over
    AND, OR and AND NOT. Counted are all pixels of all images; of an image without any label of a
    category its concepts are taken to be absent. A unit whose best IoU is not above the cutoff is
    marked as not interpretable.
    """

    name = "compositions_labels"

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Share of positions above the threshold, cutoff, beam, length, labels, exact search."""
        setting = segmentation_of(context.study)
        exact = setting.chosen("exact_budget") if setting.exact_budget else {}
        return {**setting.chosen("share", "cutoff", "beam", "length", "top"), **exact}

    def counts_to_make(self, passes: Passes, model: str, units: Sequence[Unit]) -> int:
        """Once for the units' regions."""
        return passes.regions_to_make(model, units)

    def of_model(self, context: StudyContext, model: str, work: Sequence[Work]) -> Results:
        """See `MapLabels`."""
        images = images_of(context, work[0])
        survey = images.survey(images.views(model))
        units = [item.unit for item in work]
        results = passes_of(context, work[0]).regions(images, model, units, survey.regions.patterns)
        packing = _Packing(survey.regions, images.names)
        progress = context.progress(f"{model}: formulas", len(work))
        for item in work:
            yield item, _outcome(context, images, packing, item.unit, *results[item.unit])
            progress.advance()


class _Packing:
    """The regions of all images, and those of all but some, packed for the search."""

    def __init__(self, regions: Regions, names: Sequence[str]) -> None:
        self.regions = regions
        self._names = names
        self._packed: tuple[bytes, Regions, PackedMasks] | None = None

    def without(self, excluded: Counts) -> tuple[Regions, PackedMasks]:
        """Regions and concepts over them, less so many pixels of each, int64 (G,).

        The units of a layer mostly lack the same images, so the last answer is kept.
        """
        key = excluded.tobytes()
        if self._packed is None or self._packed[0] != key:
            regions = self.regions.without(excluded)
            self._packed = (key, regions, regions.packed(self._names))
        return self._packed[1], self._packed[2]


def _outcome(
    context: StudyContext,
    images: MaskedImages,
    packing: _Packing,
    unit: Unit,
    thresholds: Kept,
    counts: Kept,
    row: int,
) -> Outcome:
    silent_outcome = silent_maps(thresholds.arrays, unit.neuron, len(images.hashes))
    if silent_outcome is not None:
        return silent_outcome
    setting = segmentation_of(context.study)
    count = len(packing.regions.sizes)
    excluded = pixels_of(counts.arrays, row, count, "gone_")
    inside = pixels_of(counts.arrays, row, count)[excluded < packing.regions.sizes]
    regions, packed = packing.without(excluded)
    objective = RegionOverlap(inside, regions.sizes, packed)
    explanations = search(objective, beam=setting.beam, length=setting.length)
    outcome = pixel_outcome(
        context, images, thresholds, counts, row, unit.neuron, labels_of(explanations, setting.top)
    )
    if not setting.exact_budget or outcome.status != "ok":
        return outcome
    exact = exact_search(
        objective, length=setting.length, budget=setting.exact_budget, known=explanations[0]
    )
    assert exact.best is not None, "the beam search found one"
    runners_up = [label for label in explanations if label.formula != exact.best.formula]
    best = [exact.best, *runners_up]
    labels = labels_of(best, setting.top)
    search_report = {
        "complete": exact.complete,
        "bound": exact.bound,
        "missed": exact.missed,
        "beam": explanations[0].score,
        "formulas": exact.formulas,
    }
    payload = {**outcome.payload, **labels[0], "labels": labels}
    payload |= {"interpretable": exact.best.score > setting.cutoff, "exact": search_report}
    return replace(outcome, payload=payload)


def labels_of(explanations: Sequence[Explanation], top: int) -> list[dict[str, object]]:
    """Formulas as labels with their scores, best first."""
    return [
        {"label": text_of(explanation.formula), "score": explanation.score}
        for explanation in explanations[:top]
    ]


def text_of(formula: Formula) -> str:
    """A formula in words, without the parentheses around all of it.

    >>> from dnd_assets.methods.segmentation.compositions import Operator
    >>> text_of(Formula("a").joined(Operator.OR, "b").joined(Operator.AND_NOT, "c"))
    '(a OR b) AND NOT c'
    """
    text = str(formula)
    return text[1:-1] if formula.steps else text
