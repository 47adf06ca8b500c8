"""Windows of scenes in the place of painted pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.captioners.land_cover_settings import LandCoverSettings
from resources.text_to_image.settings import TextToImageSettings

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.text_to_image.base import TextToImage


class LandCoverPainterSettings(LandCoverSettings, TextToImageSettings):
    """Windows where a concept covers most; red, green and blue alone."""

    def build(self, context: BuildContext) -> TextToImage:
        """The painter."""
        from resources.captioners.land_cover import LandCoverPainter

        return LandCoverPainter(**self.options, base=context.base)
