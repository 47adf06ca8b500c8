"""The renderer of the generated world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from resources.text_to_image.settings import TextToImageSettings

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.text_to_image.base import TextToImage


class WorldPainterSettings(TextToImageSettings):
    """Draws scenes of which a concept is true; needs no checkpoint."""

    kind: Literal["world"] = "world"

    def build(self, context: BuildContext) -> TextToImage:
        """The renderer."""
        from resources.text_to_image.known_answers import WorldPainter

        return WorldPainter()
