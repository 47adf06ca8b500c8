"""Tiles of land-cover scenes: cut once into the state folder, with masks and classes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dnd_assets.errors import StudyError
from dnd_assets.files.atomic import sha256, write_atomic
from dnd_assets.files.segmentation_masks import Concept, MaskedImage, MaskLayer, MaskSet
from dnd_assets.known_answers.land_cover.land_scenes import (
    cover_names,
    name_of,
    read_scene,
    scene_files,
)
from dnd_assets.study.image_settings import Scenes
from dnd_assets.study.study import Study

CATEGORY: Final = "land cover"
_MOST_CODE: Final = 65_535


@dataclass(frozen=True)
class Tile:
    """A tile of a scene.

    Attributes:
        picture: its file, bands alone.
        mask: the file of its codes.
        codes: codes with their numbers of pixels, the most frequent first, of equal ones the least.
    """

    picture: Path
    mask: Path
    codes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Tiles:
    """The tiles of all scenes of a folder.

    Attributes:
        side: in pixels.
        names: what codes are called.
        tiles: in the order of scenes, rows, columns.
    """

    side: int
    names: dict[int, str]
    tiles: tuple[Tile, ...]

    def classes(self) -> dict[str, str]:
        """What covers most of each tile, by the tile's path."""
        return {
            tile.picture.as_posix(): name_of(tile.codes[0][0], self.names) for tile in self.tiles
        }

    def masks(self) -> MaskSet:
        """Which land cover is where, of every tile."""
        codes = sorted({code for tile in self.tiles for code, _ in tile.codes})
        concepts = tuple(Concept(name_of(code, self.names), CATEGORY) for code in codes)
        concepts_by_code = {code: (position,) for position, code in enumerate(codes)}
        size = (self.side, self.side)
        images = tuple(
            MaskedImage(
                tile.picture, size, (MaskLayer(tile.mask, "index", concepts_by_code),), size
            )
            for tile in self.tiles
        )
        return MaskSet(concepts, images, ())


def tiles_of(study: Study, scenes: Scenes, home: Path) -> Tiles:
    """The tiles of a study's scenes; those that are not there yet are written.

    Args:
        study: the study, which relative paths start from.
        scenes: where they lie.
        home: the state folder.

    Raises:
        StudyError: when there are no scenes, or one is none or smaller than a tile; says where to
            get some.
    """
    folder, side = study.path(scenes.folder), scenes.side
    files, names = scene_files(folder), cover_names(folder)
    content_hash = sha256("".join(sha256(file.read_bytes()) for file in files).encode())
    out = home / "scenes" / f"{content_hash[:16]}-{side}"
    tiles = [tile for file in files for tile in _cut(file, out, side)]
    return Tiles(side, names, tuple(tiles))


def _cut(file: Path, out: Path, side: int) -> list[Tile]:
    scene = read_scene(file)
    rows, columns = (length // side for length in scene.codes.shape)
    if not rows * columns or not 0 <= scene.codes.min() <= scene.codes.max() <= _MOST_CODE:
        raise StudyError(
            f"{file} is {scene.codes.shape} with codes from {scene.codes.min()} to "
            f"{scene.codes.max()}; a tile takes {side} pixels a side, and codes go up to "
            f"{_MOST_CODE}."
        )
    tiles = []
    for row, column in np.ndindex(rows, columns):
        window = (
            slice(row * side, (row + 1) * side),
            slice(column * side, (column + 1) * side),
        )
        name = f"{scene.name}-{row}-{column}"
        picture, mask = out / "images" / f"{name}.npy", out / "masks" / f"{name}.png"
        codes = scene.codes[window]
        if not picture.is_file():
            write_atomic(picture, _npy(scene.bands[window]))
        if not mask.is_file():
            write_atomic(mask, _png(codes))
        values, counts = np.unique(codes, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        pairs = tuple((int(values[i]), int(counts[i])) for i in order)
        tiles.append(Tile(picture, mask, pairs))
    return tiles


def _npy(bands: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(bands), allow_pickle=False)
    return buffer.getvalue()


def _png(codes: NDArray[np.int64]) -> bytes:
    dtype = np.uint8 if codes.max() <= np.iinfo(np.uint8).max else np.uint16
    buffer = io.BytesIO()
    Image.fromarray(codes.astype(dtype)).save(buffer, "PNG")
    return buffer.getvalue()
