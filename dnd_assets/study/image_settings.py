"""Sections on images: where they lie, and the captioned ones that may be retrieved from."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from dnd_assets.study.settings import Positive, Section, Share


class World(Section):
    """Probing images of the embedded image world, made on the fly from a seed."""

    count: Positive = 4096
    seed: int = 0


class Images(Section):
    """Where images lie.

    Attributes:
        folders: folders searched for images, recursively.
        image_list: a text file with one image path a line.
        world: generated images with known truths instead of files.
    """

    folders: list[str] = Field(default=[])
    image_list: str | None = None
    world: World | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.folders or self.image_list or self.world):
            raise ValueError("names no images; give `folders`, `image_list` or `world`")
        return self


class ProbingSetSettings(Images):
    """The images that units are probed with.

    Attributes:
        max_quarantined: share of unreadable images above which the asset check fails.
        max_pixels: images with more are set aside before they are decoded.
    """

    max_quarantined: Share = 0.01
    max_pixels: Positive = 89_000_000


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
