"""BLIP-2, which continues a text after a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from resources.captioners.settings import AskedSettings

if TYPE_CHECKING:
    from resources.captioners.base import Captioner
    from resources.runtime.build_context import BuildContext


class Blip2Settings(AskedSettings):
    """BLIP-2.

    Attributes:
        prompt: the text that it continues; None for a plain caption.
    """

    EXAMPLE: ClassVar[str] = "Salesforce/blip2-opt-2.7b"
    kind: Literal["blip2"] = "blip2"

    def build(self, context: BuildContext) -> Captioner:
        """BLIP-2."""
        from resources.captioners.vlm import Blip2Captioner

        compute = context.compute("captioner")
        return Blip2Captioner(**self.options, base=context.base, compute=compute)
