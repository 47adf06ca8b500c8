"""Parts and sizes of pictures of many bands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dnd_assets.files.rasters.raster import Raster


def resized(raster: Raster, size: tuple[int, int]) -> Raster:
    """A picture at another size: bicubic as Pillow resizes, within each band's own range.

    Args:
        raster: the picture.
        size: columns and rows.
    """
    if raster.size == size:
        return raster
    dtype = raster.values.dtype
    bands = []
    for band in raster.values:
        image = Image.fromarray(band.astype(np.float32))
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        pixels = np.clip(pixels, np.float32(band.min()), np.float32(band.max()))
        bands.append(np.rint(pixels).astype(dtype) if dtype.kind in "iu" else pixels.astype(dtype))
    valid = raster.valid
    if valid is not None:
        valid = _nearest(valid, size)
    return replace(raster, values=np.stack(bands), valid=valid, alpha=None, window=None, shown=None)


def cut_out(raster: Raster, box: tuple[int, int, int, int], size: int) -> Raster:
    """The part of a picture inside a box (left, top, right, bottom), resized to a square."""
    left, top, right, bottom = box
    valid = raster.valid
    part = replace(
        raster,
        values=raster.values[:, top:bottom, left:right],
        valid=None if valid is None else valid[top:bottom, left:right],
        alpha=None,
        window=None,
        shown=None,
    )
    return resized(part, (size, size))


def _nearest(valid: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    grey = Image.fromarray(valid.astype(np.uint8) * 255)
    return np.asarray(grey.resize(size, Image.Resampling.NEAREST)) > 127
