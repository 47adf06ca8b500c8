"""The encoder that knows what covers tiles of scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from resources.encoders.settings import EncoderSettings

if TYPE_CHECKING:
    from resources.encoders.base import ImageTextEncoder
    from resources.runtime.build_context import BuildContext


class LandCoverEncoderSettings(EncoderSettings):
    """An axis for each cover; knows nothing else.

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

    def build(self, context: BuildContext) -> ImageTextEncoder:
        """The encoder."""
        from resources.captioners.land_cover import LandCoverEncoder

        return LandCoverEncoder(**self.options, base=context.base)
