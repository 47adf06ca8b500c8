"""CLIP and its kin, by open_clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from dnd_assets.settings import REVISION
from resources.encoders.settings import EncoderSettings

if TYPE_CHECKING:
    from resources.encoders.base import ImageTextEncoder
    from resources.runtime.build_context import BuildContext


class OpenClipSettings(EncoderSettings):
    """A model of open_clip.

    Attributes:
        model: an architecture of open_clip, or a model's folder.
        pretrained: tag of the architecture's weights, or a weights file.
        weights: a weights file in place of the tag's own, trained with the tag's settings.
        revision: branch, tag or commit of the hub model that the weights come from.
    """

    NO_RESULT: ClassVar[Mapping[str, str]] = {"revision": REVISION}
    kind: Literal["open_clip"] = "open_clip"
    model: str = "ViT-B-16"
    pretrained: str = "openai"
    weights: str | None = None
    revision: str | None = None

    def build(self, context: BuildContext) -> ImageTextEncoder:
        """The model with its own preprocessing and tokenizer."""
        from resources.encoders.open_clip import OpenClip

        return OpenClip(**self.options, base=context.base, compute=context.compute("clip"))
