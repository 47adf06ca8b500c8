"""DICOM: values after the modality's rescaling, and the picture that its window shows.

The order of steps is that of the standard (PS3.4, N.2): stored values, modality (rescale slope and
intercept, or a table), window or table of values of interest, and, for MONOCHROME1, inversion.
"""

from __future__ import annotations

import io
import struct
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.files.rasters.extras import needed
from dnd_assets.files.rasters.raster import Raster, Values, check_size, where_valid
from dnd_assets.files.rasters.reading import Reading
from dnd_assets.files.unreadable import UnreadableImage

if TYPE_CHECKING:
    from pydicom import Dataset

_PREAMBLE: Final = 128
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_FIRST_GROUPS: Final = (0x0002, 0x0008)


def is_dicom(data: bytes) -> bool:
    """Whether bytes begin as DICOM does; old files have no preamble, and start with an element."""
    if data[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return True
    if len(data) < 8:
        return False
    group, element = struct.unpack("<HH", data[:4])
    typed = data[4:6].isalpha() and data[4:6].isupper()
    length = struct.unpack("<I", data[4:8])[0]
    plausible = group in _FIRST_GROUPS and element < 0x0100 and element % 0x10 in (0, 1, 5, 8)
    return plausible and (typed or length <= 64)


def read_dicom(data: bytes, max_pixels: int, reading: Reading) -> Raster:
    """The picture of a DICOM file.

    Raises:
        UnreadableImage: when it holds no picture, is too large, or needs another package.
    """
    pydicom = needed("pydicom", "DICOM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break the standard are common and harmless
        file = pydicom.dcmread(io.BytesIO(data), force=True)
        if "PixelData" not in file and "FloatPixelData" not in file:
            content = file.get("Modality") or file.get("SOPClassUID") or "no image"
            raise UnreadableImage(f"a DICOM file without pixels ({content})")
        frames = int(file.get("NumberOfFrames") or 1)
        samples = int(file.get("SamplesPerPixel", 1))
        band_count = samples * (frames if reading.pages == "bands" else 1)
        check_size(int(file.Columns), int(file.Rows), band_count, max_pixels)
        photometric = _completed(pydicom, file)
        _from_groups(file, frames, reading)
        stored = _stored(file, frames, reading)
        if photometric not in _GREY:
            return _colours(pydicom, file, stored, photometric, frames)
        return _grey(file, stored, frames, reading, inverted=photometric == "MONOCHROME1")


def _completed(pydicom: ModuleType, file: Dataset) -> str:
    """What old files leave out, by what the standard takes it for; the kind of colours."""
    if not hasattr(file, "file_meta"):
        file.file_meta = pydicom.dataset.FileMetaDataset()
    if not file.file_meta.get("TransferSyntaxUID"):
        implicit, little = file.original_encoding
        uids = pydicom.uid
        explicit = uids.ExplicitVRLittleEndian if little else uids.ExplicitVRBigEndian
        file.file_meta.TransferSyntaxUID = uids.ImplicitVRLittleEndian if implicit else explicit
    for name in ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"):
        if name in file and file.get(name) in (None, ""):
            delattr(file, name)
    if file.get("PhotometricInterpretation") in (None, ""):
        file.PhotometricInterpretation = "MONOCHROME2"
    return str(file.PhotometricInterpretation)


def _from_groups(file: Dataset, frames: int, reading: Reading) -> None:
    """Rescaling and window of files that tell them for frames (PS3.3, C.7.6.16.2.9 and .10)."""
    shared = file.get("SharedFunctionalGroupsSequence") or []
    per_frame = list(file.get("PerFrameFunctionalGroupsSequence") or [])[:frames]
    number = reading.pages if isinstance(reading.pages, int) else 1
    rescalings = (
        [_group(group, *_RESCALING) for group in per_frame] if reading.pages == "bands" else []
    )
    if any(rescaling != rescalings[0] for rescaling in rescalings):
        raise UnreadableImage(
            "its frames are rescaled each in its own way, so that they are no bands of one "
            "picture; name one by `pages`"
        )
    chosen_frame = per_frame[number - 1 : number] if number <= len(per_frame) else []
    for sequence, names in (_RESCALING, _WINDOWING):
        for group in (*chosen_frame, *shared):
            values = _group(group, sequence, names)
            if values:
                for name, value in values.items():
                    setattr(file, name, value)
                break


_RESCALING: Final = ("PixelValueTransformationSequence", ("RescaleSlope", "RescaleIntercept"))
_WINDOWING: Final = ("FrameVOILUTSequence", ("WindowCenter", "WindowWidth"))


def _group(group: Dataset, sequence: str, names: tuple[str, ...]) -> dict[str, object]:
    """What a functional group says of one thing; empty for nothing."""
    items = group.get(sequence)
    values = {name: items[0].get(name) for name in names} if items else {}
    return values if all(value not in (None, "") for value in values.values()) else {}


def _stored(file: object, frames: int, reading: Reading) -> Values:
    """Stored values of the chosen frames, (frames, rows, columns[, 3])."""
    from pydicom.pixels import pixel_array

    if isinstance(reading.pages, int) and reading.pages > frames:
        raise UnreadableImage(f"it has {frames:,} frames, and `pages` asks for {reading.pages}")
    number = reading.pages if isinstance(reading.pages, int) else 1
    index = None if reading.pages == "bands" else number - 1
    try:
        pixels = pixel_array(file, index=index if frames > 1 else None)
    except (RuntimeError, NotImplementedError, ImportError, AttributeError) as error:
        syntax = file.file_meta.get("TransferSyntaxUID") if hasattr(file, "file_meta") else None
        syntax_name = getattr(syntax, "name", syntax)
        raise UnreadableImage(
            f"DICOM with pixels as {syntax_name}, which pydicom does not decode here: "
            f"{str(error).splitlines()[0]}"[:300]
        ) from error
    return np.asarray(pixels if frames > 1 and index is None else pixels[None])


def _colours(
    pydicom: ModuleType, file: Dataset, stored: Values, photometric: str, frames: int
) -> Raster:
    """RGB, YBR (which is decoded to RGB) and palettes."""
    if photometric == "PALETTE COLOR":
        stored = pydicom.pixels.apply_color_lut(stored[0], file)[None]
    if stored.ndim != 4 or stored.shape[3] not in (3, 4):
        raise UnreadableImage(f"DICOM of {photometric}, {stored.shape}, is not read")
    if len(stored) > 1:
        raise UnreadableImage("DICOM with colours in several frames; name one by `pages`")
    values = np.moveaxis(stored[0][..., :3], 2, 0)
    high = float(2 ** int(file.get("BitsStored", 8)) - 1)
    if values.dtype.itemsize > 1:  # a palette of 16 bits
        high = float(np.iinfo(values.dtype).max) if photometric == "PALETTE COLOR" else high
    return Raster(values, "DICOM", full=(0.0, high), pages=frames, colours=True)


def _grey(file: object, stored: Values, frames: int, reading: Reading, *, inverted: bool) -> Raster:
    """MONOCHROME1 and MONOCHROME2; large values of the result are bright."""
    from pydicom.pixels import apply_rescale

    dtype = stored.dtype
    stored = stored.astype(np.int32) if dtype.kind in "iu" else stored
    window, windowed = _window(file, stored[0], reading)
    low, high = _stored_range(file, stored)
    if dtype.kind == "f":  # of any size: only those that are there tell how bright they can be
        low, high = float(np.nanmin(stored)), float(np.nanmax(stored))
    missing = _padding(file, stored)
    full_range = apply_rescale(np.array([[low, high]]), file)
    if inverted:
        stored = np.asarray(low + high - stored, stored.dtype)
        window = None if window is None else (1 - window).astype(np.float32)
    values = np.asarray(apply_rescale(stored, file))
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
    elif values is stored:
        values = values.astype(dtype)
    valid = where_valid(values, reading.nodata, declared=True)
    if missing is not None:
        valid = ~missing if valid is None else valid & ~missing
    limits = sorted(float(value) for value in np.ravel(full_range))
    return Raster(
        values, "DICOM", valid, full=None if dtype.kind == "f" else (limits[0], limits[-1]),
        pages=frames,
        window=window if len(values) == 1 else None, windowed=windowed,
    )  # fmt: skip


def _stored_range(file: Dataset, stored: Values) -> tuple[float, float]:
    bits = int(file.get("BitsStored", stored.dtype.itemsize * 8))
    if int(file.get("PixelRepresentation", 0)):
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def _padding(file: Dataset, stored: Values) -> NDArray[np.bool_] | None:
    """Where pixels only fill up the rectangle."""
    fill = file.get("PixelPaddingValue")
    if fill is None:
        return None
    other_end = file.get("PixelPaddingRangeLimit", fill)
    low, high = sorted((int(fill), int(other_end)))
    padding = np.asarray(((stored >= low) & (stored <= high)).all(axis=0))
    return padding if padding.any() and not padding.all() else None


def _window(
    file: Dataset, stored: Values, reading: Reading
) -> tuple[NDArray[np.float32] | None, str]:
    """The first frame as a window or table of the file shows it, 0 to 1, and what it is."""
    from pydicom.pixels import apply_rescale, apply_windowing

    index = reading.window - 1
    measured = apply_rescale(stored, file)
    tables = file.get("VOILUTSequence") or []
    centres, widths = _numbers(file.get("WindowCenter")), _numbers(file.get("WindowWidth"))
    windows = list(zip(centres, widths, strict=False))
    if index >= max(len(tables), len(windows), 1):
        raise UnreadableImage(
            f"it has {len(tables)} tables and {len(windows)} windows, and `window` asks for "
            f"{reading.window}"
        )
    if index < len(tables):
        return _by_table(tables[index], measured), "table of values of interest"
    if not windows:
        return None, ""
    centre, width = windows[index]
    low, high = _output_range(file)
    displayed = apply_windowing(measured, file, index=index).astype(np.float64)
    description = f"window {centre:g} of width {width:g}"
    more = f", the first of {len(windows)}" if len(windows) > 1 and index == 0 else ""
    return _share(displayed, low, high), description + more


def _by_table(table: Dataset, measured: Values) -> NDArray[np.float32]:
    """Values looked up in a table of values of interest (PS3.3, C.11.2.1.1), 0 to 1.

    Not pydicom's `apply_voi`, whose indices have the type of the entries: 256 wraps to 0 in tables
    of 8 bits.
    """
    entries, first, bits = (int(number) for number in table.LUTDescriptor)
    data = table.LUTData
    kind = "<u1" if isinstance(data, bytes) and len(data) == (entries or 65_536) else "<u2"
    lookup = np.frombuffer(data, kind) if isinstance(data, bytes) else np.asarray(data)
    indices = np.rint(measured).astype(np.int64) - first
    looked_up = lookup.astype(np.float64)[np.clip(indices, 0, len(lookup) - 1)]
    return _share(looked_up, 0.0, 2.0**bits - 1)


def _share(values: Values, low: float, high: float) -> NDArray[np.float32]:
    """Where values lie between two, 0 to 1."""
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)


def _output_range(file: Dataset) -> tuple[float, float]:
    """What the values of a window run over, as pydicom gives them."""
    bits = int(file.BitsStored)
    signed = bool(int(file.get("PixelRepresentation", 0)))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if "ModalityLUTSequence" in file:
        return 0.0, float(2 ** int(file.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
    if "RescaleSlope" in file and "RescaleIntercept" in file:
        slope, shift = float(file.RescaleSlope), float(file.RescaleIntercept)
        return low * slope + shift, high * slope + shift
    return float(low), float(high)


def _numbers(value: Any) -> list[float]:
    if value is None or value == "":
        return []
    several = isinstance(value, (list, tuple)) or hasattr(value, "__len__")
    return [float(number) for number in (value if several else [value])]
