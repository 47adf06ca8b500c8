"""TIFF and GeoTIFF of any number of bands and bits.

What Pillow reads rightly, 8-bit pictures for people, is left to Pillow. A GeoTIFF's bands are
measurements: a fourth band is never transparency, even where it is tagged as alpha, since programs
that write rasters tag it so without a thought.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from dnd_assets.files.rasters.extras import needed
from dnd_assets.files.rasters.raster import (
    Raster,
    Values,
    check_size,
    upright,
    where_valid,
)
from dnd_assets.files.rasters.reading import Reading
from dnd_assets.files.unreadable import UnreadableImage

if TYPE_CHECKING:
    from tifffile import TiffPage

STARTS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GEO: Final = (33550, 33922, 34264, 34735, 42112, 42113)
"""Tags of GeoTIFF and of GDAL."""
_NODATA, _ORIENTATION, _ALPHA = 42113, 274, (1, 2)
_PLAIN: Final = (0, 1, 2, 3, 5, 6, 8)
"""Photometric interpretations that Pillow turns into RGB: grey, RGB, palette, CMYK, YCbCr, Lab."""


def read_tiff(data: bytes, max_pixels: int, reading: Reading) -> Raster | None:
    """The bands of a TIFF; None for one that is left to Pillow.

    Raises:
        UnreadableImage: when it is too large, or of a compression that needs another package.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = [page for page in file.pages if not int(page.subfiletype) & 5]
        first: TiffPage = pages[0]
        geographic = any(code in first.tags for code in _GEO)
        if len(pages) == 1 or reading.pages == "first":
            if is_plain(first, geographic=geographic) and not reading.bands:
                return None
            chosen_pages = [first]
        else:
            chosen_pages = _select_pages(pages, reading.pages)
        bands = sum(_bands(page) for page in chosen_pages)
        check_size(first.imagewidth, first.imagelength, bands, max_pixels)
        values = np.concatenate([_values(data, page, pages.index(page)) for page in chosen_pages])
        kind = "GeoTIFF" if geographic else "TIFF"
        return _raster(values, first, kind, len(pages), reading)


def pages_of(data: bytes) -> int:
    """How many pages a TIFF has; smaller copies of a page and masks are none."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return sum(not int(page.subfiletype) & 5 for page in file.pages)


def is_plain(page: TiffPage, *, geographic: bool) -> bool:
    """Whether a page is a picture of 8 bits or fewer, for people, that Pillow reads rightly."""
    bits = page.bitspersample
    if bits > 8 or page.sampleformat not in (1, 4) or page.photometric not in _PLAIN:
        return False
    extra = len(page.extrasamples)
    if extra > 1 or (extra and page.extrasamples[0] not in _ALPHA):
        return False
    colours = {5: 4, 2: 3, 6: 3, 8: 3}.get(int(page.photometric), 1)
    return page.samplesperpixel == colours + extra and not (geographic and extra)


def _select_pages(pages: list[TiffPage], selection: str | int) -> list[TiffPage]:
    if isinstance(selection, int):
        if selection > len(pages):
            raise UnreadableImage(f"it has {len(pages):,} pages, and `pages` asks for {selection}")
        return [pages[selection - 1]]
    shapes = sorted({(p.imagelength, p.imagewidth, p.dtype.name) for p in pages})
    if len(shapes) > 1:
        page_kinds = "; ".join(f"{w} x {h} of {kind}" for h, w, kind in shapes)
        raise UnreadableImage(
            f"its {len(pages):,} pages differ ({page_kinds}), so they are no bands of one picture; "
            "name one by `pages`"
        )
    return pages


def _bands(page: TiffPage) -> int:
    return int(page.samplesperpixel)


def _values(data: bytes, page: TiffPage, number: int) -> Values:
    """The bands of a page, (bands, rows, columns)."""
    if page.photometric == 3:  # a palette: its numbers are no values
        raise UnreadableImage("a page of palette colours is no band; save it as RGB or grey")
    try:
        pixels = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        return _decompressed(data, page, number)
    return _bands_first(pixels, page)


def _bands_first(pixels: Values, page: TiffPage) -> Values:
    """(bands, rows, columns) of what was decoded, whose axes the file names."""
    axes = page.axes
    if pixels.ndim != len(axes) or set(axes) - set("YXS"):
        raise UnreadableImage(
            f"its axes are {axes}, {pixels.shape}; rows, columns and bands are read"
        )
    if "S" not in axes:
        return np.asarray(pixels)[None]
    return np.asarray(np.moveaxis(pixels, axes.index("S"), 0))


def _decompressed(data: bytes, page: TiffPage, number: int) -> Values:
    """A page of a compression that tifffile leaves to others: Pillow, where it keeps the values."""
    pixels = _by_pillow(data, page, number)
    if pixels is not None:
        return pixels
    compression = getattr(page.compression, "name", str(page.compression))
    rasterio = needed("rasterio", f"a TIFF with {compression} compression")
    with rasterio.MemoryFile(data) as memory, memory.open(driver="GTiff") as file:
        if number == 0:
            return np.asarray(file.read())
        with rasterio.open(f"GTIFF_DIR:{number + 1}:{memory.name}") as page_file:
            return np.asarray(page_file.read())


def _by_pillow(data: bytes, page: TiffPage, number: int) -> Values | None:
    """The bands of a page that Pillow decompresses and leaves as they are; None for any other."""
    try:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
            image.seek(number)
            grey = page.samplesperpixel == 1 and image.mode in ("L", "I;16", "I", "F")
            same_bands = {"RGB": 3, "RGBA": 4}.get(image.mode, 0) == page.samplesperpixel
            if not grey and not (same_bands and page.bitspersample == 8 and page.photometric == 2):
                return None
            pixels = np.asarray(image).astype(page.dtype, copy=False)
    except UnidentifiedImageError:
        return None
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def _raster(values: Values, page: TiffPage, kind: str, pages: int, reading: Reading) -> Raster:
    if page.photometric == 0:  # white is zero
        unsigned = values.dtype.kind == "u"
        largest = int(np.iinfo(values.dtype).max) if unsigned else 0
        values = largest - values if unsigned else -values
    tag = page.tags.get(_ORIENTATION)
    values = upright(values, int(tag.value) if tag is not None else 1)
    nodata = reading.nodata if reading.nodata is not None else _nodata(page)
    valid = where_valid(values, nodata, declared=reading.nodata is not None)
    colours = page.photometric == 2 and len(values) >= 3
    return Raster(values, kind, valid, pages=pages, colours=colours)


def _nodata(page: TiffPage) -> float | None:
    tag = page.tags.get(_NODATA)
    try:
        return None if tag is None else float(str(tag.value).strip("\0 "))
    except ValueError:
        return None
