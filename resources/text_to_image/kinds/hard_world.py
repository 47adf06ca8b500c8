"""The renderer of the harder generated world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from resources.text_to_image.settings import TextToImageSettings

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.text_to_image.base import TextToImage


class HardWorldPainterSettings(TextToImageSettings):
    """Draws scenes of the harder world of which a concept is true; needs no checkpoint."""

    kind: Literal["hard_world"] = "hard_world"

    def build(self, context: BuildContext) -> TextToImage:
        """The renderer."""
        from resources.text_to_image.hard_world import HardWorldPainter

        return HardWorldPainter()
