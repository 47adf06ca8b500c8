"""A picture as its file holds it: bands of values, and what the file says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.files.unreadable import NOT_FINITE, UnreadableImage

Values = NDArray[Any]
MOST_BANDS: Final = 1024
_ORIENTED: Final = {
    2: lambda v: v[..., ::-1],
    3: lambda v: v[..., ::-1, ::-1],
    4: lambda v: v[..., ::-1, :],
    5: lambda v: v.swapaxes(-1, -2),
    6: lambda v: v.swapaxes(-1, -2)[..., ::-1],
    7: lambda v: v.swapaxes(-1, -2)[..., ::-1, ::-1],
    8: lambda v: v.swapaxes(-1, -2)[..., ::-1, :],
}
"""What makes a picture upright, by its EXIF orientation."""


@dataclass(frozen=True)
class Raster:
    """One picture.

    Attributes:
        values: (bands, rows, columns), as stored; of DICOM after rescaling, large is bright.
        kind: format of the file, such as `GeoTIFF`.
        valid: False where there is no data, (rows, columns); None where there is data everywhere.
        alpha: 0 to 1, (rows, columns), where parts are transparent; None for none.
        full: lowest and highest value that can occur; None where only the type limits them.
        window: (rows, columns), 0 to 1, as the window of a DICOM file shows it.
        windowed: what that window is, for people.
        shown: (rows, columns, 3) uint8 where the file holds its own rendering.
        pages: pages or frames in the file.
        colours: whether three bands are known to be red, green and blue.
        rendered: whether the values are a rendering, not measurements.
    """

    values: Values
    kind: str
    valid: NDArray[np.bool_] | None = None
    alpha: NDArray[np.float32] | None = None
    full: tuple[float, float] | None = None
    window: NDArray[np.float32] | None = None
    windowed: str = ""
    shown: NDArray[np.uint8] | None = None
    pages: int = 1
    colours: bool = False
    rendered: bool = False

    @property
    def bands(self) -> int:
        """How many bands it has."""
        return int(self.values.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return int(self.values.shape[2]), int(self.values.shape[1])

    @property
    def told(self) -> str:
        """Bands and type, for people."""
        bands = "1 band" if self.bands == 1 else f"{self.bands:,} bands"
        return f"{bands} of {self.values.dtype.name}"

    @property
    def mode(self) -> str:
        """What stands for Pillow's mode."""
        return f"{self.values.dtype.name}x{self.bands}"


def check_bands(asked: Sequence[int], bands: int, what: str) -> None:
    """Refuse bands that a picture has not.

    Raises:
        UnreadableImage: naming the first.
    """
    for band in asked:
        if not 1 <= band <= bands:
            count_text = "1 band" if bands == 1 else f"{bands:,} bands"
            raise UnreadableImage(f"it has {count_text}, and {what} asks for band {band}")


def check_size(width: int, height: int, bands: int, max_pixels: int) -> None:
    """Refuse pictures that are too large, before they are decoded.

    Raises:
        UnreadableImage: naming size and limit.
    """
    if width < 1 or height < 1 or bands < 1:
        raise UnreadableImage(f"it holds nothing: {width:,} x {height:,} pixels, {bands:,} bands")
    if width * height > max_pixels:
        raise UnreadableImage(f"too large: {width:,} x {height:,} pixels, more than {max_pixels:,}")
    if bands > MOST_BANDS or width * height * bands > 16 * max_pixels:
        raise UnreadableImage(f"too large: {bands:,} bands of {width:,} x {height:,} pixels")


def upright(values: Values, orientation: int) -> Values:
    """Values (…, rows, columns) turned by their EXIF orientation."""
    turn = _ORIENTED.get(orientation)
    return np.ascontiguousarray(turn(values)) if turn is not None else values


def where_valid(
    values: Values, nodata: float | None, *, declared: bool
) -> NDArray[np.bool_] | None:
    """Where every band has data, (rows, columns); None for everywhere.

    Args:
        values: (bands, rows, columns).
        nodata: the value that means none; NaN and infinity then mean it, too.
        declared: whether the study says so: then one band without data is enough to leave a pixel
            out; by what a file says, all have to be.

    Raises:
        UnreadableImage: for NaN and infinity that nothing says to mean no data.
    """
    floating = values.dtype.kind == "f"
    finite = np.isfinite(values) if floating else None
    if nodata is None:
        if finite is not None and not finite.all():
            raise UnreadableImage(NOT_FINITE)
        return None
    missing = np.zeros(values.shape, bool) if finite is None else ~finite
    if np.isfinite(nodata):
        missing |= values == nodata
    invalid = np.asarray(missing.any(axis=0) if declared or floating else missing.all(axis=0))
    return None if not invalid.any() else np.logical_not(invalid)
