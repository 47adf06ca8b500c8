"""Images from untrusted bytes to plain RGB, and back to bytes."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from PIL import Image, ImageOps, UnidentifiedImageError

from dnd_assets.files.atomic import sha256
from dnd_assets.files.rasters.deep import of_pillow
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.files.rasters.raster_formats import read_raster
from dnd_assets.files.rasters.reading import AS_FILES_SAY, Reading
from dnd_assets.files.rasters.rendering import rendered
from dnd_assets.files.unreadable import UnreadableImage

__all__ = ["FORMATS", "UnreadableImage", "as_raster", "decode", "encode_png", "looked_at", "strip"]

FORMATS: Final = (
    "JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "QOI",
    "PCX", "SGI", "ICO", "TGA",
)  # fmt: skip
"""Formats that are read, by what a file holds. Others, such as EPS, start programs or have rarely
used decoders. TGA comes last: it has no mark by which it is known."""

_WIDEST: Final = 4
# `catch_warnings` changes the process, so that two threads must not be inside it at once.
_silencing = threading.Lock()


def decode(
    data: bytes, max_pixels: int = 89_000_000, reading: Reading = AS_FILES_SAY
) -> Image.Image:
    """The picture in `data` as people see it, upright, RGB, 8 bits a channel.

    The size is read from the header and checked before anything is decoded. Of an animation the
    first frame is taken; EXIF rotation is applied; transparent parts are laid over white. More than
    8 bits, floats, further bands: see `dnd_assets.files.rasters.rendering`.

    Args:
        data: a file in one of `FORMATS`, or of `dnd_assets.files.rasters.raster_formats`.
        max_pixels: largest width times height. Above 178,956,970 Pillow's own limit holds.
        reading: what the study says of its files.

    Raises:
        UnreadableImage: for an empty, truncated, damaged or too large file, or another format.
    """
    return looked_at(data, max_pixels, reading)[0]


def as_raster(data: bytes, max_pixels: int = 89_000_000, reading: Reading = AS_FILES_SAY) -> Raster:
    """The picture in `data` as it was measured: its bands and values.

    Args:
        data: as for `decode`.
        max_pixels: as for `decode`.
        reading: what the study says of its files.

    Raises:
        UnreadableImage: as `decode`.
    """
    return _with_one_error(data, lambda: _as_raster(data, max_pixels, reading))


def looked_at(
    data: bytes, max_pixels: int = 89_000_000, reading: Reading = AS_FILES_SAY
) -> tuple[Image.Image, Raster | None]:
    """A picture as `decode` gives it, and its bands where Pillow alone would not give it rightly.

    Raises:
        UnreadableImage: as `decode`.
    """

    def look() -> tuple[Image.Image, Raster | None]:
        picture = _raster_or_image(data, max_pixels, reading)
        if isinstance(picture, Raster):
            return Image.fromarray(rendered(picture, reading).pixels), picture
        return _upright_rgb(picture), None

    return _with_one_error(data, look)


def _upright_rgb(image: Image.Image) -> Image.Image:
    """A picture of Pillow upright, and RGB."""
    return _to_rgb(_upright(image))


def _as_raster(data: bytes, max_pixels: int, reading: Reading) -> Raster:
    picture = _raster_or_image(data, max_pixels, reading)
    if isinstance(picture, Raster):
        return picture
    return of_pillow(_upright(picture), picture.format or "", reading)


def _raster_or_image(data: bytes, max_pixels: int, reading: Reading) -> Raster | Image.Image:
    """The bands of a picture that is more than 8-bit RGB, else the picture of Pillow as stored."""
    raster = read_raster(data, max_pixels, reading)
    if raster is not None:
        return raster
    image = _open(data)
    _check_size(image, max_pixels)
    if image.format == "PNG":
        # Decoding skips checksums: damage would go unnoticed. It also closes the image.
        image.verify()
        image = _open(data)
    image.load()
    if image.mode == "F" or image.mode.startswith("I") or reading.of_everything:
        return of_pillow(_upright(image), image.format or "", reading)
    return image


_Result = TypeVar("_Result")


def _with_one_error(data: bytes, read: Callable[[], _Result]) -> _Result:
    """What `read` gives; all that decoders raise on damaged data becomes `UnreadableImage`."""
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        return read()
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        formats = ", ".join(FORMATS)
        reason = f"no image of a known format ({formats}), or its header is damaged"
        raise UnreadableImage(reason) from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"too large: {error}") from error
    except Exception as error:  # decoders raise anything on damaged data; all of it means the same
        raise UnreadableImage(f"damaged: {type(error).__name__}: {error}"[:300]) from error


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 of a picture's size and RGB pixels: what it shows, however it was stored."""
    return sha256(f"{image.size}".encode() + image.convert("RGB").tobytes())


def encode_png(image: Image.Image) -> bytes:
    """The picture as an RGB PNG without metadata; equal pixels give equal bytes."""
    rgb = image.convert("RGB")
    rgb.info = {}
    buffer = io.BytesIO()
    rgb.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def strip(images: Sequence[Image.Image], height: int = 96, gap: int = 4) -> Image.Image:
    """The pictures side by side on white, RGB, each in its proportions.

    Args:
        images: at least one picture, from left to right.
        height: of the strip in pixels. A picture more than four times as wide as high is made
            smaller, so that it is no wider than four heights.
        gap: white pixels between two pictures.

    Raises:
        ValueError: when there is no picture.
    """
    if not images:
        raise ValueError("a strip needs at least one picture")
    thumbnails = [fitted(image, height) for image in images]
    width = sum(image.width for image in thumbnails) + gap * (len(thumbnails) - 1)
    row = Image.new("RGB", (width, height), "white")
    left = 0
    for image in thumbnails:
        row.paste(image, (left, (height - image.height) // 2))
        left += image.width + gap
    return row


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings on size and metadata: what matters of them ends up as `UnreadableImage`."""
    with _silencing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(data: bytes) -> Image.Image:
    with _quiet():
        return Image.open(io.BytesIO(data), formats=FORMATS)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise UnreadableImage(
            f"too large: {image.width:,} x {image.height:,} pixels, more than {max_pixels:,}"
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        with _quiet():
            return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, OSError, LookupError, TypeError, ArithmeticError):
        # Broken EXIF data is common and says nothing about the pixels.
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    rgb = image.convert("RGB")
    rgb.info = {}
    return rgb


def fitted(image: Image.Image, height: int) -> Image.Image:
    """A picture as it stands in a `strip`; one that was fitted before stays what it is."""
    scale = min(height / image.height, _WIDEST * height / image.width)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
