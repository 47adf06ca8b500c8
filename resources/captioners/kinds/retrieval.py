"""The caption of the nearest picture of a captioned collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from resources.captioners.settings import CaptionerSettings

if TYPE_CHECKING:
    from resources.captioners.base import Captioner
    from resources.runtime.build_context import BuildContext


class RetrievalCaptionerSettings(CaptionerSettings):
    """Captions of the study's `[collection]`, by its image-text encoder."""

    RESTS_ON: ClassVar[tuple[str, ...]] = ("clip", "collection")
    kind: Literal["retrieval"] = "retrieval"

    def build(self, context: BuildContext) -> Captioner:
        """The collection in the place of a model."""
        from resources.captioners.retrieval import RetrievalCaptioner

        return RetrievalCaptioner(collection=context.collection())
