"""Images from untrusted bytes to plain RGB, and back to bytes."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dnd_assets.errors import DndError

FORMATS: Final = (
    "JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "QOI",
    "PCX", "SGI", "ICO", "TGA",
)  # fmt: skip
"""Formats that are read, by what a file holds. Others, such as EPS, start programs or have rarely
used decoders. TGA comes last: it has no mark by which it is known."""

_WIDEST: Final = 4
# `catch_warnings` changes the process, so that two threads must not be inside it at once.
_silencing = threading.Lock()


class UnreadableImage(DndError):  # noqa: N818 (named after what it says of the file)
    """The bytes are no image that can be used; `reason` says why, for the quarantine list."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"unreadable image: {reason}")
        self.reason = reason


def decode(data: bytes, max_pixels: int = 89_000_000) -> Image.Image:
    """The picture in `data`, upright, RGB, 8 bits a channel.

    The size is read from the header and checked before anything is decoded. Of an animation the
    first frame is taken; EXIF rotation is applied; transparent parts are laid over white; 16 bits
    are scaled to 8 (65,535 becomes 255); integers beyond 16 bits and floats are scaled from their
    minimum and maximum.

    Args:
        data: a file in one of `FORMATS`.
        max_pixels: largest width times height. Above 178,956,970 Pillow's own limit holds.

    Raises:
        UnreadableImage: for an empty, truncated, damaged or too large file, or another format.
    """
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        image = _open(data)
        _check_size(image, max_pixels)
        if image.format == "PNG":
            # Decoding skips checksums: damage would go unnoticed. It also closes the image.
            image.verify()
            image = _open(data)
        image.load()
        return _to_rgb(_upright(image))
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        reason = f"no image of a known format ({known}), or its header is damaged"
        raise UnreadableImage(reason) from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"too large: {error}") from error
    except Exception as error:  # decoders raise anything on damaged data; all of it means the same
        raise UnreadableImage(f"damaged: {type(error).__name__}: {error}"[:300]) from error


def encode_png(image: Image.Image) -> bytes:
    """The picture as an RGB PNG without metadata; equal pixels give equal bytes."""
    plain = image.convert("RGB")
    plain.info = {}
    buffer = io.BytesIO()
    plain.save(buffer, format="PNG", compress_level=6)
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
    small = [_fitted(image, height) for image in images]
    width = sum(image.width for image in small) + gap * (len(small) - 1)
    row = Image.new("RGB", (width, height), "white")
    left = 0
    for image in small:
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
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    plain = image.convert("RGB")
    plain.info = {}
    return plain


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Grey values of more than 8 bits as uint8."""
    levels = values.astype(np.float64)
    if not np.isfinite(levels).all():
        raise UnreadableImage("it holds NaN or infinite values")
    low, high = 0.0, 65_535.0
    if values.dtype.kind == "f" or levels.min() < low or levels.max() > high:
        low, high = float(levels.min()), float(levels.max())
    return np.rint((levels - low) / max(high - low, 1e-12) * 255).astype(np.uint8)


def _fitted(image: Image.Image, height: int) -> Image.Image:
    scale = min(height / image.height, _WIDEST * height / image.width)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
