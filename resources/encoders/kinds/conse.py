"""ConSE: a space of pictures and texts from a classifier and a sentence encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator

from dnd_assets.settings import REVISION, Positive
from resources.encoders.settings import EncoderSettings

if TYPE_CHECKING:
    from resources.encoders.base import ImageTextEncoder
    from resources.runtime.build_context import BuildContext


class ConseSettings(EncoderSettings):
    """ConSE (Norouzi et al. 2014).

    Attributes:
        classifier: a source of networks, such as `efficientnet-lite:efficientnet-lite2`.
        classifier_weights: its weights file, where the source needs one.
        sentences: the sentence encoder, a folder or hub id.
        revision: branch, tag or commit of that hub id.
        top: how many predicted classes stand for a picture.
    """

    NO_RESULT: ClassVar[Mapping[str, str]] = {"revision": REVISION}
    kind: Literal["conse"] = "conse"
    classifier: str | None = None
    classifier_weights: str | None = None
    sentences: str = "sentence-transformers/all-mpnet-base-v2"
    revision: str | None = None
    top: Positive = 10

    @model_validator(mode="after")
    def _classifier_named(self) -> Self:
        if not self.classifier:
            raise ValueError(
                "kind = 'conse' needs a classifier, such as 'efficientnet-lite:efficientnet-lite2'"
            )
        return self

    def build(self, context: BuildContext) -> ImageTextEncoder:
        """Both models; what is learned of the classifier is kept with that of other networks."""
        from resources.encoders.conse import Conse

        return Conse(
            **self.options,
            base=context.base,
            cards=str(context.home / "networks"),
            compute=context.compute("clip"),
        )
