"""Pipelines of diffusers, such as the paper's Stable Diffusion v1-4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dnd_assets.settings import REVISION, Positive
from resources.text_to_image.settings import PAPER_PROMPT, PaintPrompt, TextToImageSettings

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.text_to_image.base import TextToImage


class DiffusersSettings(TextToImageSettings):
    """A text-to-image pipeline on this machine.

    Attributes:
        checkpoint: folder, `package:…` or hub id of the pipeline.
        revision: branch, tag or commit of a hub checkpoint.
        variant: precision of a checkpoint's files, such as `fp16`; None takes those without one.
        scheduler: DPM-Solver++, as in the paper, or the checkpoint's own.
        steps: denoising steps.
        guidance: how closely the text is followed.
        width: of a picture in pixels; None takes the checkpoint's.
        height: of a picture in pixels; None takes the checkpoint's.
        prompt: what is painted of a concept, with `{concept}`.
        few_step: whether the checkpoint was distilled to few steps (LCM, Turbo, Lightning), and so
            refuses DPM-Solver++, many steps and guidance; None looks at the checkpoint.
    """

    NO_RESULT: ClassVar[Mapping[str, str]] = {"revision": REVISION}
    kind: Literal["diffusers"] = "diffusers"
    checkpoint: str = "CompVis/stable-diffusion-v1-4"
    revision: str | None = None
    variant: str | None = None
    scheduler: Literal["dpmsolver++", "checkpoint"] = "dpmsolver++"
    steps: Positive = 50
    guidance: Annotated[float, Field(ge=0.0)] = 7.5
    width: Positive | None = None
    height: Positive | None = None
    prompt: PaintPrompt = PAPER_PROMPT
    few_step: bool | None = None

    def build(self, context: BuildContext) -> TextToImage:
        """The pipeline."""
        from resources.text_to_image.base import DiffusersTextToImage

        compute = context.compute("text_to_image")
        return DiffusersTextToImage(**self.options, base=context.base, compute=compute)
