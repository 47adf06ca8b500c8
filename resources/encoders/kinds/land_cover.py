"""The encoder that knows what covers tiles of scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.captioners.land_cover_settings import LandCoverSettings
from resources.encoders.settings import EncoderSettings

if TYPE_CHECKING:
    from resources.encoders.base import ImageTextEncoder
    from resources.runtime.build_context import BuildContext


class LandCoverEncoderSettings(LandCoverSettings, EncoderSettings):
    """An axis for each cover; knows nothing else."""

    def build(self, context: BuildContext) -> ImageTextEncoder:
        """The encoder."""
        from resources.captioners.land_cover import LandCoverEncoder

        return LandCoverEncoder(**self.options, base=context.base)
