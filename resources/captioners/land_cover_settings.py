"""What the captioner, the encoder and the painter of land cover are told alike."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dnd_assets.settings import Kind


class LandCoverSettings(Kind):
    """Scenes of land cover.

    Attributes:
        scenes: folder of scenes, `.npy` of rows, columns and bands, the last one codes.
        tile_side: of a tile, in pixels.
    """

    kind: Literal["land_cover"] = "land_cover"
    scenes: str | None = None
    tile_side: Annotated[int, Field(ge=2)] = 50

    @model_validator(mode="after")
    def _scenes_named(self) -> Self:
        if not self.scenes:
            raise ValueError("kind = 'land_cover' needs a folder of scenes: scenes = 'scenes'")
        return self
