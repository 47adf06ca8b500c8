"""What the settings of all text-to-image models have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from dnd_assets.settings import Kind

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.text_to_image.base import TextToImage


class TextToImageSettings(Kind):
    """The text-to-image model (paper: Stable Diffusion v1-4, DPM-Solver++, 50 steps)."""

    def build(self, context: BuildContext) -> TextToImage:
        """The painter of these settings, nothing loaded yet."""
        raise NotImplementedError


def _with_concept(value: str) -> str:
    if value.count("{concept}") != 1 or "{" in value.replace("{concept}", ""):
        raise ValueError(f"{value!r} must contain {{concept}} once and no other braces")
    return value


PaintPrompt = Annotated[str, AfterValidator(_with_concept)]
"""What is painted of a concept: a text with `{concept}` in it."""
PAPER_PROMPT = "One realistic image of {concept}"
