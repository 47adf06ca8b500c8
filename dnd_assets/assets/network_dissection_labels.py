"""Labels of Network Dissection: the concept whose masks a unit's maps fit best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnd_assets.assets import map_passes, masked_images
from dnd_assets.assets.concept_masks import ConceptMasks
from dnd_assets.assets.map_passes import (
    Kept,
    by_model,
    map_provider,
    mapless,
    passes_of,
    pixel_outcome,
    silent_maps,
    split_by_maps,
)
from dnd_assets.assets.masked_images import MaskedImages
from dnd_assets.assets.masked_images import masked_images as images_of
from dnd_assets.lineage.records import CONCEPT_MASKS, Outcome
from dnd_assets.mask_sets import segmentation_of
from dnd_assets.methods import network_dissection, pooling, view
from dnd_assets.stage import Results, Stage, Work
from dnd_assets.units import Unit
from dnd_assets.workbench import Workbench


class NetworkDissectionLabels(Stage):
    """Network Dissection: the concept whose masks a unit's thresholded maps fit best (IoU).

    A baseline beside Describe-and-Dissect, over the images of `concept_masks`. Thresholds and
    overlaps of a whole layer are stored once, so a label depends on no selection of units. A unit
    whose best IoU is not above the cutoff is marked as not interpretable.
    """

    name = "network_dissection_labels"
    upstream = (CONCEPT_MASKS,)
    wholes = (ConceptMasks(),)
    group = "baselines"
    kinds = frozenset({"pytorch"})
    uses = ("targets", "compute")
    sources = (network_dissection, pooling, view, map_passes, masked_images)
    by_neuron = True

    def parameters(self, bench: Workbench) -> dict[str, Any]:
        """Share of positions above the threshold, cutoff and number of labels."""
        return segmentation_of(bench.study).model_dump(include={"share", "cutoff", "top"})

    def weights(self, bench: Workbench, unit: Unit) -> dict[str, str]:
        """The layer of the target network; its pooling does not matter."""
        return {"target": map_provider(bench, unit.model, unit.layer)}

    def cost(self, bench: Workbench, work: Iterable[Work]) -> dict[str, int]:
        """Images to pass through the networks: once for thresholds, once for overlaps."""
        count = 0
        spatial, _ = split_by_maps(bench, work)
        for model, some in by_model(spatial).items():
            passes, layers = passes_of(bench, some[0]), [one.unit.layer for one in some]
            count += passes.thresholds_to_make(model, layers)
            count += passes.dissections_to_make(model, layers)
        return {"forward passes": count}

    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `score`, `labels`, `threshold`, `interpretable` and `images`."""
        spatial, flat = split_by_maps(bench, work)
        yield from ((one, mapless(one.unit)) for one in flat)
        for model, some in by_model(spatial).items():
            images = images_of(bench, some[0])
            layers = list(dict.fromkeys(one.unit.layer for one in some))
            found = passes_of(bench, some[0]).dissections(images, model, layers)
            for one in some:
                yield one, _outcome(bench, images, *found[one.unit.layer], one.unit.neuron)


def _outcome(
    bench: Workbench, images: MaskedImages, first: Kept, second: Kept, neuron: int
) -> Outcome:
    silent = silent_maps(first.arrays, neuron, len(images.hashes))
    if silent is not None:
        return silent
    labels = _best(second.arrays["iou"][neuron], images.names, segmentation_of(bench.study).top)
    return pixel_outcome(bench, images, first, second, neuron, neuron, labels)


def _best(ious: NDArray[np.float64], names: Sequence[str], top: int) -> list[dict[str, Any]]:
    """The concepts with the best IoU above 0, of equal ones the first."""
    order = np.argsort(-ious, kind="stable")[:top].tolist()
    return [{"label": names[i], "score": float(ious[i])} for i in order if ious[i] > 0]
