"""Whole slides, cut into tiles: each tile on which there is tissue is a picture.

A tile's own name is `tiles-SIDE-LEVEL/ROW-COLUMN.png`, from 0, so that its name alone says what to
read. Its bytes are those of a PNG of its pixels, by which it is known.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dnd_assets.errors import install_command
from dnd_assets.files.containers.contents import Contents, MemberError, SlideTiles
from dnd_assets.files.images import encode_png

if TYPE_CHECKING:
    from openslide import OpenSlide

PACKAGE: Final = "openslide"
SUFFIXES: Final = frozenset({".svs", ".ndpi", ".scn", ".mrxs", ".vms", ".vmu", ".bif", ".svslide"})
"""Suffixes of files that are whole slides and nothing else."""
_TIFF: Final = frozenset({".tif", ".tiff"})
_NAME: Final = re.compile(r"tiles-(\d+)-(\d+)/(\d+)-(\d+)\.png")
_SATURATED: Final = 8 / 255
"""Of hue, saturation and value: above that is tissue, as CLAM takes it (Lu et al. 2021)."""
_CELLS: Final = 16
"""Pixels of the overview along a tile's side, about, in which tissue is looked for."""
_MOST_PIXELS: Final = 100_000_000


def is_slide(path: Path) -> bool:
    """Whether a file is a whole slide, by its suffix, or, of a TIFF, by its pyramid."""
    suffix = path.suffix.lower()
    if suffix not in _TIFF:
        return suffix in SUFFIXES
    try:
        from openslide import OpenSlide

        return OpenSlide.detect_format(path) is not None
    except ImportError:
        return False


def is_tile(name: str) -> bool:
    """Whether the name of something inside a file is that of a tile."""
    return _NAME.fullmatch(name) is not None


def tiles_of(path: Path, tiles: SlideTiles) -> Contents:
    """The tiles of a slide with tissue on them, by rows; those at the edge that are cut are none.

    Raises:
        OSError: when the slide cannot be read, or has no such level.
    """
    slide = _opened(path)
    columns, rows = (length // tiles.side for length in _size(path, slide, tiles.level))
    if not rows * columns:
        raise MemberError(f"level {tiles.level} of {path} is smaller than a tile of {tiles.side}")
    shares = _tissue(path, slide, tiles, rows, columns)
    with_tissue = np.argwhere(shares >= tiles.tissue)
    folder = f"tiles-{tiles.side}-{tiles.level}"
    return Contents(tuple(f"{folder}/{row}-{column}.png" for row, column in with_tissue.tolist()))


def read_tile(path: Path, name: str) -> bytes:
    """A tile as PNG, what is transparent laid over white.

    Raises:
        OSError: when there is no such tile, or the slide cannot be read.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise MemberError(f"{path} holds no tile {name!r}")
    side, level, row, column = map(int, match.groups())
    slide = _opened(path)
    width, height = _size(path, slide, level)
    if (column + 1) * side > width or (row + 1) * side > height:
        raise MemberError(f"{path} holds no tile {name!r}")
    scale = slide.level_downsamples[level]
    corner = (round(column * side * scale), round(row * side * scale))
    return encode_png(_region(path, slide, corner, level, (side, side)))


def _tissue(
    path: Path, slide: OpenSlide, tiles: SlideTiles, rows: int, columns: int
) -> NDArray[np.float64]:
    """Share of tissue of each tile, (rows, columns), from an overview of the slide."""
    if tiles.tissue <= 0:
        return np.ones((rows, columns))
    scale = slide.level_downsamples[tiles.level]
    level = slide.get_best_level_for_downsample(scale * max(tiles.side / _CELLS, 1))
    width, height = slide.level_dimensions[level]
    if width * height > _MOST_PIXELS:
        raise MemberError(
            f"{path} has no overview: its smallest fitting level is {width:,} x {height:,}. Write "
            "tissue = 0 to take every tile"
        )
    view = np.asarray(_region(path, slide, (0, 0), level, (width, height)).convert("HSV"))
    saturated = view[..., 1] > _SATURATED * 255
    step = tiles.side * scale / slide.level_downsamples[level]
    shares = np.zeros((rows, columns))
    for row, column in np.ndindex(rows, columns):
        top, left = round(row * step), round(column * step)
        bottom, right = (
            max(round((row + 1) * step), top + 1),
            max(round((column + 1) * step), left + 1),
        )
        shares[row, column] = saturated[top:bottom, left:right].mean()
    return shares


def _region(
    path: Path, slide: OpenSlide, corner: tuple[int, int], level: int, size: tuple[int, int]
) -> Image.Image:
    from openslide import OpenSlideError

    try:
        region = slide.read_region(corner, level, size)
    except OpenSlideError as error:
        _opened_at.cache_clear()  # a slide that failed once answers nothing any more
        raise MemberError(f"{path} cannot be read at {corner}: {error}") from error
    return Image.alpha_composite(Image.new("RGBA", region.size, "white"), region).convert("RGB")


def _size(path: Path, slide: OpenSlide, level: int) -> tuple[int, int]:
    """Columns and rows of a level."""
    if level >= slide.level_count:
        raise MemberError(f"{path} has {slide.level_count} levels, and level {level} is asked for")
    width, height = slide.level_dimensions[level]
    return int(width), int(height)


def _opened(path: Path) -> OpenSlide:
    try:
        import openslide  # noqa: F401 (asked first, to say what installs it)
    except ImportError as error:
        raise MemberError(
            f"{path} is a whole slide, which is not read without the package {PACKAGE}; run "
            f"`{install_command('slides')}`"
        ) from error
    return _opened_at(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _opened_at(path: Path, _changed: int) -> OpenSlide:
    from openslide import OpenSlide, OpenSlideError

    try:
        return OpenSlide(path)
    except OpenSlideError as error:
        raise MemberError(f"{path} cannot be read as a whole slide: {error}") from error
