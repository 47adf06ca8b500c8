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
from dnd_assets.engine.cache.shared_results import at_hand, layer_provider, shared_row
from dnd_assets.engine.context import Workbench
from dnd_assets.lineage.records import artefact_row
from dnd_assets.methods.dissection.attention_crops import heatmap_bytes
from dnd_assets.results.unit_card.reader import Cards
from dnd_assets.units import Unit

_SIDE: Final = 32
"""Pixels of a stored map's side at most: maps of deep layers are smaller."""


@dataclass(frozen=True)
class _Wanted:
    """A map to be made: of a unit, of an image, for the provider that the record names."""

    unit: Unit
    image: str
    provider: str


def make_heat_maps(bench: Workbench, cards: Cards, units: Iterable[str]) -> list[str]:
    """Compute and store the heat maps of exemplars that have none yet.

    Args:
        bench: the workbench.
        cards: what is recorded.
        units: keys of units.

    Returns:
        For people: why some layers have none.
    """
    lacking: dict[tuple[str, str], list[_Wanted]] = {}
    for card in cards.read(list(units)):
        product = next((one for one in card.made if one.asset == "activations"), None)
        if product is None or "target" not in product.weights:
            continue
        unit = Unit(card.model, card.layer, card.neuron)
        for one in card.exemplars:
            lacking.setdefault((card.model, card.layer), []).append(
                _Wanted(unit, one.image, product.weights["target"])
            )
    told: list[str] = []
    wanted: dict[str, list[_Wanted]] = {}
    for (model, layer), some in lacking.items():
        why = _why_not(bench, some[0])
        if why:
            told.append(f"{model}/{layer}: no heat maps, {why}")
        else:
            wanted.setdefault(model, []).extend(_unknown(bench, some))
    for model, some in wanted.items():
        _make(bench, model, some)
    return told


def _why_not(bench: Workbench, one: _Wanted) -> str:
    """Why a layer's maps cannot be made; empty when they can."""
    known = {model.name: model for model in bench.study.models}
    layers = (
        {layer.path for layer in known[one.unit.model].layers} if one.unit.model in known else ()
    )
    if one.unit.layer not in layers:
        return "the study no longer has this layer"
    if not bench.targets.check(one.unit.model, one.unit.layer).has_map:
        return "its units have no extent in the picture"
    if layer_provider(bench, one.unit) != one.provider:
        return "the network is not the one that was recorded; run `dnd run` first"
    return ""


def _unknown(bench: Workbench, some: Sequence[_Wanted]) -> list[_Wanted]:
    items = [map_item(one.image, one.unit.neuron) for one in some]
    known = at_hand(bench, MAPS, some[0].provider, items)
    return [one for one, item in zip(some, items, strict=True) if item not in known]


def _make(bench: Workbench, model: str, wanted: Sequence[_Wanted]) -> None:
    """Maps of one network, each picture passed once, each batch kept when it is done."""
    by_image: dict[str, list[_Wanted]] = {}
    for one in wanted:
        by_image.setdefault(one.image, []).append(one)
    names = bench.pictures.in_order(by_image)
    progress = bench.progress(f"{model}: heat maps of pictures", len(names))
    batch = bench.study.compute.batch.target
    side = bench.study.dissection.crop_size
    for start in range(0, len(names), batch):
        part = names[start : start + batch]
        # As for crops: the picture is made square, and the map lies over all of it.
        _, square = bench.squares_of(model, part, side)
        only = [{(one.unit.layer, one.unit.neuron) for one in by_image[name]} for name in part]
        neurons = sorted(set().union(*only))
        maps = bench.targets.maps(model, neurons, square, batch, only)
        found = [
            (one, maps[one.unit.layer, one.unit.neuron][index])
            for index, name in enumerate(part)
            for one in by_image[name]
        ]
        _keep(bench, [(one, heat) for one, heat in found if heat is not None])
        progress.advance(len(part))


def _keep(bench: Workbench, found: Sequence[tuple[_Wanted, Any]]) -> None:
    kept = [(one, _grey(heat)) for one, heat in found if np.isfinite(heat).all()]
    if not kept:
        return
    blobs = [data for _, data in kept]
    pack, hashes = bench.store.put_pack(blobs)
    artefacts = [
        artefact_row(name, pack, "png", len(data)) for name, data in zip(hashes, blobs, strict=True)
    ]
    rows = [
        shared_row(
            MAPS, one.provider, map_item(one.image, one.unit.neuron), {"file": pack, "map": name}
        )
        for (one, _), name in zip(kept, hashes, strict=True)
    ]
    distinct = {row["hash"]: row for row in artefacts}
    bench.lineage.commit({"artefacts": list(distinct.values()), "shared": rows})


def _grey(heat: Any) -> bytes:
    """A map as a grey PNG, darkest where it is least."""
    side = min(max(heat.shape), _SIDE)
    buffer = io.BytesIO()
    Image.fromarray(heatmap_bytes(heat, side)).save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()
