"""`dnd look`: which units fire on an image, how unusually for each, and where.

Raw activations of two units do not compare: each has its own scale. So an activation is told as
the share of the probing images that activate the same unit less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dnd_assets.analysis.search import open_picture
from dnd_assets.analysis.unit_vectors import labels_of
from dnd_assets.assets.activations import failed_images
from dnd_assets.assets.image_sets import images_of
from dnd_assets.engine.cache.shared_results import layer_provider
from dnd_assets.engine.cache.vectors import Values
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import StudyError, UpstreamError, not_found
from dnd_assets.files.containers.container_places import read_bytes
from dnd_assets.files.images import as_raster
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.lineage.records import PROBING_SET
from dnd_assets.methods.dissection import attention_crops
from dnd_assets.methods.segmentation.input_region import View, view
from dnd_assets.methods.segmentation.overlay import overlay
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.study.selection import select_units
from dnd_assets.units import Unit, by_layer

_GRID: Final = 448
_TILE: Final = 224
_LINE: Final = 16
_ANY_SIZE: Final = 2.0


@dataclass(frozen=True)
class UnitActivation:
    """One unit on the image.

    Attributes:
        unit: the unit's key.
        labels: its best label by each asset of labels, the study's own first.
        activation: its pooled activation, on the layer's own scale.
        share: of the probing images that activate it less, ties counted half, in [0, 1].
        reach: the activation from the unit's mean, 0, to its largest on the probing images, 1;
            above 1 for an image that activates it more than any of them.
        box: left, top, right and bottom in pixels of the image, around the largest part that
            stands out of the unit's map; None for a unit without a map, or one that is the same
            everywhere.
    """

    unit: str
    labels: dict[str, str]
    activation: float
    share: float
    reach: float
    box: tuple[int, int, int, int] | None


@dataclass(frozen=True)
class Look:
    """The answer of `look`.

    Attributes:
        image: the picture, RGB.
        firings: units, most unusual activation first.
        overlays: the picture of each of them, dark where the unit does not look; the picture itself
            for units without a map.
        compared: probing images that each unit was compared on.
    """

    image: Image.Image
    firings: tuple[UnitActivation, ...]
    overlays: tuple[Image.Image, ...]
    compared: int

    def as_json(self) -> dict[str, object]:
        """The firings as plain values."""
        return {
            "probing_images": self.compared,
            "units": [asdict(firing) for firing in self.firings],
        }


def look(context: StudyContext, file: Path, layer: str | None = None, top: int = 10) -> Look:
    """Run the study's networks on an image and tell which units fire most, for them.

    Args:
        context: the study's context.
        file: the image.
        layer: a layer's path, or `model/layer`; None for all of the study.
        top: units at most.

    Raises:
        NotFoundError: when there is no such file or layer; names the nearest.
        StudyError: when the image or a network cannot be read.
        UpstreamError: when the units' activations on the probing set were not recorded.
    """
    settings = context.study.probing_set
    picture = open_picture(file, settings.max_pixels, settings.reading)
    units = _of_layer(list(select_units(context.study, context.targets).values()), layer)
    source = TableSource(context.lineage, context.study.name)
    probing = probing_images(context, source)
    ranked: list[tuple[tuple[float, float, Unit], float]] = []
    compared = 0
    for (model, path), layer_units in by_layer(units).items():
        stored = recorded(context, layer_units[0], probing)
        compared = max(compared, len(stored))
        inputs = [_as_seen(context, model, file, picture)]
        (values,) = context.targets.activations(
            model, {path: context.layer(layer_units[0]).pooling}, inputs
        )[path]
        for unit in layer_units:
            share_and_reach = against(stored[:, unit.neuron], float(values[unit.neuron]))
            if share_and_reach is not None:
                ranked.append(
                    ((-share_and_reach[0], -share_and_reach[1], unit), float(values[unit.neuron]))
                )
    ranked.sort()
    strongest = ranked[:top]
    labels = _best_labels(source)
    firings, overlays = [], []
    for ((share, reach, unit), activation), (box, unit_overlay) in zip(
        strongest, _places(context, [key[2] for key, _ in strongest], file, picture), strict=True
    ):
        unit_labels = labels.get(unit, {})
        firings.append(UnitActivation(unit.key, unit_labels, activation, -share, -reach, box))
        overlays.append(unit_overlay)
    return Look(picture, tuple(firings), tuple(overlays), compared)


def against(recorded: NDArray[np.float32], value: float) -> tuple[float, float] | None:
    """How unusual a value is among the recorded ones of its unit.

    Returns:
        The share of recorded values below it, ties counted half; and where it lies between their
        mean, 0, and their maximum, 1. None for a unit whose values do not differ or are not finite.

    >>> against(np.array([0.0, 1.0, 1.0, 2.0], np.float32), 1.0)
    (0.5, 0.0)
    """
    if not np.isfinite(recorded).all() or not np.isfinite(value):
        return None
    low, high = float(recorded.min()), float(recorded.max())
    if low == high:
        return None
    below = float((recorded < value).mean())
    share = below + float((recorded == value).mean()) / 2
    mean = float(recorded.mean(dtype=np.float64))
    return share, (value - mean) / (high - mean)


def _of_layer(units: Sequence[Unit], layer: str | None) -> list[Unit]:
    if layer is None:
        return list(units)
    names = [name for unit in units for name in (unit.layer, unit.key.rpartition("/")[0])]
    if layer not in names:
        raise not_found("layer", layer, names, "A layer of the study is needed.")
    return [unit for unit in units if layer in (unit.layer, unit.key.rpartition("/")[0])]


def probing_images(context: StudyContext, source: TableSource) -> list[str]:
    """Hashes of the study's recorded probing images.

    Raises:
        UpstreamError: when none are recorded.
    """
    for records in source.records(PROBING_SET):
        for record in records:
            return images_of(context, record.product)
    raise _not_recorded(context)


def recorded(context: StudyContext, unit: Unit, probing: Sequence[str]) -> Values:
    """The layer's activations on the probing images, as far as they are stored, (N, neurons).

    Raises:
        UpstreamError: when none are.
    """
    provider = layer_provider(context, unit)
    sparse = context.layer(unit).sae is not None
    read = context.vectors.sparse_table if sparse else context.vectors.table
    table = read("activations", provider, probing)
    if not table.found.any():
        raise _not_recorded(context)
    stored = table.values[table.found]
    return stored[~failed_images(stored)]


def _not_recorded(context: StudyContext) -> UpstreamError:
    name = context.study.name
    return UpstreamError(
        f"what study {name!r} knows of its units on the probing set is not stored, so an image has "
        f"nothing to be compared with. Run `dnd run --assets +activations` on it first."
    )


def _best_labels(source: TableSource) -> dict[Unit, dict[str, str]]:
    by_unit: dict[Unit, dict[str, str]] = {}
    for unit_label in labels_of(source):
        if unit_label.best:
            by_unit.setdefault(unit_label.unit, {})[unit_label.asset] = unit_label.label
    return by_unit


Place = tuple[tuple[int, int, int, int] | None, Image.Image]


def _as_seen(
    context: StudyContext, model: str, file: Path, picture: Image.Image
) -> Image.Image | Raster:
    """A picture from disk as a network sees it: its bands, where it takes bands."""
    if not context.targets.takes_bands(model):
        return picture
    settings = context.study.probing_set
    return as_raster(read_bytes(file.expanduser()), settings.max_pixels, settings.reading)


def _places(
    context: StudyContext, units: Sequence[Unit], file: Path, picture: Image.Image
) -> list[Place]:
    """For each unit the box of its activation, and the picture with that box and its map on it."""
    places: dict[Unit, Place] = {}
    for model in dict.fromkeys(unit.model for unit in units):
        model_units = [unit for unit in units if unit.model == model]
        inputs = [_as_seen(context, model, file, picture)]
        maps = context.targets.maps(model, [(u.layer, u.neuron) for u in model_units], inputs)
        visible = view(context.targets.transforms(model), *picture.size)
        for unit in model_units:
            heat = maps[unit.layer, unit.neuron][0]
            places[unit] = (None, picture) if heat is None else _located(picture, heat, visible)
    return [places[unit] for unit in units]


def _located(picture: Image.Image, heat: NDArray[np.float32], visible: View) -> Place:
    """The box around the largest part above Otsu's threshold, drawn on the picture."""
    if not np.isfinite(heat).all():
        return None, picture
    grey = attention_crops.heatmap_bytes(heat, _GRID)
    _, boxes = attention_crops.attention_boxes(grey, 1, 0.0, _ANY_SIZE)
    if not boxes:
        return None, picture
    left, top, right, bottom = visible.box(*picture.size)
    wide, high = (right - left) / _GRID, (bottom - top) / _GRID
    x1, y1, x2, y2 = boxes[0]
    box = (
        int(left + x1 * wide), int(top + y1 * high),
        min(right, int(np.ceil(left + x2 * wide))), min(bottom, int(np.ceil(top + y2 * high))),
    )  # fmt: skip
    level = attention_crops.otsu_threshold(attention_crops.heatmap_bytes(heat, _GRID)) / 255
    low, high_value = float(heat.min()), float(heat.max())
    outlined = overlay(picture, heat, low + level * (high_value - low), visible)
    pen = ImageDraw.Draw(outlined)
    pen.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=(255, 255, 255))
    return box, outlined


def sheet(result: Look) -> Image.Image:
    """The picture and every overlay in rows of five, each with its unit, label and share below.

    Raises:
        StudyError: when no unit fired.
    """
    if not result.firings:
        raise StudyError("no unit of these layers tells one probing image from another.")
    tiles = [(result.image, ["the image"])]
    for firing, unit_overlay in zip(result.firings, result.overlays, strict=True):
        label = next(iter(firing.labels.values()), "(no label)")
        tiles.append((unit_overlay, [label, firing.unit, f"above {firing.share:.1%} of images"]))
    across = min(5, len(tiles))
    down = -(-len(tiles) // across)
    page = Image.new("RGB", (across * (_TILE + 8), down * (_TILE + 4 * _LINE)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for index, (picture, lines) in enumerate(tiles):
        x, y = index % across * (_TILE + 8), index // across * (_TILE + 4 * _LINE)
        thumbnail = picture.copy()
        scale = _TILE / max(thumbnail.size)
        size = (max(1, round(thumbnail.width * scale)), max(1, round(thumbnail.height * scale)))
        page.paste(thumbnail.resize(size), (x, y))
        for row, line in enumerate(lines):
            printable = "".join(c if c.isprintable() else " " for c in line)[:36]
            pen.text((x, y + _TILE + row * _LINE), printable, fill="black", font=font)
    return page
