"""Sections on images: where they lie, and the captioned ones that may be retrieved from."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dnd_assets.files.containers.contents import Columns, SlideTiles
from dnd_assets.files.rasters.colour_maps import colours_of
from dnd_assets.files.rasters.reading import Reading, Rendering
from dnd_assets.settings import Positive, Section, Share

Bands = Annotated[list[Positive], Field(min_length=1)]
"""Numbers of bands, from 1, in the order wanted."""
Number = Annotated[float, Field(allow_inf_nan=False)]
Scale = (
    Annotated[Number, Field(gt=0)]
    | tuple[Number, Number]
    | Annotated[list[tuple[Number, Number]], Field(min_length=1)]
    | Literal["percentiles", "standard", "full", "none"]
)
"""How values become what a network takes: divided by a number; two values that become 0 and 1, or a
pair for each band; `percentiles`, the 2nd and the 98th of each band over the set; `standard`, less
its mean, by its deviation; `full`, by all that the type holds; `none`."""


class World(Section):
    """Probing images of the embedded image world, made on the fly from a seed."""

    count: Positive = 4096
    seed: int = 0


class Scenes(Section):
    """Tiles of scenes that say of each pixel what covers the land.

    See `dnd_assets.known_answers.land_cover`.

    Attributes:
        folder: the folder of scenes, `.npy` of rows, columns and bands, the last one codes.
        side: of a tile, in pixels.
    """

    folder: str = Field(min_length=1)
    side: Annotated[int, Field(ge=2)] = 50


class DatasetColumns(Section):
    """Which columns of tables of pictures are which; None for what tables say themselves.

    Attributes:
        image: pictures as bytes, or as `datasets` writes them.
        caption: what they show, in words.
        label: the name or number of their class.
    """

    image: str | None = None
    caption: str | None = None
    label: str | None = None

    @property
    def as_read(self) -> Columns:
        """As files are read by it."""
        return Columns(self.image, self.caption, self.label)


class TileSettings(Section):
    """How whole slides are cut into tiles.

    Attributes:
        side: of a tile, in pixels of the level.
        level: of the slide's pyramid, 0 for the whole resolution.
        tissue: least share of a tile that is tissue, that is not grey or white; 0 for all tiles.
    """

    side: Annotated[int, Field(ge=16, le=4096)] = 224
    level: Annotated[int, Field(ge=0)] = 0
    tissue: Share = 0.1

    @property
    def as_read(self) -> SlideTiles:
        """As slides are read by it."""
        return SlideTiles(self.side, self.level, self.tissue)


class Images(Section):
    """Where images lie.

    Attributes:
        folders: folders searched for images, recursively, also within WebDataset shards, Parquet
            and data sets that `datasets` saved; such a file itself; `s3://bucket/folder`.
        columns: which columns of such tables are which.
        tiles: how whole slides in the folders are cut.
        image_list: a text file with one image path a line.
        world: generated images with known truths instead of files.
        hard_world: those of a harder world, see docs/known-answers.md.
        scenes: tiles that are cut from scenes of land cover.
    """

    folders: list[str] = Field(default=[])
    columns: DatasetColumns = DatasetColumns()
    tiles: TileSettings | None = None
    image_list: str | None = None
    world: World | None = None
    hard_world: World | None = None
    scenes: Scenes | None = None

    @model_validator(mode="after")
    def _names_images(self) -> Self:
        places = (self.folders, self.image_list, self.world, self.hard_world, self.scenes)
        if not any(places):
            raise ValueError("names no images; give `folders`, `image_list`, `world` or `scenes`")
        return self


class RenderingSettings(Section):
    """How pictures of further bands, bits or types are shown; see `dnd_assets.files.rasters`.

    Attributes:
        bands: one band, or three for red, green and blue, counted from 1.
        range: values that become black and white, `[0, 3000]`; `percentile` (2 to 98 % of each
            picture), `minmax`, `full` (all that the type holds), `window` (of DICOM).
        colour_map: for one band: viridis, magma, inferno, plasma, cividis; None for grey.
    """

    bands: Bands | None = None
    range: tuple[Number, Number] | Literal["percentile", "minmax", "full", "window"] | None = None
    colour_map: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.bands is not None and len(self.bands) not in (1, 3):
            raise ValueError(f"bands names {len(self.bands)} bands; name one, or three as RGB")
        if isinstance(self.range, tuple) and self.range[0] >= self.range[1]:
            raise ValueError(
                f"range = {list(self.range)}: the first has to be less than the second"
            )
        if self.colour_map is not None:
            if self.bands is not None and len(self.bands) != 1:
                raise ValueError("colour_map is for one band; name one in `bands`")
            colours_of(self.colour_map)
        return self


class ProbingSetSettings(Images):
    """The images that units are probed with.

    Attributes:
        max_quarantined: share of unreadable images above which the asset check fails.
        max_pixels: images with more are set aside before they are decoded.
        bands: the bands of each file that networks with `[models.input]` get, in order, counted
            from 1; None for all. What is tagged as alpha then is a band like any other.
        scale: how values become what these networks take, where `[models.input]` does not say it.
        nodata: the value that means that there is no data, or "nan"; None for what files say.
        pages: of files with pages or frames: `first`, a number from 1, or `bands`, all as bands.
        axes: order of the axes of `.npy` and `.npz`: `hwc` or `chw`; None where the shape tells.
        array: which array of `.npz` files is the picture.
        window: which of the windows of DICOM files, from 1.
        rendering: how pictures are shown to people and to models that see RGB.
    """

    max_quarantined: Share = 0.01
    max_pixels: Positive = 89_000_000
    bands: Bands | None = None
    scale: Scale | None = None
    nodata: Number | Literal["nan"] | None = None
    pages: Positive | Literal["first", "bands"] = "first"
    axes: Literal["hwc", "chw"] | None = None
    array: str | None = Field(default=None, min_length=1)
    window: Positive = 1
    rendering: RenderingSettings = RenderingSettings()

    @field_validator("scale")
    @classmethod
    def _scale_fits(cls, value: object) -> object:
        return checked_scale(value)

    @property
    def reading(self) -> Reading:
        """What it says of how files are read and shown."""
        rendering = self.rendering
        bands = None if rendering.bands is None else tuple(rendering.bands)
        return Reading(
            bands=None if self.bands is None else tuple(self.bands),
            nodata=math.nan if self.nodata == "nan" else self.nodata,
            pages=self.pages,
            axes=self.axes,
            array=self.array,
            window=self.window,
            rendering=Rendering(bands, rendering.range, rendering.colour_map),
        )

    @property
    def seen(self) -> dict[str, object]:
        """What of it decides what models see, as plain values, without what is left open."""
        names = {"bands", "nodata", "pages", "axes", "array", "window", "rendering"}
        values: dict[str, object] = self.model_dump(
            mode="json", include=names, exclude_defaults=True
        )
        return values


def checked_scale(value: object) -> object:
    """Refuse pairs of which the first is not less than the second."""
    pairs = [value] if isinstance(value, tuple) else value if isinstance(value, list) else []
    for low, high in pairs:
        if low >= high:
            raise ValueError(
                f"scale = [{low:g}, {high:g}]: the first has to be less than the second"
            )
    return value


class Collection(Section):
    """Captioned pictures that captions and pictures may be retrieved from.

    Attributes:
        tables: CSV files with columns `file` and `caption`.
        folders: where each table's files lie; none: beside the table.
    """

    tables: list[str] = Field(min_length=1)
    folders: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if self.folders and len(self.folders) != len(self.tables):
            raise ValueError(
                f"{len(self.folders)} folders do not fit {len(self.tables)} tables; name one for "
                "each table, or none"
            )
        return self
