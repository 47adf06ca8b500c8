"""Pictures of a captioned collection, in the place of painted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from resources.text_to_image.settings import TextToImageSettings

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.text_to_image.base import TextToImage


class RetrievalTextToImageSettings(TextToImageSettings):
    """The pictures of the study's `[collection]` whose captions are nearest to a concept."""

    RESTS_ON: ClassVar[tuple[str, ...]] = ("clip", "collection")
    kind: Literal["retrieval"] = "retrieval"

    def build(self, context: BuildContext) -> TextToImage:
        """The collection in the place of a model."""
        from resources.captioners.retrieval import RetrievalTextToImage

        return RetrievalTextToImage(collection=context.collection())
