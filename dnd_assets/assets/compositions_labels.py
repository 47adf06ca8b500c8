"""Labels of Compositional Explanations: the formula of concepts that a unit's maps fit best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from dnd_assets.assets.segmentation.map_labels import MapLabels, pixel_outcome, silent_maps
from dnd_assets.assets.segmentation.map_passes import Kept, Passes, passes_of
from dnd_assets.assets.segmentation.map_readers import pixels_of
from dnd_assets.assets.segmentation.masked_images import MaskedImages, MaskSurvey, stored_images
from dnd_assets.assets.segmentation.masked_images import masked_images as images_of
from dnd_assets.engine.cache.vector_blocks import in_parts
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Work
from dnd_assets.engine.workers.at_work import agree
from dnd_assets.engine.workers.handing_out import hand_out
from dnd_assets.engine.workers.parts import Part, PartResult
from dnd_assets.lineage.code import code_version
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
from resources.runtime.progress import Progress

_UNITS: Final = 16
"""Units whose formulas are looked for together."""


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
        lookup = {item.unit: item for item in work}
        patterns = survey.regions.patterns
        results = passes_of(context, work[0]).regions(images, model, list(lookup), patterns)
        parts = _parts(images, survey, results)
        if context.workers.handed_to is None:  # what is at hand need not be read again
            counted = {kept.file: kept for found in results.values() for kept in found[:2]}
            _packings[_packing_key(parts[0])] = _Packing(survey.regions, images, counted)
        progress = context.progress(f"{model}: formulas", len(work))
        try:
            for part, result in hand_out(context, formulas_of, parts, progress):
                for place, outcome in zip(part.about["units"], result.values, strict=True):
                    yield lookup[Unit(model, *place[:2])], Outcome(**outcome)
        finally:
            _packings.clear()


def _parts(
    images: MaskedImages, survey: MaskSurvey, results: Mapping[Unit, tuple[Kept, Kept, int]]
) -> list[Part]:
    """Some units each, with the files that their counts are in, and their row there."""
    about = {"listed": images.listed, "masks": images.version, "surveyed": list(survey.files)}
    told = {
        unit.key: [unit.layer, unit.neuron, thresholds.file, counts.file, row]
        for unit, (thresholds, counts, row) in results.items()
    }
    return [
        Part(block, (), {**about, "units": [told[key] for key in block]}, _code())
        for block in in_parts(list(told), _UNITS)
    ]


def formulas_of(context: StudyContext, part: Part, progress: Progress) -> PartResult:
    """Outcomes of a part's units, with the fields of `Outcome`."""
    agree(context, part, _code)
    packing, outcomes = _packing_of(context, part), []
    for _, neuron, *files, row in part.about["units"]:
        thresholds, counts = (packing.counted(file) for file in files)
        outcomes.append(_outcome(context, packing, neuron, thresholds, counts, row))
        progress.advance()
    fields = ("status", "payload", "reason", "notes")
    return PartResult([{name: getattr(one, name) for name in fields} for one in outcomes])


def _code() -> str:
    return code_version(_outcome)


class _Packing:
    """The regions of all images, and those of all but some, packed for the search."""

    def __init__(self, regions: Regions, images: MaskedImages, counted: Mapping[str, Kept]) -> None:
        self.regions, self.images, self._counted = regions, images, dict(counted)
        self._packed: tuple[bytes, Regions, PackedMasks] | None = None

    def counted(self, file: str) -> Kept:
        """What a pass has counted, read once."""
        if file not in self._counted:
            self._counted[file] = Kept(file, self.images.context.store.arrays(file))
        return self._counted[file]

    def without(self, excluded: Counts) -> tuple[Regions, PackedMasks]:
        """Regions and concepts over them, less so many pixels of each, int64 (G,).

        The units of a layer mostly lack the same images, so the last answer is kept.
        """
        key = excluded.tobytes()
        if self._packed is None or self._packed[0] != key:
            regions = self.regions.without(excluded)
            self._packed = (key, regions, regions.packed(self.images.names))
        return self._packed[1], self._packed[2]


_packings: dict[tuple[str, ...], _Packing] = {}
"""The regions that this process is at, by the store files that say which; one set at most."""


def _packing_key(part: Part) -> tuple[str, ...]:
    return (part.about["masks"], *part.about["surveyed"])


def _packing_of(context: StudyContext, part: Part) -> _Packing:
    key = _packing_key(part)
    if key not in _packings:
        _packings.clear()
        images = stored_images(context, part.about["listed"], part.about["masks"])
        regions = images.read_survey(part.about["surveyed"]).regions
        _packings[key] = _Packing(regions, images, {})
    return _packings[key]


def _outcome(
    context: StudyContext, packing: _Packing, neuron: int, thresholds: Kept, counts: Kept, row: int
) -> Outcome:
    images = packing.images
    silent_outcome = silent_maps(thresholds.arrays, neuron, len(images.hashes))
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
        context, images, thresholds, counts, row, neuron, labels_of(explanations, setting.top)
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
