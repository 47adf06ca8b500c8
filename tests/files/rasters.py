"""Files of further bands, bits and types, made for tests."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def ramp(bands, height=32, width=40, most=4095, dtype=np.uint16):
    """(bands, rows, columns): band b grows to the right from b to about `most`."""
    line = np.linspace(0, most, width)
    values = np.stack([np.tile(line, (height, 1)) + band for band in range(bands)])
    return np.clip(values, 0, most).astype(dtype)


def png16(values):
    """A PNG of 16 bits of (bands, rows, columns) uint16: grey, grey and alpha, RGB or RGBA."""
    bands, height, width = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    rows = np.moveaxis(values, 0, 2).astype(">u2").tobytes()
    line = width * bands * 2
    raw = b"".join(b"\0" + rows[y * line : (y + 1) * line] for y in range(height))

    def chunk(kind, data):
        code = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + code

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def tiff(values, **options):
    """A TIFF of (bands, rows, columns), its bands beside each other in each pixel."""
    import tifffile

    buffer = io.BytesIO()
    found = values[0] if len(values) == 1 else np.moveaxis(values, 0, 2)
    options.setdefault("photometric", "minisblack")
    options.setdefault("metadata", None)
    if len(values) > 1:
        options.setdefault("planarconfig", "contig")
    tifffile.imwrite(buffer, found, **options)
    return buffer.getvalue()


def geotiff(values, **options):
    """A GeoTIFF of (bands, rows, columns), as GDAL writes it."""
    import rasterio
    from rasterio.transform import from_origin

    bands, height, width = values.shape
    colours = options.pop("colours", None)
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=bands, height=height, width=width, dtype=values.dtype,
            crs="EPSG:32633", transform=from_origin(0, 0, 10, 10), **options,
        ) as file:  # fmt: skip
            if colours:
                file.colorinterp = colours
            file.write(values)
        return bytes(memory.getbuffer())


def npy(values):
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=values.dtype == object)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def pages(*images):
    """A TIFF with a page for each picture."""
    buffer = io.BytesIO()
    first, *rest = (Image.fromarray(one) for one in images)
    first.save(buffer, "TIFF", save_all=True, append_images=rest)
    return buffer.getvalue()


def dicom(values, photometric="MONOCHROME2", bits=12, **tags):
    """A DICOM file of (rows, columns), (frames, rows, columns) or (rows, columns, 3)."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    colours = photometric not in ("MONOCHROME1", "MONOCHROME2")
    file.Rows, file.Columns = values.shape[-3:-1] if colours else values.shape[-2:]
    file.SamplesPerPixel = 3 if colours else 1
    if colours:
        file.PlanarConfiguration = 0
    if values.ndim == 3 and not colours:
        file.NumberOfFrames = len(values)
    file.PhotometricInterpretation = photometric
    file.BitsAllocated = values.dtype.itemsize * 8
    file.BitsStored, file.HighBit = bits, bits - 1
    file.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(file, name, value)
    file.PixelData = values.tobytes()
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
