"""By which suffixes and first bytes pictures are known."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from PIL import Image

from dnd_assets.files.images import FORMATS
from dnd_assets.files.rasters.dicom import is_dicom
from dnd_assets.files.rasters.extras import installed
from dnd_assets.files.rasters.raster_formats import BY_PACKAGE, SUFFIXES

UNDECODABLE: Final[Mapping[str, str]] = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "pillow-heif"),
    ".jxl": "pillow-jxl-plugin",
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2"), "rawpy"),
    **dict.fromkeys((".svg", ".svgz"), "cairosvg"),
    ".exr": "OpenEXR",
    ".hdr": "imageio",
}
"""Suffixes of images that are not decoded here, with the Python package that reads them."""
_STARTS: Final = (
    b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",
    b"\x93NUMPY", b"EHFA_HEADER_TAG", b"NITF",
    b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51", b"qoif", *(b"P%d" % n for n in range(1, 7)),
)  # fmt: skip
BRANDS: Final[Mapping[bytes, str]] = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1"), ".heic"),
}
_SNIFFED: Final = 32
SNIFFED_OF_DICOM: Final = 132
"""So many first bytes tell what a file is."""


@cache
def readable_suffixes() -> frozenset[str]:
    """Suffixes of the formats that are decoded, lower case: those that Pillow registers, others."""
    Image.init()
    registered = Image.registered_extensions()
    # MPO is JPEG with extras, and opened as JPEG.
    of_pillow = frozenset(
        suffix for suffix, kind in registered.items() if kind in (*FORMATS, "MPO")
    )
    return of_pillow | SUFFIXES | frozenset(suffix for suffix in BY_PACKAGE if not lacking(suffix))


@cache
def suffixes_of_pictures() -> frozenset[str]:
    """`readable_suffixes`, and suffixes of pictures that are set aside by name."""
    return readable_suffixes() | frozenset(UNDECODABLE) | frozenset(BY_PACKAGE)


def lacking(suffix: str) -> bool:
    """Whether files of a suffix are read by a package that is not installed."""
    return suffix in BY_PACKAGE and not installed(BY_PACKAGE[suffix])


def starts_as_picture(data: bytes) -> bool:
    """Whether bytes begin as those of a picture, of one that is not decoded here, too."""
    start = data[:_SNIFFED]
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return start.startswith(_STARTS) or webp or start[4:8] == b"ftyp" or is_dicom(data)
