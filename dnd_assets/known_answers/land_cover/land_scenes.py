"""Scenes of land cover: bands from the air, and a code for each pixel that says what grows there.

A scene is a `.npy` file of rows, columns and bands, of which the last holds the codes; their names
stand in `cdl_codes.csv` beside it, with columns `code` and `land cover`. So Tile2Vec's authors keep
their samples: NAIP (red, green, blue, near infrared; 0.6 m a pixel) with the Cropland Data Layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.errors import DndError, StudyError
from dnd_assets.files.csv_tables import read_csv

NAMES_FILE: Final = "cdl_codes.csv"
WHERE: Final = (
    "Such scenes are among the data of https://github.com/ermongroup/tile2vec; of other places, "
    "cut NAIP pictures (https://naip-usdaonline.hub.arcgis.com) and the Cropland Data Layer "
    "(https://croplandcros.scinet.usda.gov) to the same pixels"
)
"""Where scenes are to be had."""
_BANDS: Final = 2


@dataclass(frozen=True)
class LandScene:
    """One scene.

    Attributes:
        name: of its file, without the suffix.
        bands: (H, W, bands), whole numbers.
        codes: of land cover, int64 (H, W).
    """

    name: str
    bands: NDArray[np.integer[Any]]
    codes: NDArray[np.int64]


def scene_files(folder: Path) -> list[Path]:
    """The files of a folder's scenes, by name.

    Raises:
        StudyError: when there is no such folder, or no scene in it; says where to get some.
    """
    if not folder.is_dir():
        raise StudyError(f"there is no folder {folder} of land-cover scenes. {WHERE}.")
    files = sorted(folder.glob("*.npy"))
    if not files:
        contents = ", ".join(sorted(path.name for path in folder.iterdir())[:3]) or "nothing"
        raise StudyError(
            f"folder {folder} holds no scene (.npy of rows, columns and bands, the last one codes "
            f"of land cover), but {contents}. {WHERE}."
        )
    return files


def read_scene(path: Path) -> LandScene:
    """One scene.

    Raises:
        StudyError: when the file holds none.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} is no sound .npy file of numbers ({error}).") from error
    if array.ndim != 3 or array.dtype.kind not in "iu" or array.shape[2] < _BANDS:
        raise StudyError(
            f"{path} holds {array.shape} {array.dtype}; a scene has rows, columns and bands of "
            "whole numbers, of which the last is the code of land cover."
        )
    return LandScene(path.stem, array[..., :-1], array[..., -1].astype(np.int64))


def read_scenes(folder: Path) -> list[LandScene]:
    """All scenes of a folder, by name; see `scene_files` and `read_scene`."""
    return [read_scene(path) for path in scene_files(folder)]


def cover_names(folder: Path) -> dict[int, str]:
    """What codes of land cover are called, as plain words.

    Raises:
        StudyError: when the table of names is missing or wrong.
    """
    file = folder / NAMES_FILE
    try:
        table = read_csv(file)
        code, name = table.column(("code",), "codes"), table.column(("land cover", "name"), "names")
        return {int(fields[code]): plain_name(fields[name]) for _, fields in table.rows}
    except (DndError, ValueError) as error:
        raise StudyError(
            f"names of land cover are read from {file}, a CSV with columns code and land cover: "
            f"{error}"
        ) from error


def plain_name(name: str) -> str:
    """A name of the Cropland Data Layer as captions give it: the first of its alternatives.

    >>> plain_name("Fallow/Idle Cropland"), plain_name("Grassland/Pasture")
    ('fallow cropland', 'grassland')
    """
    return " ".join(word.partition("/")[0] for word in name.lower().split())


def name_of(code: int, names: dict[int, str]) -> str:
    """What a code is called; its number where the table does not have it."""
    return names.get(code, f"land cover {code}")
