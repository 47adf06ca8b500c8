"""What the settings of all image-text encoders have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnd_assets.settings import Kind

if TYPE_CHECKING:
    from resources.encoders.base import ImageTextEncoder
    from resources.runtime.build_context import BuildContext


class EncoderSettings(Kind):
    """The image-text encoder (paper: CLIP ViT-B/16)."""

    def build(self, context: BuildContext) -> ImageTextEncoder:
        """The image-text encoder of these settings, nothing loaded yet."""
        raise NotImplementedError
