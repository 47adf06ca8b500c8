"""What the models of a study are built beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dnd_assets.settings import Options
from resources.collection import CaptionedCollection
from resources.encoders.base import ImageTextEncoder
from resources.encoders.settings import EncoderSettings
from resources.runtime.compute import Compute


@dataclass(frozen=True)
class BuildContext:
    """What the settings of a model do not hold, though it is built with it.

    Attributes:
        base: folder of the study, where its relative paths start.
        home: the state folder.
        compute: device and precision of a role (`captioner`, `text_to_image`, `clip`).
        clip: settings of the study's image-text encoder.
        captioned: settings of its captioned collection; None where it has none.
    """

    base: str
    home: Path
    compute: Callable[[object], Compute]
    clip: EncoderSettings
    captioned: Options | None

    @cached_property
    def encoder(self) -> ImageTextEncoder:
        """The study's image-text encoder, the same one for all."""
        return self.clip.build(self)

    def collection(self) -> CaptionedCollection:
        """The study's captioned collection."""
        assert self.captioned is not None  # the study was refused otherwise: `Kind.RESTS_ON`
        return CaptionedCollection(
            **self.captioned,
            base=self.base,
            cache=str(self.home / "collections"),
            encoder=self.encoder,
        )
