"""How a picture of any bands and values is shown: 8-bit RGB, and in words what was done.

Where the study says nothing: bands 4, 3, 2 from 0 to 3,000 for Sentinel-2, as torchgeo draws it;
the window of a DICOM file; 8 bits as they are; else the 2nd to the 98th percentile of the values
shown, in each picture, so that no picture's rendering depends on another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dnd_assets.files.rasters.colour_maps import colours_of
from dnd_assets.files.rasters.raster import Raster, check_bands
from dnd_assets.files.rasters.reading import Reading
from dnd_assets.files.unreadable import UnreadableImage

Pixels = NDArray[np.uint8]
_SENTINEL_2: Final = (12, 13)
"""Bands of a Sentinel-2 product: level 2A has no cirrus band."""
_SENTINEL_2_BANDS: Final = (4, 3, 2)
_SENTINEL_2_RANGE: Final = (0.0, 3000.0)
_MARKED: Final = 1e-3
"""Share of pixels from which on a value is taken to be a mark."""
_PERCENTILES: Final = (2.0, 98.0)
_ENOUGH: Final = 50
"""Values of which 2 % are at least one."""
_NEAR: Final = 24
"""Distance from black or white within which nothing can be told apart."""
_CODES: Final = 40
"""Whole numbers of so few kinds, all small, are codes rather than measurements."""


@dataclass(frozen=True)
class RenderedPicture:
    """A picture as it is shown.

    Attributes:
        pixels: (rows, columns, 3).
        bands: numbers of the bands that are seen, from 1: one or three.
        low: the value that became 0; None where the file holds the rendering, or a window made it.
        high: the value that became 255; likewise.
        told: bands and range, for people; empty where 8 bits are shown as they are.
    """

    pixels: Pixels
    bands: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    told: str = ""


def rendered(raster: Raster, reading: Reading) -> RenderedPicture:
    """A picture as RGB of 8 bits.

    Parts without data are black, transparent ones white.

    Raises:
        UnreadableImage: when the study asks for bands that it has not.
    """
    if raster.shown is not None:
        return RenderedPicture(raster.shown, (1, 2, 3))
    bands, reason = bands_shown(raster, reading)
    values = raster.values[[number - 1 for number in bands]]
    with_data = values if raster.valid is None else values[:, raster.valid]
    value_range = reading.rendering.range
    if value_range in (None, "window") and raster.window is not None and bands == (1,):
        low = high = None
        share, range_text = raster.window[None], raster.windowed
    else:
        if value_range == "window":
            raise UnreadableImage("it has no window, and `rendering.range` asks for one")
        low, high, range_text = _range(raster, with_data, reading)
        scaled = (values.astype(np.float64) - low) / max(high - low, 1e-12)
        share = np.clip(scaled, 0, 1)
    pixels = _coloured(share, reading.rendering.colour_map)
    pixels = _laid_out(pixels, raster)
    noun = "band" if len(bands) == 1 else "bands"
    numbers = ", ".join(map(str, bands))
    description = f"{raster.told}: {noun} {numbers}{reason} shown {range_text}"
    as_is = (
        range_text == "as they are" and raster.bands in (1, 3) and reading.rendering.bands is None
    )
    description = "" if as_is else description
    return RenderedPicture(pixels, bands, low, high, description)


def bands_shown(raster: Raster, reading: Reading) -> tuple[tuple[int, ...], str]:
    """The bands that are seen, counted from 1, and why these, for people.

    Raises:
        UnreadableImage: when the study asks for bands that it has not.
    """
    bands = reading.rendering.bands
    if bands:
        check_bands(bands, raster.bands, "`rendering.bands`")
        return bands, ""
    if reading.rendering.colour_map and raster.bands:
        return (reading.bands[0] if reading.bands else 1,), ""
    if is_sentinel_2(raster):
        return _SENTINEL_2_BANDS, " (red, green, blue of Sentinel-2)"
    order = reading.bands or tuple(range(1, raster.bands + 1))
    check_bands(order, raster.bands, "`bands`")
    if len(order) < 3:
        return order[:1], " of two" if len(order) == 2 else ""
    if len(order) == 3 or raster.colours:
        return order[:3], ""
    return order[:3], " as red, green and blue"


def is_sentinel_2(raster: Raster) -> bool:
    """Whether a picture is taken to be of Sentinel-2: its number of bands, and 16 bits."""
    return raster.bands in _SENTINEL_2 and raster.values.dtype in (np.uint16, np.int16)


def _range(raster: Raster, values: NDArray[Any], reading: Reading) -> tuple[float, float, str]:
    """Lowest and highest value shown, and how they were found."""
    value_range = reading.rendering.range
    if isinstance(value_range, tuple):
        return value_range[0], value_range[1], f"from {value_range[0]:g} to {value_range[1]:g}"
    if values.size == 0:
        return 0.0, 1.0, "nowhere: it holds no data"
    full = raster.full or _of_type(raster.values.dtype)
    if value_range is None and raster.rendered:
        return *_required_range(full), "as they are"
    if value_range is None and raster.values.dtype.kind in "ui" and full == (0.0, 255.0):
        return 0.0, 255.0, "as they are"
    if value_range is None and is_sentinel_2(raster):
        return *_SENTINEL_2_RANGE, "from 0 to 3,000"
    if value_range == "full" or (value_range is None and full and values.size < _ENOUGH):
        low, high = _required_range(full)
        return low, high, f"from {low:g} to {high:g}, all that there can be"
    ends = (0.0, 100.0) if value_range == "minmax" or values.size < _ENOUGH else _PERCENTILES
    low, high = (float(value) for value in np.percentile(values, ends))
    if low == high and value_range != "minmax":  # a few bright spots on an even ground
        low, high = float(values.min()), float(values.max())
        return low, high, "from the least to the most of each"
    words = "from the least to the most of each" if ends[0] == 0 else "from 2 to 98 % of each"
    return low, high, words


def _of_type(dtype: np.dtype[Any]) -> tuple[float, float] | None:
    if dtype.kind not in "ui" or dtype.itemsize > 2:
        return None
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def _required_range(full: tuple[float, float] | None) -> tuple[float, float]:
    if full is None:
        raise UnreadableImage(
            "nothing says what values it can hold, and `rendering.range` asks for all; name two "
            "values, as [0, 4095]"
        )
    return full


def _coloured(share: NDArray[Any], colour_map: str | None) -> Pixels:
    """(rows, columns, 3) of values from 0 to 1, (1 or 3, rows, columns)."""
    if len(share) == 1 and colour_map is not None:
        stops = np.array(colours_of(colour_map), np.float64)
        positions = np.linspace(0, 1, len(stops))
        parts = [np.interp(share[0], positions, stops[:, channel]) for channel in range(3)]
        return np.array(np.rint(np.stack(parts, axis=2)), np.uint8)
    grey = np.rint(np.nan_to_num(share) * 255).astype(np.uint8)
    rgb = np.repeat(grey, 3, axis=0) if len(grey) == 1 else grey
    return np.array(np.moveaxis(rgb, 0, 2), np.uint8)


def _laid_out(pixels: Pixels, raster: Raster) -> Pixels:
    """Black where there is no data, white where it is transparent."""
    if raster.valid is not None:
        pixels[~raster.valid] = 0
    if raster.alpha is not None:
        opacity = raster.alpha[..., None]
        pixels = np.rint(pixels * opacity + 255 * (1 - opacity)).astype(np.uint8)
    return pixels


def doubt_of(raster: Raster, rendering: RenderedPicture) -> str:
    """Why a rendering may show nothing, or what is no picture; empty for nothing."""
    if raster.valid is not None and not raster.valid.any():
        return "without data: every pixel is nodata"
    nothing_seen = near_black_or_white(Image.fromarray(rendering.pixels), raster.valid)
    if nothing_seen:
        return nothing_seen
    dtype, largest = raster.values.dtype, raster.values.max()
    mark = _unsaid_mark(raster)
    if mark:
        return mark
    if dtype.kind in "ui" and largest < 4 * _CODES and dtype.itemsize > 1:
        distinct = len(np.unique(raster.values))
        if 1 < distinct <= _CODES:
            return f"of {distinct} values alone, codes rather than intensities"
    return ""


_MARKS: Final = (-9999.0, -99999.0, -32768.0, float(np.finfo(np.float32).min), -1e30)
"""Values that usually mean that there is no data, where files do not say so."""


def _unsaid_mark(raster: Raster) -> str:
    """What looks like a mark of no data and counts as a value; empty for nothing."""
    dtype = raster.values.dtype
    if raster.valid is not None or dtype.kind not in "if" or dtype.itemsize < 2:
        return ""
    lowest = raster.values.min()
    if not any(np.isclose(lowest, mark, rtol=1e-6) for mark in _MARKS):
        return ""
    share, others = float((raster.values == lowest).mean()), raster.values[raster.values != lowest]
    # A signed picture may well reach the least that its type holds, but not leave a gap above it.
    if share < _MARKED or not others.size or others.min() < lowest / 2:
        return ""
    return (
        f"with {lowest:g} in many pixels, which usually means that there is no data: write nodata "
        f"= {lowest:g}"
    )


def near_black_or_white(image: Image.Image, valid: NDArray[np.bool_] | None = None) -> str:
    """Whether a picture shows next to nothing: `near black`, `near white`, or empty.

    Args:
        image: of 8 bits.
        valid: the pixels that count; None for all.
    """
    mask = None if valid is None else Image.fromarray(valid)
    counts = np.cumsum(image.convert("L").histogram(mask))
    if not counts[-1]:
        return ""
    low, high = np.searchsorted(counts, [0.005 * counts[-1], 0.995 * counts[-1]])
    if high <= _NEAR:
        return "near black"
    return "near white" if low >= 255 - _NEAR else ""
