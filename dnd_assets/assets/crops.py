"""Crops: what in its exemplars a unit looks at, and the activating set (DnD, step 1)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

from PIL import Image

from dnd_assets.assets.exemplar_parts import (
    exemplar_item,
    exemplar_part,
    units_of_images,
    units_of_part,
)
from dnd_assets.engine.cache.shared_results import activations, cached, layer_provider, shared_row
from dnd_assets.engine.cache.vector_blocks import in_parts
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.engine.workers.handing_out import hand_out
from dnd_assets.engine.workers.parts import Part, PartResult
from dnd_assets.files.rasters.cutting import cut_out
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.records import Outcome
from dnd_assets.methods.dissection import attention_crops, exemplars
from dnd_assets.study.deciding import parameters_of_dissection
from dnd_assets.units import Unit, by_layer
from resources.runtime.progress import Progress
from resources.runtime.threads import in_threads


class MadeCrop(TypedDict, total=False):
    """A crop on its way into the product.

    Attributes:
        box: left, top, right, bottom on the picture resized to a square, in pixels.
        threshold: Otsu's threshold of the heat map, 0 to 255.
        crop: its hash, once it is stored.
        image: hash of the exemplar.
        file: the pack that holds it.
        activation: the unit's activation on it.
    """

    box: list[int]
    threshold: int
    crop: str
    image: str
    file: str | None
    activation: float


class CutExemplar(TypedDict):
    """The crops of one exemplar, as they are shared between runs, and the pack that holds them."""

    file: str | None
    crops: list[MadeCrop]


Found = dict[Unit, list[MadeCrop]]
Wanted = list[tuple[Unit, str]]
"""Units with the exemplars whose crops they need."""


class Crops(Stage):
    """Attention crops of each unit's exemplars, and the K most activating of both together.

    The activation map of an exemplar, binarised by Otsu's threshold, gives boxes; each box is cut
    out and goes through the network. Units without a spatial map have no crops. A crop on which the
    unit is silent, or not finite, does not enter the activating set.
    """

    name = "crops"
    upstream = ("activations",)
    group = "step_1_probing"
    kinds = frozenset({"pytorch", "scikitlearn"})
    uses = ("targets", "compute")
    by_neuron = True

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """The settings of attention cropping."""
        if not context.study.dissection.crop:
            return context.study.dissection.chosen("exemplars", "crop")
        return parameters_of_dissection(self.name, context.study)

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer of the target network, with its pooling."""
        return {"target": layer_provider(context, unit)} if context.study.dissection.crop else {}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Exemplars whose maps are needed; how many crops they give is seen afterwards."""
        if not context.study.dissection.crop:
            return {}
        pairs_by_model: dict[str, Wanted] = {}
        for item in work:
            pairs_by_model.setdefault(item.unit.model, []).extend(_exemplars(item))
        uncut = [
            _uncut(context, _with_maps(context, *model_pairs))[0]
            for model_pairs in pairs_by_model.items()
        ]
        maps = sum(len(units_of_images(pairs)) for pairs in uncut)
        passes = sum(len(pairs) for pairs in uncut) * context.study.dissection.crops_per_image
        return {"activation maps": maps, "forward passes at most": passes}

    def cost_upper_bound(self, context: StudyContext, units: int) -> dict[str, int]:
        """A map for each of K exemplars, and a pass for each crop of it."""
        setting = context.study.dissection
        if not setting.crop:
            return {}
        maps = units * setting.exemplars
        return {"activation maps": maps, "forward passes": maps * setting.crops_per_image}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `crops` and `activating` [{image, kind, activation}]."""
        for model in dict.fromkeys(item.unit.model for item in work):
            model_work = [item for item in work if item.unit.model == model]
            crops_by_unit = (
                _cut(context, model, model_work) if context.study.dissection.crop else {}
            )
            needs: dict[str, set[str]] = {}
            for unit, unit_crops in crops_by_unit.items():
                needs.setdefault(unit.layer, set()).update(crop["crop"] for crop in unit_crops)
            table = activations(context, model, needs, f"{model}: crops")
            for item in model_work:
                unit_crops = crops_by_unit.get(item.unit, [])
                for crop in unit_crops:
                    rows, values = table[item.unit.layer]
                    crop["activation"] = float(values[rows[crop["crop"]], item.unit.neuron])
                yield item, _outcome(item, unit_crops, context.study.dissection.exemplars)


def _cut(context: StudyContext, model: str, work: Sequence[Work]) -> Found:
    """Every unit's crops; those of an exemplar are cut once, whatever run or study asks."""
    pairs = [pair for item in work for pair in _exemplars(item)]
    uncut, cut = _uncut(context, _with_maps(context, model, pairs))
    units_by_image = units_of_images(uncut)
    provider_by_layer = {
        layer: provider(context, layer_units[0])
        for layer, layer_units in by_layer(unit for unit, _ in uncut).items()
    }
    for new_crops in _cut_missing(context, model, units_by_image):
        rows = [
            shared_row(
                "crop", provider_by_layer[unit.model, unit.layer], exemplar_item(unit, image), value
            )
            for (unit, image), value in new_crops.items()
        ]
        context.lineage.commit({"shared": rows})
        cut.update(new_crops)
    crops_by_unit: Found = {item.unit: [] for item in work}
    for (unit, image), value in sorted(cut.items()):
        for crop in value["crops"]:
            crops_by_unit[unit].append({"image": image, "file": value["file"], **crop})
    return crops_by_unit


def _cut_missing(
    context: StudyContext, model: str, units_by_image: Mapping[str, list[Unit]]
) -> Iterator[dict[tuple[Unit, str], CutExemplar]]:
    """File and crops of each (unit, image), batch by batch of images."""
    names = context.pictures.in_order(units_by_image)
    progress = context.progress(f"{model}: activation maps", len(names))
    batch = context.study.compute.batch.target
    parts = (
        exemplar_part(context, model, part, units_by_image, provider)
        for part in in_parts(names, batch)
    )
    for part, result in hand_out(context, crops_of, parts):
        yield {
            (Unit(model, layer, neuron), image): value
            for layer, neuron, image, value in result.values
        }
        context.count("activation maps", len(part.items))
        progress.advance(len(part.items))


def crops_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """Crops of a part's images: of each unit and image, layer, neuron, image, file and crops."""
    model, units_by_image = units_of_part(context, part, provider)
    cut = _cut_batch(context, model, part.items, units_by_image)
    return PartResult(
        [[unit.layer, unit.neuron, name, value] for (unit, name), value in cut.items()]
    )


def provider(context: StudyContext, unit: Unit) -> str:
    """Hash of what decides the crops of an exemplar: layer, settings of cropping, code."""
    names = ("crops_per_image", "crop_overlap", "whole_image", "crop_size")
    return context.lineage.provider(
        {
            "layer": layer_provider(context, unit),
            "settings": context.study.dissection.chosen(*names),
            "code": code_version(_cut_batch),
        }
    )


def _exemplars(work: Work) -> Wanted:
    return [
        (work.unit, entry["image"]) for entry in work.inputs["activations"].payload["exemplars"]
    ]


def _with_maps(context: StudyContext, model: str, pairs: Wanted) -> Wanted:
    """Those of units that have a map."""
    spatial = {layer.path for layer in context.targets.layers(model) if layer.has_map}
    return [(unit, image) for unit, image in pairs if unit.layer in spatial]


def _uncut(
    context: StudyContext, exemplar_pairs: Wanted
) -> tuple[Wanted, dict[tuple[Unit, str], CutExemplar]]:
    """Exemplars whose crops have not been cut yet, and the crops of the others."""
    cut: dict[tuple[Unit, str], CutExemplar] = {}
    for layer_units in by_layer(unit for unit, _ in exemplar_pairs).values():
        layer = set(layer_units)
        pairs = {
            exemplar_item(unit, image): (unit, image)
            for unit, image in exemplar_pairs
            if unit in layer
        }
        stored = cached(context, "crop", provider(context, layer_units[0]), sorted(pairs))
        cut.update({pairs[item]: value for item, value in stored.items()})
    return [pair for pair in exemplar_pairs if pair not in cut], cut


def _cut_batch(
    context: StudyContext,
    model: str,
    names: Sequence[str],
    units_by_image: Mapping[str, list[Unit]],
) -> dict[tuple[Unit, str], CutExemplar]:
    """File and crops of each (unit, image) of one batch of images."""
    side = context.study.dissection.crop_size
    squares, network_views = context.squares_of(model, names, side)
    pairs = sorted({(unit.layer, unit.neuron) for name in names for unit in units_by_image[name]})
    image_pairs = [{(unit.layer, unit.neuron) for unit in units_by_image[name]} for name in names]
    maps = context.targets.maps(
        model, pairs, network_views, context.study.compute.batch.target, image_pairs
    )
    cut_exemplars: dict[tuple[Unit, str], CutExemplar] = {}
    pieces: list[tuple[MadeCrop, Image.Image]] = []
    rasters: list[Raster | None] = []
    places = [(index, unit) for index, name in enumerate(names) for unit in units_by_image[name]]

    def pieces_at(place: tuple[int, Unit]) -> list[tuple[MadeCrop, Image.Image]]:
        index, unit = place
        return _pieces(context, squares[index], maps[unit.layer, unit.neuron][index])

    for (index, unit), unit_pieces in zip(places, in_threads(pieces_at, places), strict=True):
        crops = [crop for crop, _ in unit_pieces]
        cut_exemplars[unit, names[index]] = {"file": None, "crops": crops}
        pieces += unit_pieces
        rasters += [_raster_piece(network_views[index], crop["box"], side) for crop in crops]
    if pieces:
        present_rasters = [raster for raster in rasters if raster is not None] or None
        file, hashes = context.pictures.keep([piece for _, piece in pieces], present_rasters)
        for (crop, _), name in zip(pieces, hashes, strict=True):
            crop["crop"] = name
        for value in cut_exemplars.values():
            value["file"] = file if value["crops"] else None
    return cut_exemplars


def _raster_piece(
    network_view: Image.Image | Raster, box: Sequence[int], side: int
) -> Raster | None:
    """A crop as a network sees it that takes bands; None for others, which see what is shown."""
    return (
        cut_out(network_view, (box[0], box[1], box[2], box[3]), side)
        if isinstance(network_view, Raster)
        else None
    )


def _pieces(
    context: StudyContext, square: Image.Image, heatmap: Any
) -> list[tuple[MadeCrop, Image.Image]]:
    setting = context.study.dissection
    scaled = attention_crops.heatmap_bytes(heatmap, setting.crop_size)
    threshold, boxes = attention_crops.attention_boxes(
        scaled, setting.crops_per_image, setting.crop_overlap, setting.whole_image
    )
    return [
        (
            {"box": list(box), "threshold": threshold},
            attention_crops.cut(square, box, setting.crop_size),
        )
        for box in boxes
    ]


def _outcome(work: Work, unit_crops: Sequence[MadeCrop], count: int) -> Outcome:
    upstream = work.inputs["activations"].payload
    whole_images = [(entry["image"], entry["activation"]) for entry in upstream["exemplars"]]
    active = {crop["crop"]: crop["activation"] for crop in unit_crops}
    parts = [(name, value) for name, value in active.items() if math.isfinite(value)]
    activating = exemplars.activating_set(whole_images, parts, count, upstream["off"])
    payload = {
        "crops": [
            {
                **{key: crop[key] for key in ("image", "crop", "box", "threshold")},
                # JSON has no word for NaN.
                "activation": crop["activation"] if math.isfinite(crop["activation"]) else None,
            }
            for crop in unit_crops
        ],
        "activating": [
            {"image": image.image, "kind": image.kind, "activation": image.activation}
            for image in activating
        ],
    }
    return Outcome("ok", payload, notes={"files": sorted({crop["file"] for crop in unit_crops})})
