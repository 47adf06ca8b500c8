"""Values of each band over the probing set: measured once, robustly, and kept by content.

Of each picture a regular grid of pixels counts, and of a large set the pictures whose hashes come
first, so that nothing depends on folders, names or order. The same pictures give the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.errors import StudyError
from dnd_assets.files.atomic import sha256, write_atomic
from dnd_assets.files.containers.container_places import read_bytes
from dnd_assets.files.images import as_raster
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import canonical, digest
from dnd_assets.study.probing_images import PROBING, ImageFile, image_files, inspect, scan_listing
from dnd_assets.study.study import Study

_PICTURES: Final = 2048
_PIXELS: Final = 1024
"""Pixels of one picture that count, about."""
Pairs = Sequence[tuple[float, float]]


def measured_bands(study: Study, home: Path, *, keep: bool = True) -> Mapping[str, Pairs]:
    """For each band of the probing set's files a pair of values, by way of scaling.

    `percentiles` is the 2nd and the 98th; `standard` is such that scaling by it takes off the mean
    and divides by the deviation, both of values between the 1st and the 99th percentile.

    Args:
        study: the study.
        home: the state folder, which keeps them.
        keep: whether to write there.

    Raises:
        StudyError: when no picture can be read, or pictures differ in their number of bands.
    """
    chosen = study.probing_set
    listed = image_files(study, home)
    cache = home / "probing" / "scanned.json" if keep else None
    manifest = scan_listing(
        listed, chosen.max_pixels, cache, code=code_version(inspect), reading=chosen.reading
    )
    sound = {file.hash: file for file in manifest.files if not file.quarantined}
    names = sorted(sound)[:_PICTURES]
    if not names:
        raise StudyError(
            f"no picture under [{PROBING}] can be read, so its bands cannot be measured: "
            f"{manifest.reasons()}."
        )
    key = digest([names, chosen.seen, code_version(statistics), chosen.max_pixels])
    file = home / "probing" / f"bands-{key}.json"
    measured = _read(file)
    if measured is None:
        measured = statistics([_grid(study, sound[name]) for name in names])
        if keep:
            write_atomic(file, canonical(measured).encode())
    return measured


def statistics(pictures: Sequence[NDArray[np.float32]]) -> dict[str, list[tuple[float, float]]]:
    """See `measured_bands`.

    Args:
        pictures: values of each, (bands, pixels).

    Raises:
        StudyError: when pictures differ in their number of bands.
    """
    counts = sorted({len(picture) for picture in pictures})
    if len(counts) > 1:
        raise StudyError(
            f"pictures under [{PROBING}] have {' and '.join(map(str, counts))} bands, so they "
            "cannot be measured together. Give values for scale, or keep one kind of picture."
        )
    ranges, deviations = [], []
    for band in range(counts[0]):
        values = np.concatenate([picture[band] for picture in pictures]).astype(np.float64)
        if not values.size:
            raise StudyError(f"band {band + 1} holds no data in any picture; leave it out.")
        lowest, low, high, highest = (float(x) for x in np.percentile(values, [1, 2, 98, 99]))
        ranges.append((low, high if high > low else low + 1.0))
        inliers = values[(values >= lowest) & (values <= highest)]
        mean, spread = float(inliers.mean()), float(inliers.std()) or 1.0
        deviations.append((mean, mean + spread))
    return {"percentiles": ranges, "standard": deviations}


def _grid(study: Study, file: ImageFile) -> NDArray[np.float32]:
    """Values on a regular grid of a picture where it has data, (bands, pixels)."""
    chosen = study.probing_set
    data = read_bytes(file.path)
    if sha256(data) != file.hash:
        raise StudyError(f"{file.path} changed while it was read; run the command again.")
    raster: Raster = as_raster(data, chosen.max_pixels, chosen.reading)
    width, height = raster.size
    step = max(1, round((width * height / _PIXELS) ** 0.5))
    values = raster.values[:, ::step, ::step].reshape(raster.bands, -1).astype(np.float32)
    if raster.valid is None:
        return values
    return np.asarray(values[:, raster.valid[::step, ::step].ravel()])


def _read(file: Path) -> dict[str, list[tuple[float, float]]] | None:
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
        return {
            scaling: [(float(a), float(b)) for a, b in pairs] for scaling, pairs in table.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return None
