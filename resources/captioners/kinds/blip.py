"""BLIP, the paper's captioner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from dnd_assets.settings import REVISION, Positive
from resources.captioners.settings import CaptionerSettings

if TYPE_CHECKING:
    from resources.captioners.base import Captioner
    from resources.runtime.build_context import BuildContext


class BlipSettings(CaptionerSettings):
    """BLIP with greedy decoding.

    Attributes:
        checkpoint: folder, `package:…` or hub id of the model.
        revision: branch, tag or commit of a hub checkpoint.
        max_new_tokens: longest caption, in tokens.
        min_length: shortest caption, in tokens.
    """

    NO_RESULT: ClassVar[Mapping[str, str]] = {"revision": REVISION}
    LIKELIHOODS: ClassVar[bool] = True
    kind: Literal["blip"] = "blip"
    checkpoint: str = "Salesforce/blip-image-captioning-base"
    revision: str | None = None
    max_new_tokens: Positive = 32
    min_length: Positive = 5

    def build(self, context: BuildContext) -> Captioner:
        """BLIP."""
        from resources.captioners.base import BlipCaptioner

        compute = context.compute("captioner")
        return BlipCaptioner(**self.options, base=context.base, compute=compute)
