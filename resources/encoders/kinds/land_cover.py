"""The encoder that knows what covers tiles of scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

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
    scenes: str = Field(min_length=1)
    tile_side: Annotated[int, Field(ge=2)] = 50

    def build(self, context: BuildContext) -> ImageTextEncoder:
        """The encoder."""
        from resources.captioners.land_cover import LandCoverEncoder

        return LandCoverEncoder(**self.options, base=context.base)
