"""PNG, PPM and others of more than 8 bits, which Pillow cuts down to 8 where they have colours."""

from __future__ import annotations

import io
import re
from typing import Final

import numpy as np
from PIL import Image

from dnd_assets.files.rasters.extras import needed
from dnd_assets.files.rasters.raster import Raster, Values, check_size, where_valid
from dnd_assets.files.rasters.reading import Reading
from dnd_assets.files.unreadable import UnreadableImage

PNG: Final = b"\x89PNG\r\n\x1a\n"
JPEG2000: Final = (b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")
_PNM: Final = re.compile(rb"P([56])(?:\s+|#[^\n]*\n)+(\d+)\s+(\d+)\s+(\d+)\s", re.ASCII)
_COLOURED: Final = 3


def is_deep_png(data: bytes) -> bool:
    """Whether a PNG has 16 bits a channel."""
    return data.startswith(PNG) and len(data) > 25 and data[24] == 16


def read_deep_png(data: bytes, max_pixels: int, reading: Reading) -> Raster:
    """A PNG of 16 bits: grey or RGB, with alpha or without.

    Raises:
        UnreadableImage: when it is too large.
    """
    import torch
    from torchvision.io import ImageReadMode, decode_png

    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        check_size(*image.size, len(image.getbands()), max_pixels)
        image.verify()  # decoding skips checksums: damage would go unnoticed
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    values = decode_png(encoded, ImageReadMode.UNCHANGED).numpy()
    alpha = None
    if len(values) in (2, 4) and not reading.bands:
        alpha = (values[-1] / 65_535).astype(np.float32)
        values = values[:-1]
    valid = where_valid(values, reading.nodata, declared=True)
    return Raster(values, "PNG", valid, alpha, colours=len(values) >= _COLOURED)


def read_deep_pnm(data: bytes, max_pixels: int, reading: Reading) -> Raster | None:
    """A PGM or PPM of more than 8 bits; None for any other file."""
    match = _PNM.match(data)
    if match is None or int(match[4]) < 256:
        return None
    width, height, largest = (int(match[n]) for n in (2, 3, 4))
    bands = 3 if match[1] == b"6" else 1
    check_size(width, height, bands, max_pixels)
    count = width * height * bands
    if len(data) - match.end() < 2 * count:
        raise UnreadableImage("truncated: it has fewer pixels than it says")
    pixels = np.frombuffer(data, ">u2", count, match.end()).astype(np.uint16)
    values = np.moveaxis(pixels.reshape(height, width, bands), 2, 0)
    valid = where_valid(values, reading.nodata, declared=True)
    return Raster(values, "PPM", valid, full=(0.0, float(largest)), colours=bands == _COLOURED)


def is_deep_jpeg2000(data: bytes) -> bool:
    """Whether a JPEG 2000 has several bands of more than 8 bits, or more than Pillow reads."""
    if not data.startswith(JPEG2000):
        return False
    start = data.find(b"\xff\x51")
    bands = int.from_bytes(data[start + 38 : start + 40], "big")
    bits = [
        (data[start + 40 + 3 * n] & 0x7F) + 1
        for n in range(bands)
        if start + 40 + 3 * n < len(data)
    ]
    return bands > 4 or (bands > 1 and max(bits, default=8) > 8)


def read_by_gdal(data: bytes, driver: str, kind: str, max_pixels: int, reading: Reading) -> Raster:
    """A file of a format that rasterio alone reads.

    Raises:
        UnreadableImage: when rasterio is not installed, or the file is too large.
    """
    rasterio = needed("rasterio", kind)
    with rasterio.MemoryFile(data) as memory, memory.open(driver=driver) as file:
        check_size(file.width, file.height, file.count, max_pixels)
        values = np.asarray(file.read())
        nodata = reading.nodata if reading.nodata is not None else file.nodata
        if values.dtype.kind not in "uif":
            raise UnreadableImage(f"it holds {values.dtype}; whole numbers and floats are read")
    valid = where_valid(values, nodata, declared=reading.nodata is not None)
    return Raster(values, kind, valid)


def of_pillow(image: Image.Image, kind: str, reading: Reading) -> Raster:
    """An upright picture as Pillow opened it, its bands as they are."""
    target_modes = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB"}
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode in target_modes:
        image = image.convert(target_modes[image.mode])
    elif image.mode in ("HSV", "RGBX", "RGBa", "La"):
        image = image.convert("RGBA" if image.mode in ("RGBa", "La") else "RGB")
    pixels: Values = np.asarray(image)
    values = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    alpha = None
    if image.mode in ("RGBA", "LA") and not reading.bands:
        alpha = (values[-1] / 255).astype(np.float32)
        values = values[:-1]
    valid = where_valid(values, reading.nodata, declared=True)
    return Raster(np.ascontiguousarray(values), kind, valid, alpha, colours=len(values) >= 3)
