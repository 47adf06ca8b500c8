"""Vision-language models that run here: any that is asked in a chat."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from resources.captioners.settings import AskedSettings

if TYPE_CHECKING:
    from resources.captioners.base import Captioner
    from resources.runtime.build_context import BuildContext


class VlmSettings(AskedSettings):
    """Any image-text-to-text model of transformers, asked with `prompt`.

    Attributes:
        prompt: what is asked of each picture; None asks for one short factual sentence.
    """

    EXAMPLE: ClassVar[str] = "HuggingFaceTB/SmolVLM-Instruct"
    kind: Literal["vlm"] = "vlm"

    def build(self, context: BuildContext) -> Captioner:
        """The model, with its chat template."""
        from resources.captioners.vlm import VlmCaptioner

        compute = context.compute("captioner")
        return VlmCaptioner(**self.options, base=context.base, compute=compute)
