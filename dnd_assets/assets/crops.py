"""Crops: what in its exemplars a unit looks at, and the activating set (DnD, step 1)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

from PIL import Image

from dnd_assets.engine.cache.shared_results import activations, cached, layer_provider, shared_row
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.engine.workers.at_work import agree
from dnd_assets.engine.workers.handing_out import hand_out
from dnd_assets.engine.workers.parts import Part, PartResult
from dnd_assets.files.rasters.cutting import cut_out
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import canonical, digest
from dnd_assets.lineage.records import Outcome
from dnd_assets.methods.dissection import attention_crops, exemplars
from dnd_assets.study.deciding import parameters_of_dissection
from dnd_assets.units import Unit, by_layer
from resources.runtime.progress import Progress


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
        wanted: dict[str, Wanted] = {}
        for one in work:
            wanted.setdefault(one.unit.model, []).extend(_exemplars(one))
        lacking = [_lacking(context, _with_maps(context, *found))[0] for found in wanted.items()]
        maps = sum(len(_by_image(wanted)) for wanted in lacking)
        passes = sum(len(wanted) for wanted in lacking) * context.study.dissection.crops_per_image
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
        for model in dict.fromkeys(one.unit.model for one in work):
            mine = [one for one in work if one.unit.model == model]
            found = _cut(context, model, mine) if context.study.dissection.crop else {}
            needs: dict[str, set[str]] = {}
            for unit, made in found.items():
                needs.setdefault(unit.layer, set()).update(crop["crop"] for crop in made)
            table = activations(context, model, needs, f"{model}: crops")
            for one in mine:
                made = found.get(one.unit, [])
                for crop in made:
                    rows, values = table[one.unit.layer]
                    crop["activation"] = float(values[rows[crop["crop"]], one.unit.neuron])
                yield one, _outcome(one, made, context.study.dissection.exemplars)


def _cut(context: StudyContext, model: str, work: Sequence[Work]) -> Found:
    """Every unit's crops; those of an exemplar are cut once, whatever run or study asks."""
    asked = [pair for one in work for pair in _exemplars(one)]
    lacking, known = _lacking(context, _with_maps(context, model, asked))
    wanted = _by_image(lacking)
    of_layer = {
        layer: provider(context, of[0]) for layer, of in by_layer(u for u, _ in lacking).items()
    }
    for made in _cut_lacking(context, model, wanted):
        rows = [
            shared_row("crop", of_layer[unit.model, unit.layer], _item(unit, image), value)
            for (unit, image), value in made.items()
        ]
        context.lineage.commit({"shared": rows})
        known.update(made)
    found: Found = {one.unit: [] for one in work}
    for (unit, image), value in sorted(known.items()):
        for crop in value["crops"]:
            found[unit].append({"image": image, "file": value["file"], **crop})
    return found


def _cut_lacking(
    context: StudyContext, model: str, wanted: Mapping[str, list[Unit]]
) -> Iterator[dict[tuple[Unit, str], CutExemplar]]:
    """File and crops of each (unit, image), batch by batch of images."""
    names = context.pictures.in_order(wanted)
    progress = context.progress(f"{model}: activation maps", len(names))
    batch = context.study.compute.batch.target
    parts = (
        _part(context, model, names[start : start + batch], wanted)
        for start in range(0, len(names), batch)
    )
    for part, made in hand_out(context, crops_of, parts):
        yield {
            (Unit(model, layer, neuron), image): value
            for layer, neuron, image, value in made.values
        }
        context.count("activation maps", len(part.items))
        progress.advance(len(part.items))


def _part(
    context: StudyContext, model: str, names: Sequence[str], wanted: Mapping[str, list[Unit]]
) -> Part:
    units = {name: [[unit.layer, unit.neuron] for unit in wanted[name]] for name in names}
    cut = _providers(context, [unit for name in names for unit in wanted[name]])
    return Part(names, names, {"model": model, "units": units}, cut)


def _providers(context: StudyContext, units: Iterable[Unit]) -> str:
    """Hash of what decides the crops of all layers of some units."""
    layers = by_layer(units)
    return digest({layer: provider(context, of[0]) for (_, layer), of in layers.items()})


def crops_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """Crops of a part's images: of each unit and image, layer, neuron, image, file and crops."""
    model = part.about["model"]
    wanted = {
        name: [Unit(model, layer, neuron) for layer, neuron in part.about["units"][name]]
        for name in part.items
    }
    units = [unit for some in wanted.values() for unit in some]
    agree(context, part, lambda: _providers(context, units))
    made = _cut_batch(context, model, part.items, wanted)
    return PartResult(
        [[unit.layer, unit.neuron, name, value] for (unit, name), value in made.items()]
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
    return [(work.unit, one["image"]) for one in work.inputs["activations"].payload["exemplars"]]


def _with_maps(context: StudyContext, model: str, wanted: Wanted) -> Wanted:
    """Those of units that have a map."""
    spatial = {layer.path for layer in context.targets.layers(model) if layer.has_map}
    return [(unit, image) for unit, image in wanted if unit.layer in spatial]


def _lacking(
    context: StudyContext, wanted: Wanted
) -> tuple[Wanted, dict[tuple[Unit, str], CutExemplar]]:
    """Exemplars whose crops have not been cut yet, and the crops of the others."""
    known: dict[tuple[Unit, str], CutExemplar] = {}
    for of_layer in by_layer(unit for unit, _ in wanted).values():
        layer = set(of_layer)
        pairs = {_item(unit, image): (unit, image) for unit, image in wanted if unit in layer}
        stored = cached(context, "crop", provider(context, of_layer[0]), sorted(pairs))
        known.update({pairs[item]: value for item, value in stored.items()})
    return [pair for pair in wanted if pair not in known], known


def _item(unit: Unit, image: str) -> str:
    """Name of an exemplar's crops among those of a layer."""
    return canonical([image, unit.neuron])


def _by_image(wanted: Wanted) -> dict[str, list[Unit]]:
    """The units that want each image, in order."""
    found: dict[str, list[Unit]] = {}
    for unit, image in wanted:
        found.setdefault(image, []).append(unit)
    return found


def _cut_batch(
    context: StudyContext, model: str, names: Sequence[str], wanted: Mapping[str, list[Unit]]
) -> dict[tuple[Unit, str], CutExemplar]:
    """File and crops of each (unit, image) of one batch of images."""
    side = context.study.dissection.crop_size
    whole, seen = context.squares_of(model, names, side)
    pairs = sorted({(unit.layer, unit.neuron) for name in names for unit in wanted[name]})
    only = [{(unit.layer, unit.neuron) for unit in wanted[name]} for name in names]
    maps = context.targets.maps(model, pairs, seen, context.study.compute.batch.target, only)
    made: dict[tuple[Unit, str], CutExemplar] = {}
    pieces: list[tuple[MadeCrop, Image.Image]] = []
    rasters: list[Raster | None] = []
    for index, name in enumerate(names):
        for unit in wanted[name]:
            heatmap = maps[unit.layer, unit.neuron][index]
            cut = list(_pieces(context, whole[index], heatmap))
            made[unit, name] = {"file": None, "crops": [crop for crop, _ in cut]}
            pieces += cut
            rasters += [_raster_piece(seen[index], crop["box"], side) for crop, _ in cut]
    if pieces:
        kept = [one for one in rasters if one is not None] or None
        file, hashes = context.pictures.keep([piece for _, piece in pieces], kept)
        for (crop, _), name in zip(pieces, hashes, strict=True):
            crop["crop"] = name
        for value in made.values():
            value["file"] = file if value["crops"] else None
    return made


def _raster_piece(seen: Image.Image | Raster, box: Sequence[int], side: int) -> Raster | None:
    """A crop as a network sees it that takes bands; None for others, which see what is shown."""
    return (
        cut_out(seen, (box[0], box[1], box[2], box[3]), side) if isinstance(seen, Raster) else None
    )


def _pieces(
    context: StudyContext, whole: Image.Image, heatmap: Any
) -> Iterator[tuple[MadeCrop, Image.Image]]:
    setting = context.study.dissection
    scaled = attention_crops.heatmap_bytes(heatmap, setting.crop_size)
    threshold, boxes = attention_crops.attention_boxes(
        scaled, setting.crops_per_image, setting.crop_overlap, setting.whole_image
    )
    for box in boxes:
        yield (
            {"box": list(box), "threshold": threshold},
            attention_crops.cut(whole, box, setting.crop_size),
        )


def _outcome(work: Work, made: Sequence[MadeCrop], count: int) -> Outcome:
    found = work.inputs["activations"].payload
    whole = [(e["image"], e["activation"]) for e in found["exemplars"]]
    active = {crop["crop"]: crop["activation"] for crop in made}
    parts = [(name, value) for name, value in active.items() if math.isfinite(value)]
    chosen = exemplars.activating_set(whole, parts, count, found["off"])
    payload = {
        "crops": [
            {
                **{key: crop[key] for key in ("image", "crop", "box", "threshold")},
                # JSON has no word for NaN.
                "activation": crop["activation"] if math.isfinite(crop["activation"]) else None,
            }
            for crop in made
        ],
        "activating": [
            {"image": one.image, "kind": one.kind, "activation": one.activation} for one in chosen
        ],
    }
    return Outcome("ok", payload, notes={"files": sorted({crop["file"] for crop in made})})
