"""The exemplars that MAIA reads: `exemplars/MODEL/imagenet/LAYER`, as MILAN and NetDissect lay out.

`activations.csv` (units, K), `thresholds.csv` (units), `images.npy` (units, K, 3, 224, 224) and
`masks.npy` (units, K, 1, 224, 224), both of 0 to 255. A row is a neuron's number; units that were
not labelled, and exemplars that there are none of, are zeros. MAIA always looks into a folder
`imagenet`, whatever the pictures are.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dnd_assets.errors import StoreError
from dnd_assets.files.unreadable import UnreadableImage
from dnd_assets.methods.dissection.attention_crops import otsu_threshold
from dnd_assets.results.export.for_others.cards_export import LayerUnits, PictureFiles
from dnd_assets.results.unit_card.card import Exemplar, UnitCard
from dnd_assets.units import slug

SIDE: Final = 224
MOST: Final = 15
"""Exemplars that MAIA looks at."""
_QUANTILE: Final = 0.99
_LEAST_ROWS: Final = 2
"""MAIA reads one row, or one column, as a line of numbers and stops."""


def maia_layout(
    study: str, layer: LayerUnits, cards: Iterator[UnitCard], files: PictureFiles
) -> int:
    """See `ToolLayout`; arrays are written row by row, so that rows of zeros take no space."""
    layer_folder = files.folder / "exemplars" / _name(layer.model) / "imagenet" / _name(layer.layer)
    layer_folder.mkdir(parents=True)
    rows = max(max(layer.neurons) + 1, _LEAST_ROWS)
    images = _array(layer_folder / "images.npy", (rows, MOST, 3, SIDE, SIDE))
    masks = _array(layer_folder / "masks.npy", (rows, MOST, 1, SIDE, SIDE))
    activations = np.zeros((rows, MOST))
    thresholds = np.zeros(rows)
    count = 0
    for card in cards:
        count += 1
        thresholds[card.neuron] = threshold_of(card)
        for position, exemplar in enumerate(card.exemplars[:MOST]):
            pixels = _pixels(files, exemplar.image)
            if pixels is None:
                continue
            activations[card.neuron, position] = exemplar.activation
            images[card.neuron, position] = np.moveaxis(pixels, 2, 0)
            masks[card.neuron, position, 0] = mask_of(exemplar) * np.uint8(255)
    images.flush()
    masks.flush()
    np.savetxt(layer_folder / "activations.csv", activations, delimiter=",", fmt="%.9g")
    np.savetxt(layer_folder / "thresholds.csv", thresholds, delimiter=",", fmt="%.9g")
    return count


def mask_of(exemplar: Exemplar) -> NDArray[np.bool_]:
    """Where a unit is active on an exemplar, (224, 224).

    By its heat map, where that is stored: above Otsu's threshold. Else its attention crops. Where
    neither is known, everywhere.
    """
    if exemplar.heat is not None:
        with Image.open(io.BytesIO(exemplar.heat), formats=["PNG"]) as image:
            heat = np.asarray(
                image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.uint8
            )
        return np.asarray(heat > otsu_threshold(heat))
    boxes = [crop.box for crop in exemplar.crops if crop.box is not None]
    mask = np.full((SIDE, SIDE), not boxes)
    for box in boxes:
        rows = slice(round(box.top * SIDE), round(box.bottom * SIDE))
        mask[rows, round(box.left * SIDE) : round(box.right * SIDE)] = True
    return mask


def threshold_of(card: UnitCard) -> float:
    """The activation below which 99 % of the images lie, to a bar of the unit's distribution.

    NetDissect's is over places; of these nothing is stored.
    """
    distribution = card.distribution
    if distribution is None or not distribution.counts:
        return 0.0
    is_reached = np.cumsum(distribution.counts) >= _QUANTILE * sum(distribution.counts)
    bar = int(np.argmax(is_reached)) + 1
    return float(
        distribution.low + (distribution.high - distribution.low) * bar / len(distribution.counts)
    )


def _pixels(files: PictureFiles, name: str) -> NDArray[np.uint8] | None:
    """A picture squeezed to 224 pixels a side, as its map lies over it."""
    try:
        (image,) = files.pictures.load([name])
    except (StoreError, UnreadableImage):
        files.missing.add(name)
        return None
    files.written.setdefault(name, "")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.uint8)


def _array(path: Path, shape: tuple[int, ...]) -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
    return np.lib.format.open_memmap(path, "w+", np.uint8, shape)


def _name(name: str) -> str:
    """A name as MAIA writes it, where a folder can have it."""
    return name if "/" not in name and name not in (".", "..") else slug(name)
