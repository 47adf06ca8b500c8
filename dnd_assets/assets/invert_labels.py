"""Labels of INVERT: the concept that a unit's activation tells best from all else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dnd_assets.assets import compositions_labels, masked_images
from dnd_assets.assets.activations import silent
from dnd_assets.assets.compositions_labels import labels_of
from dnd_assets.assets.concept_masks import ConceptMasks
from dnd_assets.assets.map_passes import SHOWN, by_model
from dnd_assets.assets.masked_images import masked_images as images_of
from dnd_assets.lineage.records import CONCEPT_MASKS, Outcome
from dnd_assets.mask_sets import segmentation_of
from dnd_assets.methods import compositions, exemplars, invert, pooling, regions, view
from dnd_assets.methods.compositions import Packed, search
from dnd_assets.methods.invert import AreaUnderCurve
from dnd_assets.sharing import activations, layer_provider, passes_to_make
from dnd_assets.stage import Results, Stage, Work
from dnd_assets.study import Segmentation
from dnd_assets.units import Unit, by_layer
from dnd_assets.vectors import Matrix
from dnd_assets.workbench import Workbench


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
    sources = (
        compositions, exemplars, invert, pooling, regions, view, compositions_labels, masked_images
    )  # fmt: skip
    by_neuron = True

    def parameters(self, bench: Workbench) -> dict[str, Any]:
        """Length of formulas, the shares they may hold for, beam and number of labels."""
        setting = segmentation_of(bench.study)
        return {**setting.invert.model_dump(), "beam": _beam(setting), "top": setting.top}

    def weights(self, bench: Workbench, unit: Unit) -> dict[str, str]:
        """The layer of the target network, with its pooling."""
        return {"target": layer_provider(bench, unit)}

    def cost(self, bench: Workbench, work: Iterable[Work]) -> dict[str, int]:
        """Images that have to go through the networks."""
        needs: dict[str, dict[str, list[str]]] = {}
        hashes: list[str] = []
        for one in work:
            hashes = hashes or _hashes(bench, one)
            needs.setdefault(one.unit.model, {})[one.unit.layer] = hashes
        count = sum(passes_to_make(bench, model, layers) for model, layers in needs.items())
        return {"forward passes": count}

    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `score`, `labels` and `images`."""
        for model, some in by_model(work).items():
            yield from _of_model(bench, model, some)


def _hashes(bench: Workbench, work: Work) -> list[str]:
    found: list[str] = json.loads(bench.store.get(work.inputs[CONCEPT_MASKS].payload["manifest"]))
    return found


def _beam(setting: Segmentation) -> int:
    """Formulas kept; of single concepts as many as are asked for."""
    return setting.beam if setting.invert.length > 1 else setting.top


def _of_model(bench: Workbench, model: str, work: Sequence[Work]) -> Iterator[tuple[Work, Outcome]]:
    images = images_of(bench, work[0])
    lookup = {one.unit: one for one in work}
    groups = by_layer(lookup)
    needs = {layer: images.hashes for _, layer in groups}
    found = activations(bench, model, needs, f"{model}: masked images")
    presence = images.survey(images.views(model)).presence
    packed = Packed(images.names, np.ascontiguousarray(presence.T))
    for (_, layer), units in groups.items():
        rows, values = found[layer]
        ordered = values[[rows[name] for name in images.hashes]]
        for unit in units:
            yield lookup[unit], _outcome(bench, images.hashes, ordered[:, unit.neuron], packed)


def _outcome(bench: Workbench, hashes: Sequence[str], values: Matrix, packed: Packed) -> Outcome:
    """A unit's outcome; `values` is its activations, float32 (images,)."""
    if exemplars.not_finite(values[:, None])[0] or exemplars.is_dead(values[:, None])[0]:
        return silent(values)
    setting = segmentation_of(bench.study)
    shares = setting.invert.model_dump(include={"min_share", "max_share"})
    objective = AreaUnderCurve(values, packed, **shares)
    found = search(objective, beam=_beam(setting), length=setting.invert.length)
    if not found:
        reason = "no concept is on a share of the images between {min_share} and {max_share}"
        return Outcome("no_concepts", {}, reason.format(**shares))
    labels = labels_of(found, setting.top)
    order = np.argsort(-values, kind="stable")[:SHOWN].tolist()
    shown = [{"image": hashes[i], "activation": float(values[i])} for i in order]
    return Outcome("ok", {**labels[0], "labels": labels, "images": shown})
