"""Windows of scenes in the place of painted pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from resources.text_to_image.settings import TextToImageSettings

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.text_to_image.base import TextToImage


class LandCoverPainterSettings(TextToImageSettings):
    """Windows where a concept covers most; red, green and blue alone.

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

    def build(self, context: BuildContext) -> TextToImage:
        """The painter."""
        from resources.captioners.land_cover import LandCoverPainter

        return LandCoverPainter(**self.options, base=context.base)
