"""How a study has files of bands read and shown; nothing here decodes any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

Range = Literal["percentile", "full", "minmax", "window"]


@dataclass(frozen=True)
class Rendering:
    """How a picture is shown to people and to models that see RGB.

    Attributes:
        bands: one band or three, red, green and blue, counted from 1; None for the usual.
        range: values that become 0 and 255; or how they are found in each picture: `percentile`,
            the 2nd and the 98th of the bands shown; `minmax`; `full`, what the type can hold;
            `window`, what a DICOM file says. None for the usual.
        colour_map: of matplotlib's names, for one band; None for grey.
    """

    bands: tuple[int, ...] | None = None
    range: tuple[float, float] | Range | None = None
    colour_map: str | None = None


@dataclass(frozen=True)
class Reading:
    """How the files of a set are read, as a study declares it; all None for what files say.

    Attributes:
        bands: the bands that count, in order, counted from 1: what is tagged as alpha is a band.
        nodata: the value that means that there is none; NaN for NaN and infinity.
        pages: of files with pages or frames, `first`, a number from 1, or `bands`: all are bands
            of one picture.
        axes: order of the axes of arrays, `hwc` or `chw`.
        array: name of the array in files of several.
        window: which of the windows of a DICOM file, from 1.
        rendering: how pictures are shown.
    """

    bands: tuple[int, ...] | None = None
    nodata: float | None = None
    pages: Literal["first", "bands"] | int = "first"
    axes: Literal["hwc", "chw"] | None = None
    array: str | None = None
    window: int = 1
    rendering: Rendering = field(default_factory=Rendering)

    @property
    def of_everything(self) -> bool:
        """Whether it says something of pictures of 8 bits, too."""
        return bool(self.bands) or self.nodata is not None or self.rendering != Rendering()


AS_FILES_SAY: Final = Reading()
