"""Crops: what in its exemplars a unit looks at, and the activating set (DnD, step 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from dnd_assets.lineage.records import Outcome
from dnd_assets.methods import crops, exemplars, images, pooling
from dnd_assets.sharing import activations, layer_provider
from dnd_assets.stage import Results, Stage, Work
from dnd_assets.units import Unit
from dnd_assets.workbench import Workbench

Found = dict[Unit, list[dict[str, Any]]]
"""Crops by unit: image, crop, box, threshold, file."""


class Crops(Stage):
    """Attention crops of each unit's exemplars, and the K most activating of both together.

    The activation map of an exemplar, binarised by Otsu's threshold, gives boxes; each box is cut
    out and goes through the network. Units without a spatial map have no crops.
    """

    name = "crops"
    upstream = ("activations",)
    uses = ("targets", "compute")
    sources = (crops, exemplars, images, pooling)
    by_neuron = True

    def parameters(self, bench: Workbench) -> dict[str, Any]:
        """The settings of attention cropping."""
        names = ["exemplars", "crop"]
        if bench.study.dissection.crop:
            names += ["crops_per_image", "crop_overlap", "whole_image", "crop_size"]
        return bench.study.dissection.model_dump(include=set(names))

    def weights(self, bench: Workbench, unit: Unit) -> dict[str, str]:
        """The layer of the target network, with its pooling."""
        return {"target": layer_provider(bench, unit)} if bench.study.dissection.crop else {}

    def cost(self, bench: Workbench, work: Sequence[Work]) -> dict[str, int]:
        """Exemplars whose maps are needed; how many crops they give is seen afterwards."""
        if not bench.study.dissection.crop:
            return {}
        models = dict.fromkeys(one.unit.model for one in work)
        wanted = [_exemplars(bench, m, [w for w in work if w.unit.model == m]) for m in models]
        return {"activation maps": sum(len(found) for found in wanted)}

    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes with `crops` and `activating` [{image, kind, activation}]."""
        for model in dict.fromkeys(one.unit.model for one in work):
            mine = [one for one in work if one.unit.model == model]
            found = _cut(bench, model, mine) if bench.study.dissection.crop else {}
            needs: dict[str, set[str]] = {}
            for unit, made in found.items():
                needs.setdefault(unit.layer, set()).update(crop["crop"] for crop in made)
            table = activations(bench, model, needs, f"{model}: crops")
            for one in mine:
                made = found.get(one.unit, [])
                for crop in made:
                    rows, values = table[one.unit.layer]
                    crop["activation"] = float(values[rows[crop["crop"]], one.unit.neuron])
                yield one, _outcome(one, made, bench.study.dissection.exemplars)


def _cut(bench: Workbench, model: str, work: Sequence[Work]) -> Found:
    """Cut every unit's crops; each exemplar passes the network once for all units."""
    wanted = _exemplars(bench, model, work)
    found: Found = {one.unit: [] for one in work}
    names = bench.pictures.in_order(wanted)
    progress = bench.progress(f"{model}: activation maps", len(names))
    batch = bench.study.compute.batch.target
    for start in range(0, len(names), batch):
        part = names[start : start + batch]
        for unit, crop in _cut_batch(bench, model, part, wanted):
            found[unit].append(crop)
        progress.advance(len(part))
    for unit in found:  # by image, whatever batch each came from
        found[unit].sort(key=lambda crop: (crop["image"], crop["position"]))
    return found


def _exemplars(bench: Workbench, model: str, work: Sequence[Work]) -> dict[str, list[Unit]]:
    """The exemplars of units that have maps, with the units that want each."""
    spatial = {layer.path for layer in bench.targets.layers(model) if layer.has_map}
    wanted: dict[str, list[Unit]] = {}
    for one in work:
        if one.unit.layer in spatial:
            for exemplar in one.inputs["activations"].payload["exemplars"]:
                wanted.setdefault(exemplar["image"], []).append(one.unit)
    return wanted


def _cut_batch(
    bench: Workbench, model: str, names: Sequence[str], wanted: dict[str, list[Unit]]
) -> Iterator[tuple[Unit, dict[str, Any]]]:
    side = bench.study.dissection.crop_size
    whole = [
        image.resize((side, side), Image.Resampling.BICUBIC) for image in bench.pictures.load(names)
    ]
    pairs = sorted({(unit.layer, unit.neuron) for name in names for unit in wanted[name]})
    only = [{(unit.layer, unit.neuron) for unit in wanted[name]} for name in names]
    maps = bench.targets.maps(model, pairs, whole, bench.study.compute.batch.target, only)
    owners: list[tuple[Unit, dict[str, Any]]] = []
    pieces: list[Image.Image] = []
    for index, name in enumerate(names):
        for unit in wanted[name]:
            heatmap = maps[unit.layer, unit.neuron][index]
            for crop, piece in _pieces(bench, whole[index], heatmap):
                owners.append((unit, {"image": name, **crop}))
                pieces.append(piece)
    if pieces:
        file, hashes = bench.pictures.keep(pieces)
        for (unit, crop), name in zip(owners, hashes, strict=True):
            yield unit, {**crop, "crop": name, "file": file}


def _pieces(
    bench: Workbench, whole: Image.Image, heatmap: Any
) -> Iterator[tuple[dict[str, Any], Image.Image]]:
    setting = bench.study.dissection
    scaled = crops.heatmap_bytes(heatmap, setting.crop_size)
    threshold, boxes = crops.attention_boxes(
        scaled, setting.crops_per_image, setting.crop_overlap, setting.whole_image
    )
    for position, box in enumerate(boxes):
        crop = {"box": list(box), "threshold": threshold, "position": position}
        yield crop, crops.cut(whole, box, setting.crop_size)


def _outcome(work: Work, made: Sequence[dict[str, Any]], count: int) -> Outcome:
    whole = [(e["image"], e["activation"]) for e in work.inputs["activations"].payload["exemplars"]]
    parts = list({crop["crop"]: crop["activation"] for crop in made}.items())
    chosen = exemplars.activating_set(whole, parts, count)
    payload = {
        "crops": [
            {key: crop[key] for key in ("image", "crop", "box", "threshold", "activation")}
            for crop in made
        ],
        "activating": [
            {"image": one.image, "kind": one.kind, "activation": one.activation} for one in chosen
        ],
    }
    return Outcome("ok", payload, notes={"files": sorted({crop["file"] for crop in made})})
