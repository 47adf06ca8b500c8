"""The nearest of a fixed set of concepts, in the place of a caption (the paper's ablation)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator

from dnd_assets.settings import Positive, checked_template
from resources.captioners.settings import CaptionerSettings

if TYPE_CHECKING:
    from resources.captioners.base import Captioner
    from resources.runtime.build_context import BuildContext


class ConceptsSettings(CaptionerSettings):
    """The nearest concepts by the study's image-text encoder.

    Attributes:
        concepts: a text file with one concept a line, or `package:module/path`.
        prompt: the text that stands for a concept, with `{concept}`; None is the concept alone.
        top: concepts in a caption, nearest first.
    """

    RESTS_ON: ClassVar[tuple[str, ...]] = ("clip",)
    kind: Literal["concepts"] = "concepts"
    concepts: str | None = None
    prompt: str | None = None
    top: Positive = 1

    @model_validator(mode="after")
    def _file_named(self) -> Self:
        if not self.concepts:
            raise ValueError("kind = 'concepts' needs a file: concepts = 'concepts.txt'")
        checked_template(self.prompt or "{concept}")
        return self

    def build(self, context: BuildContext) -> Captioner:
        """The concepts before the study's encoder."""
        from resources.captioners.concepts import ConceptCaptioner

        return ConceptCaptioner(**self.options, base=context.base, encoder=context.encoder)
