"""Heat maps of exemplars: computed once by the network itself, then kept beside the records.

Crops record boxes and thresholds, not the maps they were cut from. A map is made anew here only
where the network is the one that was recorded, so that it is the map that the boxes came from.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from dnd_assets.engine.cache.heat_maps import MAPS, map_item
from dnd_assets.engine.cache.shared_results import cached, layer_provider, shared_row
from dnd_assets.engine.context import StudyContext
from dnd_assets.lineage.records import artefact_row
from dnd_assets.methods.dissection.attention_crops import heatmap_bytes
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.units import Unit

_SIDE: Final = 32
"""Pixels of a stored map's side at most: maps of deep layers are smaller."""


@dataclass(frozen=True)
class _Wanted:
    """A map to be made: of a unit, of an image, for the provider that the record names."""

    unit: Unit
    image: str
    provider: str


def make_heat_maps(context: StudyContext, cards: Cards, units: Iterable[str]) -> list[str]:
    """Compute and store the heat maps of exemplars that have none yet.

    Args:
        context: the study's context.
        cards: what is recorded.
        units: keys of units.

    Returns:
        For people: why some layers have none.
    """
    by_layer: dict[tuple[str, str], list[_Wanted]] = {}
    for card in cards.read(list(units)):
        product = next((step for step in card.made if step.asset == "activations"), None)
        if product is None or "target" not in product.weights:
            continue
        unit = Unit(card.model, card.layer, card.neuron)
        for exemplar in card.exemplars:
            by_layer.setdefault((card.model, card.layer), []).append(
                _Wanted(unit, exemplar.image, product.weights["target"])
            )
    remarks: list[str] = []
    by_model: dict[str, list[_Wanted]] = {}
    for (model, layer), maps in by_layer.items():
        reason = _why_not(context, maps[0])
        if reason:
            remarks.append(f"{model}/{layer}: no heat maps, {reason}")
        else:
            by_model.setdefault(model, []).extend(_not_stored(context, maps))
    for model, maps in by_model.items():
        _make(context, model, maps)
    return remarks


def _why_not(context: StudyContext, heat_map: _Wanted) -> str:
    """Why a layer's maps cannot be made; empty when they can."""
    models = {model.name: model for model in context.study.models}
    layers = (
        {layer.path for layer in models[heat_map.unit.model].layers}
        if heat_map.unit.model in models
        else ()
    )
    if heat_map.unit.layer not in layers:
        return "the study no longer has this layer"
    if not context.targets.check(heat_map.unit.model, heat_map.unit.layer).has_map:
        return "its units have no extent in the picture"
    if layer_provider(context, heat_map.unit) != heat_map.provider:
        return "the network is not the one that was recorded; run `dnd run` first"
    return ""


def _not_stored(context: StudyContext, maps: Sequence[_Wanted]) -> list[_Wanted]:
    """Those of some maps, all of one provider, that have to be computed."""
    side = context.study.dissection.crop_size
    items = [map_item(heat_map.image, heat_map.unit.neuron, side) for heat_map in maps]
    stored = cached(context, MAPS, maps[0].provider, items)
    return [heat_map for heat_map, item in zip(maps, items, strict=True) if item not in stored]


def _make(context: StudyContext, model: str, heat_maps: Sequence[_Wanted]) -> None:
    """Maps of one network, each picture passed once, each batch kept when it is done."""
    by_image: dict[str, list[_Wanted]] = {}
    for heat_map in heat_maps:
        by_image.setdefault(heat_map.image, []).append(heat_map)
    names = context.pictures.in_order(by_image)
    progress = context.progress(f"{model}: heat maps of pictures", len(names))
    batch = context.study.compute.batch.target
    side = context.study.dissection.crop_size
    for start in range(0, len(names), batch):
        part = names[start : start + batch]
        # As for crops: the picture is made square, and the map lies over all of it.
        _, square = context.squares_of(model, part, side)
        only = [
            {(heat_map.unit.layer, heat_map.unit.neuron) for heat_map in by_image[name]}
            for name in part
        ]
        neurons = sorted(set().union(*only))
        maps = context.targets.maps(model, neurons, square, batch, only)
        computed = [
            (heat_map, maps[heat_map.unit.layer, heat_map.unit.neuron][index])
            for index, name in enumerate(part)
            for heat_map in by_image[name]
        ]
        made = [(heat_map, heat) for heat_map, heat in computed if heat is not None]
        _store(context, made, side)
        progress.advance(len(part))


def _store(context: StudyContext, computed: Sequence[tuple[_Wanted, Any]], side: int) -> None:
    """Store maps that are finite, as PNG files in one pack, and record where they lie."""
    encoded = [(heat_map, _grey(heat)) for heat_map, heat in computed if np.isfinite(heat).all()]
    if not encoded:
        return
    blobs = [data for _, data in encoded]
    pack, hashes = context.store.put_pack(blobs)
    artefacts = [
        artefact_row(name, pack, "png", len(data)) for name, data in zip(hashes, blobs, strict=True)
    ]
    rows = [
        shared_row(
            MAPS,
            heat_map.provider,
            map_item(heat_map.image, heat_map.unit.neuron, side),
            {"file": pack, "map": name},
        )
        for (heat_map, _), name in zip(encoded, hashes, strict=True)
    ]
    distinct = {row["hash"]: row for row in artefacts}
    context.lineage.commit({"artefacts": list(distinct.values()), "shared": rows})


def _grey(heat: Any) -> bytes:
    """A map as a grey PNG, darkest where it is least."""
    side = min(max(heat.shape), _SIDE)
    buffer = io.BytesIO()
    Image.fromarray(heatmap_bytes(heat, side)).save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()
