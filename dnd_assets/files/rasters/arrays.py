"""Arrays of numpy, `.npy` and `.npz`, without pickle; and pictures kept with their rendering."""

from __future__ import annotations

import io
import zipfile
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.files.rasters.raster import Raster, Values, check_size, where_valid
from dnd_assets.files.rasters.reading import Reading
from dnd_assets.files.unreadable import UnreadableImage

NPY: Final = b"\x93NUMPY"
ZIP: Final = b"PK\x03\x04"
_VALUES, _SHOWN, _VALID, _FULL = "dnd_values", "dnd_shown", "dnd_valid", "dnd_full"
_FEW: Final = 64
"""An axis of at most so many entries may be that of the bands."""


def read_array(data: bytes, max_pixels: int, reading: Reading) -> Raster:
    """The array of a `.npy` file, or one of a `.npz` file, as a picture.

    Raises:
        UnreadableImage: when it holds objects, several arrays of which none is named, or axes of
            which nothing says what they are.
    """
    if data.startswith(NPY):
        return _raster(_checked(io.BytesIO(data), max_pixels), "NPY", max_pixels, reading)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        names = [
            member_name.removesuffix(".npy")
            for member_name in file.namelist()
            if member_name.endswith(".npy")
        ]
        if _VALUES in names and _SHOWN in names:
            return _both_views(file, max_pixels)
        if not names:
            raise UnreadableImage("a ZIP file without arrays of numpy")
        name = reading.array if reading.array is not None else names[0]
        if name not in names or (reading.array is None and len(names) > 1):
            hint = f", none is {name!r}" if reading.array is not None else ""
            raise UnreadableImage(
                f"it holds the arrays {', '.join(names)}{hint}; name the picture's by `array` "
                "under [probing_set]"
            )
        with file.open(f"{name}.npy") as member:
            return _raster(_checked(member, max_pixels), "NPZ", max_pixels, reading)


def both_views(raster: Raster, shown: NDArray[np.uint8]) -> bytes:
    """A file with a picture's values and its rendering; equal pictures give equal bytes.

    Args:
        raster: the picture.
        shown: (rows, columns, 3).
    """
    arrays: dict[str, Any] = {_VALUES: raster.values, _SHOWN: shown}
    if raster.valid is not None:
        arrays[_VALID] = raster.valid
    if raster.full is not None:
        arrays[_FULL] = np.array(raster.full, np.float64)
    buffer = io.BytesIO()
    # Members are dated 1980 by numpy, so that the bytes are those of the content.
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _both_views(file: zipfile.ZipFile, max_pixels: int) -> Raster:
    arrays = {}
    for name in (_VALUES, _SHOWN, _VALID, _FULL):
        if f"{name}.npy" in file.namelist():
            with file.open(f"{name}.npy") as member:
                arrays[name] = _checked(member, max_pixels)
    full = arrays.get(_FULL)
    return Raster(
        arrays[_VALUES],
        "NPZ",
        arrays.get(_VALID),
        full=None if full is None else (float(full[0]), float(full[1])),
        shown=arrays[_SHOWN],
    )


def _checked(file: IO[bytes], max_pixels: int) -> Values:
    """An array whose size and type are checked before its data is read."""
    major, _ = version = np.lib.format.read_magic(file)
    reader = {
        1: np.lib.format.read_array_header_1_0,
        2: np.lib.format.read_array_header_2_0,
    }.get(major)
    if reader is None:
        raise UnreadableImage(f"version {version[0]}.{version[1]} of NPY is not read")
    shape, by_column, dtype = reader(file)
    if dtype.hasobject:
        raise UnreadableImage("it holds Python objects, which are not loaded; save plain numbers")
    if dtype.kind not in "buif":
        raise UnreadableImage(f"it holds {dtype}; whole numbers and floats are read")
    count = int(np.prod(shape, dtype=np.int64)) if all(side < 2**31 for side in shape) else 2**62
    if count > 16 * max_pixels:
        raise UnreadableImage(f"too large: an array of shape {shape}")
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise UnreadableImage(f"truncated: {len(data):,} bytes for an array {shape} of {dtype}")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if by_column else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _raster(array: Values, kind: str, max_pixels: int, reading: Reading) -> Raster:
    values = _bands_first(array, reading)
    check_size(values.shape[2], values.shape[1], values.shape[0], max_pixels)
    full = None
    if values.dtype == bool:
        values, full = values.astype(np.uint8), (0.0, 1.0)
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    valid = where_valid(values, reading.nodata, declared=True)
    return Raster(values, kind, valid, full=full, colours=False)


def _bands_first(array: Values, reading: Reading) -> Values:
    """(bands, rows, columns) of an array of two or three axes."""
    if array.ndim == 2:
        return array[None]
    if array.ndim != 3:
        raise UnreadableImage(
            f"an array of shape {array.shape}; a picture has two axes, or three with its bands. "
            "Save one picture a file"
        )
    axes = reading.axes or _guessed_axes(array.shape)
    return array if axes == "chw" else np.moveaxis(array, 2, 0)


def _guessed_axes(shape: tuple[int, ...]) -> str:
    """Which axis is that of the bands, where only one can be.

    Raises:
        UnreadableImage: where both or none can.
    """
    first, rows, last = shape
    as_first = first <= _FEW and first < min(rows, last)
    as_last = last <= _FEW and last < min(first, rows)
    if as_first == as_last:
        raise UnreadableImage(
            f"an array of shape {shape}: nothing tells whether its bands come first or last; write "
            'axes = "hwc" or "chw" under [probing_set]'
        )
    return "chw" if as_first else "hwc"
