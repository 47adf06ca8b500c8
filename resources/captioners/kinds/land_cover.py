"""The captioner that reads the crop map of scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from resources.captioners.settings import CaptionerSettings

if TYPE_CHECKING:
    from resources.captioners.base import Captioner
    from resources.runtime.build_context import BuildContext


class LandCoverCaptionerSettings(CaptionerSettings):
    """What covers a tile, by the map that its scene comes with: no model's opinion.

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

    def build(self, context: BuildContext) -> Captioner:
        """The captioner."""
        from resources.captioners.land_cover import LandCoverCaptioner

        return LandCoverCaptioner(**self.options, base=context.base)
