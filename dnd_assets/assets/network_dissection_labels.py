"""Labels of Network Dissection: the concept whose masks a unit's maps fit best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dnd_assets.assets.segmentation.map_labels import MapLabels, pixel_outcome, silent_maps
from dnd_assets.assets.segmentation.map_passes import Kept, Passes, passes_of
from dnd_assets.assets.segmentation.masked_images import MaskedImages
from dnd_assets.assets.segmentation.masked_images import masked_images as images_of
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Work
from dnd_assets.lineage.records import Outcome
from dnd_assets.study.mask_sets import segmentation_of
from dnd_assets.units import Unit


class NetworkDissectionLabels(MapLabels):
    """Network Dissection: the concept whose masks a unit's thresholded maps fit best (IoU).

    A baseline beside Describe-and-Dissect, over the images of `concept_masks`. Thresholds and
    overlaps of a whole layer are stored once, so a label depends on no selection of units. A unit
    whose best IoU is not above the cutoff is marked as not interpretable.
    """

    name = "network_dissection_labels"

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Share of positions above the threshold, cutoff and number of labels."""
        return segmentation_of(context.study).chosen("share", "cutoff", "top")

    def counts_to_make(self, passes: Passes, model: str, units: Sequence[Unit]) -> int:
        """Once for the overlaps of whole layers."""
        return passes.dissections_to_make(model, [unit.layer for unit in units])

    def of_model(self, context: StudyContext, model: str, work: Sequence[Work]) -> Results:
        """See `MapLabels`."""
        images = images_of(context, work[0])
        layers = list(dict.fromkeys(item.unit.layer for item in work))
        results = passes_of(context, work[0]).dissections(images, model, layers)
        for item in work:
            yield item, _outcome(context, images, *results[item.unit.layer], item.unit.neuron)


def _outcome(
    context: StudyContext, images: MaskedImages, thresholds: Kept, overlaps: Kept, neuron: int
) -> Outcome:
    silent_outcome = silent_maps(thresholds.arrays, neuron, len(images.hashes))
    if silent_outcome is not None:
        return silent_outcome
    labels = _best(overlaps.arrays["iou"][neuron], images.names, segmentation_of(context.study).top)
    return pixel_outcome(context, images, thresholds, overlaps, neuron, neuron, labels)


def _best(ious: NDArray[np.float64], names: Sequence[str], top: int) -> list[dict[str, object]]:
    """The concepts with the best IoU above 0, of equal ones the first."""
    order = np.argsort(-ious, kind="stable")[:top].tolist()
    return [{"label": names[i], "score": float(ious[i])} for i in order if ious[i] > 0]
