"""Which files are more than 8-bit RGB, and how each is read; known by their bytes alone."""

from __future__ import annotations

from typing import Final

from dnd_assets.files.rasters import deep, tiff
from dnd_assets.files.rasters.arrays import NPY, ZIP, read_array
from dnd_assets.files.rasters.dicom import is_dicom, read_dicom
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.files.rasters.reading import Reading

SUFFIXES: Final = frozenset({".npy", ".npz"})
"""Suffixes of pictures that Pillow knows nothing of, and that are read without further packages."""
BY_PACKAGE: Final = {
    ".dcm": "pydicom",
    ".dicom": "pydicom",
    ".img": "rasterio",
    ".ntf": "rasterio",
    ".nitf": "rasterio",
}
"""Suffixes of pictures that an extra of this package reads, with the package that it installs."""
_GDAL: Final = ((b"EHFA_HEADER_TAG", "HFA", "ERDAS Imagine"), (b"NITF", "NITF", "NITF"))


def read_raster(data: bytes, max_pixels: int, reading: Reading) -> Raster | None:
    """The bands of a picture; None for one that is left to Pillow.

    Raises:
        UnreadableImage: when it cannot be read, or the study asks for what it does not hold.
        Exception: anything that decoders raise on damaged data.
    """
    if data.startswith(tiff.STARTS):
        return tiff.read_tiff(data, max_pixels, reading)
    if deep.is_deep_png(data):
        return deep.read_deep_png(data, max_pixels, reading)
    if data.startswith((NPY, ZIP)):
        return read_array(data, max_pixels, reading)
    if deep.is_deep_jpeg2000(data):
        return deep.read_by_gdal(data, "JP2OpenJPEG", "JPEG 2000", max_pixels, reading)
    for start, driver, kind in _GDAL:
        if data.startswith(start):
            return deep.read_by_gdal(data, driver, kind, max_pixels, reading)
    if is_dicom(data):
        return read_dicom(data, max_pixels, reading)
    return deep.read_deep_pnm(data, max_pixels, reading)
