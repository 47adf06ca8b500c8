"""The captioner that reads the crop map of scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.captioners.land_cover_settings import LandCoverSettings
from resources.captioners.settings import CaptionerSettings

if TYPE_CHECKING:
    from resources.captioners.base import Captioner
    from resources.runtime.build_context import BuildContext


class LandCoverCaptionerSettings(LandCoverSettings, CaptionerSettings):
    """What covers a tile, by the map that its scene comes with: no model's opinion."""

    def build(self, context: BuildContext) -> Captioner:
        """The captioner."""
        from resources.captioners.land_cover import LandCoverCaptioner

        return LandCoverCaptioner(**self.options, base=context.base)
