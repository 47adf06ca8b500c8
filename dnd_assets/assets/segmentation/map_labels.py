"""Base of the methods that compare a unit's activation maps with concept masks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dnd_assets.assets.concept_masks import ConceptMasks
from dnd_assets.assets.segmentation.map_parts import map_provider
from dnd_assets.assets.segmentation.map_passes import Kept, Passes, by_model, passes_of
from dnd_assets.assets.segmentation.map_readers import Arrays, ExcludedImages
from dnd_assets.assets.segmentation.masked_images import MaskedImages
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import CONCEPT_MASKS, Outcome, Payload
from dnd_assets.lineage.remarks import set_aside
from dnd_assets.study.mask_sets import segmentation_of
from dnd_assets.units import Unit


class MapLabels(Stage):
    """Labels from how a unit's maps lie over masks; layers without maps have none."""

    upstream = (CONCEPT_MASKS,)
    wholes = (ConceptMasks(),)
    group = "baselines"
    kinds = frozenset({"pytorch"})
    uses = ("targets", "compute")
    by_neuron = True

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer of the target network; its pooling does not matter."""
        return {"target": map_provider(context, unit.model, unit.layer)}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Images to pass through the networks: for thresholds, and for what is counted above."""
        count = 0
        spatial, _ = split_by_maps(context, work)
        for model, model_work in by_model(spatial).items():
            passes, units = passes_of(context, model_work[0]), [item.unit for item in model_work]
            count += passes.thresholds_to_make(model, [unit.layer for unit in units])
            count += self.counts_to_make(passes, model, units)
        return {"forward passes": count}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `score`, `labels`, `threshold`, `interpretable` and `images`."""
        spatial, flat = split_by_maps(context, work)
        yield from ((item, mapless(item.unit)) for item in flat)
        for model, model_work in by_model(spatial).items():
            yield from self.of_model(context, model, model_work)

    @abstractmethod
    def counts_to_make(self, passes: Passes, model: str, units: Sequence[Unit]) -> int:
        """Images to pass through a network after the thresholds are known."""

    @abstractmethod
    def of_model(self, context: StudyContext, model: str, work: Sequence[Work]) -> Results:
        """Outcomes of the units of one network, which all have maps."""


def split_by_maps(context: StudyContext, work: Iterable[Work]) -> tuple[list[Work], list[Work]]:
    """Units whose layer has maps that masks can be laid over, and the others."""
    has_maps: dict[tuple[str, str], bool] = {}
    split: tuple[list[Work], list[Work]] = ([], [])
    for item in work:
        layer = (item.unit.model, item.unit.layer)
        if layer not in has_maps:
            has_maps[layer] = context.targets.check(*layer).has_map
        split[0 if has_maps[layer] else 1].append(item)
    return split


def mapless(unit: Unit) -> Outcome:
    """The outcome of a unit whose layer has no maps."""
    reason = f"layer {unit.layer!r} has no maps, so no part of an image can be told to activate it"
    return Outcome("no_map", {}, reason)


def pixel_outcome(
    context: StudyContext,
    images: MaskedImages,
    thresholds: Kept,
    counts: Kept,
    row: int,
    neuron: int,
    labels: Sequence[Payload],
) -> Outcome:
    """The outcome of a unit whose maps were compared with masks.

    Args:
        context: the study's context.
        images: the images.
        thresholds: the layer's thresholds.
        counts: what was counted above them, with the maps that are shown.
        row: the unit's row there.
        neuron: the unit's index.
        labels: label and IoU of each, best first.
    """
    if not labels or labels[0]["score"] <= 0:
        return Outcome("no_concepts", {}, "its maps above the threshold meet no concept's mask")
    payload = {
        **labels[0],
        "labels": labels,
        "threshold": float(thresholds.arrays["threshold"][neuron]),
        "interpretable": labels[0]["score"] > segmentation_of(context.study).cutoff,
        "images": best_images(thresholds.arrays, neuron, images.hashes),
    }
    notes: dict[str, Any] = {
        "files": [thresholds.file, counts.file],
        "maps": {"file": counts.file, "row": row},
    }
    excluded = [images.hashes[index] for index in ExcludedImages(thresholds.arrays).images(neuron)]
    if excluded:
        notes["remarks"] = [set_aside(excluded, len(images.hashes)).as_json()]
    return Outcome("ok", payload, notes=notes)


def silent_maps(thresholds: Arrays, neuron: int, images: int) -> Outcome | None:
    """The outcome of a unit that is not finite, or else dead; None for all others.

    Images that are set aside do not count.

    Args:
        thresholds: the thresholds of its layer.
        neuron: the unit's index.
        images: how many there are.
    """
    not_finite, usable = int(thresholds["lost"][neuron]), images - len(thresholds["failed"])
    low, high = float(thresholds["low"][neuron]), float(thresholds["high"][neuron])
    if not_finite and np.isnan(thresholds["threshold"][neuron]):
        rest = f", and its map is {low:g} everywhere on all others" if low == high else ""
        reason = f"NaN or infinite on {not_finite:,} of {usable:,} images{rest}"
        return Outcome("not_finite", {}, reason)
    if low == high:
        return Outcome("dead", {}, f"its map is {low:g} everywhere on {usable:,} images")
    return None


def best_images(thresholds: Arrays, neuron: int, hashes: Sequence[str]) -> list[dict[str, object]]:
    """The images on which a unit's map peaks highest: hash and peak."""
    pairs = zip(
        thresholds["best"][neuron].tolist(), thresholds["peak"][neuron].tolist(), strict=True
    )
    return [{"image": hashes[index], "activation": peak} for index, peak in pairs if index >= 0]
