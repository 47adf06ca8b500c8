"""What the settings of all captioners have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator

from dnd_assets.settings import REVISION, Kind, Positive

if TYPE_CHECKING:
    from resources.captioners.base import Captioner
    from resources.runtime.build_context import BuildContext


class CaptionerSettings(Kind):
    """The image-to-text model (paper: BLIP base).

    Attributes:
        LIKELIHOODS: whether it tells how likely a caption is, which MILAN needs.
    """

    LIKELIHOODS: ClassVar[bool] = False

    def build(self, context: BuildContext) -> Captioner:
        """The captioner of these settings, nothing loaded yet."""
        raise NotImplementedError


class AskedSettings(CaptionerSettings):
    """A model on this machine that reads a text beside the picture.

    Attributes:
        EXAMPLE: a checkpoint of this kind.
        checkpoint: folder, `package:…` or hub id of the model; has to be given.
        revision: branch, tag or commit of a hub checkpoint.
        max_new_tokens: longest caption, in tokens.
        prompt: the text; None takes the kind's own.
    """

    NO_RESULT: ClassVar[Mapping[str, str]] = {"revision": REVISION}
    EXAMPLE: ClassVar[str]
    checkpoint: str = ""
    revision: str | None = None
    max_new_tokens: Positive = 32
    prompt: str | None = None

    @model_validator(mode="after")
    def _checkpoint_of_its_own(self) -> Self:
        is_blip = "blip-image-captioning" in self.checkpoint
        if is_blip or not self.checkpoint:
            hint = f"; {self.checkpoint!r} is of kind = 'blip'" if is_blip else ""
            raise ValueError(
                f"kind = {self.kind!r} needs a checkpoint of its own, such as {self.EXAMPLE!r}"
                f"{hint}"
            )
        return self
